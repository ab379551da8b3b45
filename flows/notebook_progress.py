"""A progress bar for a notebook's cell: HTML where IPython shows it, a line of text elsewhere."""

import html
import sys
from threading import Event
from typing import Any, Protocol, TextIO

from tasks.progress import Counter

WIDTH = 30  # characters of the bar in text


class Surface(Protocol):
    """Where a bar is drawn, again and again in one place."""

    def draw(self, share: float, words: str) -> None: ...

    def close(self) -> None: ...


class TextSurface:
    """One line of a terminal, written over; of what is no terminal, only the last one is written."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._last = ""

    def draw(self, share: float, words: str) -> None:
        full = round(WIDTH * share)
        self._last = f"{'█' * full}{'░' * (WIDTH - full)} {words}"
        if self._stream.isatty():
            print(f"\r\x1b[2K{self._last[:200]}", end="", file=self._stream, flush=True)

    def close(self) -> None:
        print("" if self._stream.isatty() else self._last, file=self._stream, flush=True)


class HtmlSurface:
    """A cell's output, changed in place."""

    def __init__(self, display: Any) -> None:
        self._handle = display({"text/html": "", "text/plain": ""}, raw=True, display_id=True)

    def draw(self, share: float, words: str) -> None:
        bar = f'<progress max="1" value="{share:.4f}" style="width:16em;vertical-align:middle"></progress>'
        text = html.escape(words)
        self._handle.update({"text/html": f"<div>{bar} <small>{text}</small></div>", "text/plain": words}, raw=True)

    def close(self) -> None:
        """What was drawn last stays in the cell."""


def surface_here() -> Surface:
    """The cell's output where this process is a notebook's kernel, else standard error."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if ipython is not None and shell is not None and hasattr(shell, "kernel"):
        return HtmlSurface(ipython.display.display)
    return TextSurface()


class Bar:
    """Told by the run's threads how far it is; the cell's own thread draws. ``interrupted`` ends the run."""

    def __init__(self) -> None:
        self.interrupted = Event()
        self._counter = Counter()
        self._at = "starting"
        self._notes: list[str] = []

    def draw(self, surface: Surface, *, end: str | None = None) -> None:
        counter = self._counter
        with counter.lock:
            share = min(1.0, counter.position() / counter.total) if counter.total else 0.0
            left = counter.remaining_s()
            words = f"{counter.done} of {counter.total} stages · {self._at}"
        if end is None and left is not None and share < 1:
            words += f" · about {left:.0f} s left"
        notes = "".join(f" · note: {note}" for note in self._notes)
        surface.draw(share, (end or words) + notes)

    def expect(self, stages: int) -> None:
        with self._counter.lock:
            self._counter.total = stages

    def started(self, item: str, stage: str) -> None:
        self._refuse_if_interrupted()
        self._counter.begin(item, stage)
        self._at = f"{item[:40]}: {stage}"

    def advanced(self, item: str, stage: str, done: int, total: int) -> None:
        self._refuse_if_interrupted()
        self._counter.advance(item, stage, done, total)

    def finished(self, item: str, stage: str, *, seconds: float, cached: bool, skipped: str | None) -> None:
        with self._counter.lock:
            self._counter.end(item, stage)

    def dropped(self, item: str, stages: int) -> None:
        self._counter.change(item, -stages)

    def again(self, item: str, stages: int) -> None:
        self._counter.change(item, stages)

    def noted(self, message: str) -> None:
        self._notes.append(message)

    def _refuse_if_interrupted(self) -> None:
        """End the run as Ctrl-C ends a command, from the thread of an item: the run's own thread waits for those."""
        if self.interrupted.is_set():
            raise KeyboardInterrupt
