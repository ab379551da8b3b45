"""``make bench``: one table per question, ratios within one run, with the machine, the versions and the spread."""

import argparse
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")  # before Prefect is imported: only tables are printed

from tests.benchmarks import (
    bench_catalogue,
    bench_engine,
    bench_fetch,
    bench_gates,
    bench_interpolation,
    bench_matting,
    bench_models,
    bench_overhead,
    bench_start,
    bench_upscale,
    bench_video,
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure speed, memory and quality.")
    parser.add_argument("--truth", type=Path, default=None, help="folder with truth cases: alphas, frames between two")
    parser.add_argument("--photos", type=int, default=40, help="photographs in the batch that is timed")
    parser.add_argument("--photo-width", type=int, default=480, help="their width in pixels; they are 4 to 3")
    given = parser.parse_args()
    truth = given.truth
    questions: list[tuple[str, Callable[[], object]]] = [
        ("How well are products cut out?", lambda: bench_matting.run(truth)),
        ("How well are frames between two others made?", lambda: bench_interpolation.run(truth)),
        ("How well are pictures enlarged?", bench_upscale.run),
        ("How soon does a command start?", bench_start.run),
        ("What does the chunk engine cost on top of the array function?", bench_engine.run),
        (
            "What does a whole run cost on top of the bare model?",
            lambda: bench_overhead.run(given.photos, given.photo_width, given.photo_width * 3 // 4),
        ),
        ("What does a stage cost on top of its model?", bench_models.run),
        ("What do gates cost?", bench_gates.run),
        ("What does an unchanged picture behind a URL cost?", bench_fetch.run),
        ("What does a catalogue cost on top of its array functions?", bench_catalogue.run),
        ("What do clips cost on top of codec and model?", bench_video.run),
    ]
    print(machine())
    for question, answer in questions:
        print(f"\n{question}")
        answer()


def machine() -> str:
    """Where the numbers come from."""
    versions = ", ".join(
        f"{name} {version(name)}" for name in ("torch", "numpy", "opencv-python-headless", "zarr", "dask")
    )
    where = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    return f"{where}, Python {platform.python_version()}, {versions}"


if __name__ == "__main__":
    main()
