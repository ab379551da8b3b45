"""Progress on standard error: a live bar with an ETA on a terminal, plain lines otherwise."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.progress import Counter, Progress


@contextmanager
def open_display() -> Iterator[Progress]:
    """A display that fits where standard error goes."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("stages"),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=False) as bar:
        yield Live(bar)


class Lines:
    """One line per finished stage."""

    def __init__(self) -> None:
        self._counter = Counter()

    def expect(self, stages: int) -> None:
        self._counter.total = stages

    def started(self, item: str, stage: str) -> None:
        self._counter.begin(item, stage)

    def advanced(self, item: str, stage: str, done: int, total: int) -> None:
        self._counter.advance(item, stage, done, total)

    def finished(self, item: str, stage: str, *, seconds: float, cached: bool, skipped: str | None) -> None:
        counter = self._counter
        with counter.lock:
            counter.end(item, stage)
            share = f"{100 * counter.done / max(1, counter.total):3.0f} %"
            how = f"skipped: {skipped}" if skipped else "from the cache" if cached else f"{seconds:.2f} s"
            left = counter.remaining_s()
            eta = "" if left is None else f", about {left:.0f} s left"
            print(f"{share}  {item}: {stage} {how}{eta}", file=sys.stderr, flush=True)  # noqa: T201 - progress output

    def dropped(self, item: str, stages: int) -> None:
        self._counter.change(item, -stages)

    def again(self, item: str, stages: int) -> None:
        self._counter.change(item, stages)

    def noted(self, message: str) -> None:
        print(f"note: {message}", file=sys.stderr, flush=True)  # noqa: T201 - progress output


class Live:
    """A bar that moves with every chunk."""

    def __init__(self, bar: object) -> None:
        from rich.progress import Progress as Bar

        assert isinstance(bar, Bar)
        self._bar = bar
        self._task = bar.add_task("starting", total=None)
        self._counter = Counter()

    def _update(self, description: str) -> None:
        counter = self._counter
        self._bar.update(self._task, description=description, completed=counter.position(), total=counter.total)

    def expect(self, stages: int) -> None:
        with self._counter.lock:
            self._counter.total = stages
            self._update("starting")

    def started(self, item: str, stage: str) -> None:
        self._counter.begin(item, stage)
        with self._counter.lock:
            self._update(f"{stage} · {item[:40]}")

    def advanced(self, item: str, stage: str, done: int, total: int) -> None:
        rate = self._counter.advance(item, stage, done, total)
        with self._counter.lock:
            self._update(f"{stage} · {item[:40]}{rate}")

    def finished(self, item: str, stage: str, *, seconds: float, cached: bool, skipped: str | None) -> None:
        with self._counter.lock:
            self._counter.end(item, stage)
            self._update(f"{stage} · {item[:40]}")

    def dropped(self, item: str, stages: int) -> None:
        self._counter.change(item, -stages)
        with self._counter.lock:
            self._update(f"{item[:40]} ended early")

    def again(self, item: str, stages: int) -> None:
        self._counter.change(item, stages)
        with self._counter.lock:
            self._update(f"{item[:40]} once more")

    def noted(self, message: str) -> None:
        self._bar.console.print(f"note: {message}", markup=False, highlight=False)
