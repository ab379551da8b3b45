"""What a stage tells whoever watches. The command line draws it; the ledger and the logs may listen too."""

import threading
import time
from typing import Protocol


class Progress(Protocol):
    """Told of every stage's start, its chunks and its end. Called from several threads."""

    def expect(self, stages: int) -> None:
        """How many stages the run will go through in all."""
        ...

    def started(self, item: str, stage: str) -> None:
        """A stage begins; said a second time when one that began before its source was done goes on."""
        ...

    def advanced(self, item: str, stage: str, done: int, total: int) -> None: ...

    def finished(self, item: str, stage: str, *, seconds: float, cached: bool, skipped: str | None) -> None: ...

    def dropped(self, item: str, stages: int) -> None:
        """An item ended early; this many of its stages will not come."""
        ...

    def again(self, item: str, stages: int) -> None:
        """An item begins again; this many of its finished stages will come once more."""
        ...

    def noted(self, message: str) -> None:
        """Something about the run that its user should know."""
        ...


class Silent:
    """For callers that watch nothing."""

    def expect(self, stages: int) -> None: ...

    def started(self, item: str, stage: str) -> None: ...

    def advanced(self, item: str, stage: str, done: int, total: int) -> None: ...

    def finished(self, item: str, stage: str, *, seconds: float, cached: bool, skipped: str | None) -> None: ...

    def dropped(self, item: str, stages: int) -> None: ...

    def again(self, item: str, stages: int) -> None: ...

    def noted(self, message: str) -> None: ...


class Counter:
    """How far a run is, in stages; chunks of running stages count as parts."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.begun = time.monotonic()
        self.total = 0
        self.done = 0
        self.parts: dict[tuple[str, str], float] = {}
        self.stage_begun: dict[tuple[str, str], float] = {}

    def begin(self, item: str, stage: str) -> None:
        """A stage begins; one that had begun before its source was done goes on."""
        with self.lock:
            self.parts.setdefault((item, stage), 0.0)
            self.stage_begun.setdefault((item, stage), time.monotonic())

    def end(self, item: str, stage: str) -> None:
        """A stage is done. Called with the lock held."""
        self.parts.pop((item, stage), None)
        self.stage_begun.pop((item, stage), None)
        self.done += 1

    def change(self, item: str, stages: int) -> None:
        """An item ends early or begins again: so many more stages will come, and what it had under way will not."""
        with self.lock:
            self.total += stages
            for key in [key for key in self.parts if key[0] == item]:
                del self.parts[key], self.stage_begun[key]

    def advance(self, item: str, stage: str, done: int, total: int) -> str:
        """Note how far a stage is; what a stage does besides has no part of its own. Returns its speed in words."""
        with self.lock:
            if (item, stage) not in self.parts:
                return ""
            self.parts[item, stage] = min(1.0, done / max(1, total))
            seconds = time.monotonic() - self.stage_begun[item, stage]
        return f" · {done / seconds:.1f}/s" if seconds > 1 and total > 1 else ""

    def position(self) -> float:
        return self.done + sum(self.parts.values())

    def remaining_s(self) -> float | None:
        position = self.position()
        if position <= 0 or not self.total:
            return None
        return (time.monotonic() - self.begun) * max(0.0, self.total - position) / position
