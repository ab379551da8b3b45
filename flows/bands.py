"""How far a clip is, in per cent by bands of stages, for whoever polls the ledger while it is made."""

import threading
import time
from collections.abc import Sequence

from flows.artifacts import ProgressArtifacts
from tasks.context import RunContext
from tasks.progress import Progress

BANDS = {  # of the whole way, in per cent
    "decode": (10, 15),
    "inference": (15, 65),
    "encode": (65, 75),
    "stitch": (75, 85),
    "thumbnails": (85, 95),
    "finish": (95, 100),
}
PART_OF = {"stitch": "encode"}  # what a stage does in the end, in a band of its own
EVERY_S = 1.0  # how often the ledger is told


class BandedProgress:
    """Tells a display and, once a second for every item, the ledger and the Prefect UI."""

    def __init__(self, inner: Progress, passes: Sequence[str]) -> None:
        """
        Args:
            inner: The display.
            passes: Labels of the passes between decoding and encoding, in their order; they share one band evenly.
        """
        self._inner, self._passes = inner, tuple(passes)
        self._run: RunContext | None = None
        self._told: dict[str, float] = {}
        self._at: dict[str, dict[str, float]] = {}  # stages that are at work, by item
        self._reached: dict[str, float] = {}
        self._lock = threading.Lock()
        self._artifacts = ProgressArtifacts()

    def attach(self, run: RunContext) -> None:
        """From here on the ledger of this run is told too."""
        self._run = run

    def band(self, stage: str) -> tuple[float, float]:
        """Where a stage begins and ends, in per cent of the whole way."""
        if stage in BANDS:
            return BANDS[stage]
        low, high = BANDS["inference"]
        step = (high - low) / max(1, len(self._passes))
        position = self._passes.index(stage) if stage in self._passes else 0
        return low + position * step, low + (position + 1) * step

    def expect(self, stages: int) -> None:
        self._inner.expect(stages)

    def started(self, item: str, stage: str) -> None:
        self._inner.started(item, stage)
        self._note(item, stage, self.band(stage)[0], at_once=True)

    def advanced(self, item: str, stage: str, done: int, total: int) -> None:
        self._inner.advanced(item, stage, done, total)
        low, high = self.band(stage)
        self._note(item, PART_OF.get(stage, stage), low + (high - low) * done / max(1, total))

    def finished(self, item: str, stage: str, *, seconds: float, cached: bool, skipped: str | None) -> None:
        self._inner.finished(item, stage, seconds=seconds, cached=cached, skipped=skipped)
        self._note(item, stage, self.band(stage)[1], at_once=True, done=True)

    def dropped(self, item: str, stages: int) -> None:
        self._inner.dropped(item, stages)

    def again(self, item: str, stages: int) -> None:
        self._inner.again(item, stages)
        with self._lock:
            self._at.pop(item, None)
            self._reached.pop(item, None)

    def noted(self, message: str) -> None:
        self._inner.noted(message)

    def _note(self, item: str, stage: str, percent: float, *, at_once: bool = False, done: bool = False) -> None:
        """Tell of an item; of stages that work side by side, the one that is least far says how far it is."""
        run, now = self._run, time.monotonic()
        if run is None:
            return
        with self._lock:
            at = self._at.setdefault(item, {})
            at[stage] = max(percent, at.get(stage, 0.0))
            percent = self._reached[item] = max(min(at.values()), self._reached.get(item, 0.0))
            if done:
                del at[stage]
            if not at_once and now - self._told.get(item, -EVERY_S) < EVERY_S:
                return
            self._told[item] = now
        with run.ledger.session(run.storage.tenant) as session:
            session.note_percent(run.run_id, item, round(percent, 1))
        self._artifacts.show(item, percent)
