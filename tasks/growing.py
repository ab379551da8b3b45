"""Frames of a stage that is still at work, for the stage after it that begins on what is finished.

What begins early leaves in its own place what an interrupted run would leave there, chunks with their marks, and the
stage itself goes on behind it. So there is one way to compute, and a crash at any moment is one like any other.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from threading import Condition
from typing import TYPE_CHECKING

from datasets.frame_spec import FrameSpec, chunk_key
from datasets.outputs import FramesEntry, OutputPlace

if TYPE_CHECKING:
    from tasks.clip_local import ClipState


class Growing:
    """Told by the stage that makes the frames, asked by the one that reads them. Safe between threads."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._over = False
        self._begun: tuple[OutputPlace, FrameSpec, ClipState] | None = None
        self._checksums: dict[str, int] = {}
        self._cuts: tuple[int, ...] = ()
        self._decided: int | None = None
        self.broken = self.finished = False
        self.waited_s = 0.0  # by the stage that reads

    def begin(self, place: OutputPlace, spec: FrameSpec, state: "ClipState", *, decided: int | None = None) -> None:
        """The frames are laid out.

        Args:
            place: Where they will be.
            spec: How they are kept.
            state: What the clip will be, as far as it is known: its times as the packets promise them.
            decided: Frames before which all cuts are known; None if cuts do not matter any more.
        """
        with self._changed:
            if self._begun is not None and self._begun[1] != spec:  # laid out anew, with less memory for example
                self.broken = self._over = True
            self._begun, self._decided = (place, spec, state), decided
            self._changed.notify_all()

    def add(self, key: str, checksum: int) -> None:
        """One more chunk is finished."""
        with self._changed:
            self._checksums[key] = checksum
            self._changed.notify_all()

    def decide(self, frames: int, cuts: tuple[int, ...]) -> None:
        """All cuts before so many frames are known."""
        with self._changed:
            self._decided, self._cuts = frames, cuts
            self._changed.notify_all()

    def end(self, *, finished: bool = False, broken: bool = False) -> None:
        """Nothing more will come.

        Args:
            finished: The stage is done; its output can be read as any other.
            broken: What was promised does not hold, or the stage failed: nothing that was made of it is good.
        """
        with self._changed:
            self._over = True
            self.finished, self.broken = self.finished or finished, self.broken or broken
            self._changed.notify_all()

    def begun(self) -> "tuple[OutputPlace, FrameSpec, ClipState] | None":
        """Where the frames will be, how they are kept and what the clip will be; waits. None if it was over first."""
        with self._changed:
            self._changed.wait_for(lambda: self._begun is not None or self._over)
            return None if self._over else self._begun

    @property
    def cuts(self) -> tuple[int, ...]:
        """Those that are certain by now."""
        with self._changed:
            return self._cuts

    def wait_for(self, span: Callable[[], tuple[int, int]]) -> FramesEntry | None:
        """Wait until frames are finished and all cuts before their end are known.

        Args:
            span: The first frame and the one behind the last; asked again when more cuts are known.

        Returns:
            The entry that a manifest would have for the chunks they lie in; None if everything is over, since the
            stage that was to begin early can now go on by itself.
        """
        with self._changed:
            while not self._over:
                entry = self._entry(*span())
                if entry is not None:
                    return entry
                begun = time.perf_counter()
                self._changed.wait()
                self.waited_s += time.perf_counter() - begun
        return None

    def _entry(self, start: int, stop: int) -> FramesEntry | None:
        if self._begun is None or (self._decided is not None and self._decided < min(stop, self._begun[1].shape[0])):
            return None
        _, spec, _ = self._begun
        frames, (_, rows, columns) = spec.chunks[0], spec.grid
        behind = -(-min(stop, spec.shape[0]) // frames)
        indices = product(range(start // frames, behind), range(rows), range(columns))
        keys = list(map(chunk_key, indices))
        if not all(key in self._checksums for key in keys):
            return None
        return partial_entry(spec, {key: self._checksums[key] for key in keys})


def partial_entry(spec: FrameSpec, checksums: dict[str, int]) -> FramesEntry:
    """What a manifest would say of some of the chunks."""
    return FramesEntry(spec.shape, spec.dtype, (*spec.chunks, spec.shape[3]), checksums, spec.attributes)


@dataclass(frozen=True)
class Teller:
    """Tells of the frames of a pass, whose clip is known but for its cuts."""

    growing: Growing
    state: "ClipState"

    def begin(self, place: OutputPlace, spec: FrameSpec) -> None:
        self.growing.begin(place, spec, self.state)

    def add(self, key: str, checksum: int) -> None:
        self.growing.add(key, checksum)
