"""Progress of a download on standard error: a live bar with an ETA on a terminal, plain lines otherwise."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deployments.cli.words import size

EVERY_S = 2.0  # between plain lines


@contextmanager
def download_display(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """A display that fits where standard error goes; call it with the bytes there and the bytes there will be."""
    if not sys.stderr.isatty():
        yield Lines(name)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bar(*columns, TextColumn("ETA"), TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class Lines:
    """A line every few seconds, and one at the end."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._begun = self._last = time.monotonic()
        self._first: int | None = None

    def __call__(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = done
        if now - self._last < EVERY_S and done != total:
            return
        self._last = now
        print(f"{self._name}: {size(done)}{self._rest(now, done, total)}", file=sys.stderr, flush=True)  # noqa: T201

    def _rest(self, now: float, done: int, total: int | None) -> str:
        if not total:
            return ""
        words = f" of {size(total)}, {100 * done / total:.0f} %"
        came = done - (self._first or 0)
        if came <= 0 or done == total:
            return words
        return f"{words}, about {(now - self._begun) * (total - done) / came:.0f} s left"
