"""What gates cost: measuring a picture, and deciding about rows at once and in micro-batches.

Measuring is timed on one thread of one core, as workers do it, on pictures with fine texture; a cutout has a ragged
object in it. Deciding includes everything from the table of rows to the decisions; Great Expectations is loaded before.
"""

import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from expectations.gate import Gate
from expectations.measures import measures_row, measures_table
from expectations.micro_batches import MOST, MicroBatcher
from expectations.suites import GateName, suite

SIZES = ((600, 400), (1200, 800), (2000, 1500), (4000, 3000), (8000, 6000))
GATES: tuple[GateName, ...] = ("intake", "spend", "delivery")
MEASURE_GOAL_MS = 15.0  # per megapixel
AT_ONCE_GOAL_S = 0.2  # 1,000 rows
BATCHED_GOAL_MS = 3.0  # per item, in micro-batches of 64

Picture = NDArray[np.uint8]


def run(sizes: tuple[tuple[int, int], ...] = SIZES, rows: int = 1000, repeats: int = 5) -> list[str]:
    """Print and return the tables."""
    lines = [f"{'measuring':<26}{'ms':>9}{'ms/MP':>9}{'of the goal':>13}{'min..max ms':>18}"]
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        lines += [_measuring(size, cutout, repeats) for size in sizes for cutout in (False, True)]
    finally:
        cv2.setNumThreads(threads)
    lines.append(f"{'deciding':<26}{'ms':>9}{'ms/item':>9}{'of the goal':>13}{'min..max ms':>18}")
    for gate in GATES:
        lines += _deciding(gate, rows, repeats)
    for line in lines:
        print(line)
    return lines


def picture(width: int, height: int, *, cutout: bool, seed: int = 7) -> Picture:
    """A textured picture (H, W, 3), or one whose alpha is a ragged object (H, W, 4)."""
    random = np.random.default_rng(seed)
    image = random.integers(40, 216, (height, width, 4 if cutout else 3), np.uint8)
    if cutout:
        field = cv2.GaussianBlur(random.standard_normal((height, width)).astype(np.float32), (0, 0), width / 200)
        y, x = np.ogrid[:height, :width]
        inside = ((x / width - 0.5) / 0.3) ** 2 + ((y / height - 0.5) / 0.35) ** 2
        image[..., 3] = np.clip((1 - inside + 0.6 * field / field.std()) * 400, 0, 255).astype(np.uint8)
    return image


def _measuring(size: tuple[int, int], cutout: bool, repeats: int) -> str:
    image = picture(*size, cutout=cutout)
    megapixels = size[0] * size[1] / 1e6
    times = _times(lambda: measures_row("one", image), repeats)
    name = f"{size[0]}x{size[1]} {'cutout' if cutout else 'photograph'}"
    each = statistics.median(times) / megapixels
    return _line(name, times, each, each / MEASURE_GOAL_MS)


def _deciding(name: GateName, count: int, repeats: int) -> list[str]:
    gate = Gate(suite(name))
    row = measures_row("one", picture(1200, 800, cutout=True)).row(0, named=True)
    table = measures_table([{**row, "item": f"item {number}"} for number in range(count)])
    gate.decide(table)
    at_once = _times(lambda: gate.decide(table), repeats)
    batched = _times(lambda: _in_batches(gate, table), repeats)
    each = statistics.median(batched) / count
    return [
        _line(f"{name}, {count} at once", at_once, statistics.median(at_once) / count,
              statistics.median(at_once) / 1e3 / AT_ONCE_GOAL_S),
        _line(f"{name}, by {MOST}", batched, each, each / BATCHED_GOAL_MS),
    ]  # fmt: skip


def _in_batches(gate: Gate, table: "object") -> None:
    """Rows that come one by one, as from a run's threads."""
    import polars as pl

    assert isinstance(table, pl.DataFrame)
    with MicroBatcher(gate) as batcher:
        waiting = [batcher.submit(table[number]) for number in range(table.height)]
    for each in waiting:
        each.result()


def _times(work: Callable[[], object], repeats: int) -> list[float]:
    """Milliseconds of each repetition."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - start))
    return times


def _line(name: str, times: list[float], each: float, of_goal: float) -> str:
    spread = f"{min(times):.1f}..{max(times):.1f}"
    return f"{name:<26}{statistics.median(times):>9.1f}{each:>9.2f}{of_goal:>12.2f}x{spread:>18}"


if __name__ == "__main__":
    run()
