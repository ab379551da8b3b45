"""The benchmarks run once, small and untimed, so that they do not rot."""

import os
from pathlib import Path

import pytest

from tests.benchmarks import (
    bench_catalogue,
    bench_engine,
    bench_gates,
    bench_interpolation,
    bench_overhead,
    bench_spend,
    bench_start,
    bench_upscale,
    bench_video,
)
from tests.benchmarks.__main__ import machine
from tests.shared_data import fixture, shared


def test_the_engine_table() -> None:
    lines = bench_engine.run(side=64, tile=32, repeats=1)
    assert [line.split()[0] for line in lines] == ["function", "blur", "heavy", "of"]
    assert all(line.split()[1] == "4" for line in lines[1:3])


def test_the_upscale_table() -> None:
    fixture("images/coffee.png")
    lines = bench_upscale.run(scales=(2,), side=64)
    assert len(lines) == 1 + 2 * 3  # photographs and frames by three methods


def test_the_interpolation_table(tmp_path: Path) -> None:
    lines = bench_interpolation.run(fixture("truth"), repeats=1)
    names = [path.parent.name for path in sorted(fixture("truth").glob("*/truth_mid.png"))]
    assert len(names) > 1
    assert [line.split()[0] for line in lines[1:-1]] == [name for name in names for _ in range(2)]
    blending, model = (float(line.split()[3]) for line in lines[1:] if line.startswith("interp_rabbit"))
    assert model > blending + 4
    assert lines[-1].startswith("mean gain")
    assert bench_interpolation.run(tmp_path) == ["no triplets in the folder: DIR/NAME/{a,b,truth_mid}.png"]


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_the_start_table() -> None:
    lines = bench_start.run(repeats=1, situations=("up", "cached"), home=Path(os.environ["PREFECT_HOME"]))
    assert [line.split()[-3:][1] for line in lines[1:]] == ["1", "1"]  # servers
    assert lines[1].startswith("server up")


@pytest.mark.usefixtures("prefect_api")
def test_the_overhead_table() -> None:
    shared("weights/realesr-general-x4v3.pth")
    lines = bench_overhead.run(photos=2, width=40, height=30, tasks=8)
    assert [line.split()[0] for line in lines] == ["2", "ratio", "ms", "1024x1024", "in", "two"]


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_the_catalogue_table() -> None:
    lines = bench_catalogue.run(rows=3, side=96, unchanged=3, repeats=2)
    told = ("pictures of 96 px, medians of 2", "by the clock", "Prefect tasks", "writing transactions", "ms per row")
    assert [words in line for words, line in zip(told, lines, strict=True)] == [True] * len(told)
    assert lines[2].startswith("667 Prefect tasks")  # two stages of one batch


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_the_video_table() -> None:
    shared("weights/realesr-animevideov3.pth")
    lines = bench_video.run(seconds=0.4, size=(128, 96), model_frames=2, repeats=1)
    assert [line.split()[0] for line in lines] == ["decode,", "upscale", "two", "a"]


def test_the_spend_table_of_the_loop_that_pays_twice() -> None:
    """The lines of killed hero runs come from what ``tests/flows/test_hero_kills.py`` runs."""
    (line,) = bench_spend.run(kills=4, items=4, strategies=())
    facts = dict(word.split("=") for word in line.split()[1:])
    assert (facts["kills"], facts["delivered"], facts["lost"], facts["ledger"]) == ("4", "4", "0", "0.156")
    assert int(facts["between"]) >= 1
    assert float(facts["service"]) == pytest.approx(0.156 + 0.039 * int(facts["paid_twice"]))


def test_without_weights_the_overhead_table_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bench_overhead, "WEIGHTS", tmp_path / "none.pth")
    monkeypatch.setattr(bench_overhead, "_parts", lambda side, tasks: [])
    assert [line.split(":")[0] for line in bench_overhead.run()] == ["no ratio"]


def test_the_gates_table() -> None:
    lines = bench_gates.run(sizes=((64, 48),), rows=70, repeats=1)
    assert [line.split()[0] for line in lines] == [
        *("measuring", "64x48", "64x48", "deciding"),
        *(f"{gate}," for gate in bench_gates.GATES for _ in range(2)),
    ]


def test_the_machine_is_named() -> None:
    assert "cores" in machine()
