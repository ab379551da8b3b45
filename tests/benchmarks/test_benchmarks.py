"""The benchmarks run once, small and untimed, so that they do not rot."""

from tests.benchmarks import bench_engine, bench_upscale
from tests.benchmarks.__main__ import machine
from tests.shared_data import fixture


def test_the_engine_table() -> None:
    lines = bench_engine.run(side=64, tile=32, repeats=1)
    assert [line.split()[0] for line in lines] == ["function", "blur", "heavy", "of"]
    assert all(line.split()[1] == "4" for line in lines[1:3])


def test_the_upscale_table() -> None:
    fixture("images/coffee.png")
    lines = bench_upscale.run(scales=(2,), side=64)
    assert len(lines) == 4


def test_the_machine_is_named() -> None:
    assert "cores" in machine()
