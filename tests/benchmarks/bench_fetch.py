"""What a picture behind a URL costs: this process's CPU and wall time per fetch, the server being another process."""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen

from datasets.fetch.facts import FetchLimits, Known
from datasets.fetch.fetcher import Fetcher
from tests.picture_server import ETAG

HERE = Path(__file__).parents[2]
GOAL_MS = 2.0  # of CPU for a picture that did not change


def run(requests: int = 2000, threads: tuple[int, ...] = (1, 8), repeats: int = 3) -> list[str]:
    """Print and return the table."""
    lines = [f"{'fetch':<12}{'threads':>8}{'CPU ms':>9}{'min..max':>14}{'wall ms':>9}{'of the goal':>13}"]
    for name, known in (("unchanged", Known(ETAG)), ("whole", None)):
        for count in threads:
            times = [cost_ms(requests, count, known) for _ in range(repeats)]
            cpu, wall = sorted(times)[repeats // 2]
            spread = f"{min(times)[0]:.2f}..{max(times)[0]:.2f}"
            lines.append(f"{name:<12}{count:>8}{cpu:>9.2f}{spread:>14}{wall:>9.2f}{cpu / GOAL_MS:>13.0%}")
    for line in lines:
        print(line)
    return lines


def cost_ms(requests: int, threads: int, known: Known | None) -> tuple[float, float]:
    """CPU and wall time per fetch over kept connections, in milliseconds."""
    with (
        _server() as port,
        Fetcher(FetchLimits(), frozenset({("127.0.0.1", port)})) as fetcher,
        ThreadPoolExecutor(threads) as pool,
    ):

        def fetch(_: int) -> None:
            assert (fetcher.fetch(f"http://127.0.0.1:{port}/kept", known).data is None) is (known is not None)

        list(pool.map(fetch, range(4 * threads)))  # connections are there
        cpu, wall = time.process_time(), time.perf_counter()
        list(pool.map(fetch, range(requests)))
        return (time.process_time() - cpu) * 1000 / requests, (time.perf_counter() - wall) * 1000 / requests


@contextmanager
def _server() -> Iterator[int]:
    command = [sys.executable, "-m", "tests.picture_server"]
    with Popen(command, cwd=HERE, stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdout
        yield int(process.stdout.readline())
        assert process.stdin
        process.stdin.close()
        process.wait(10)
