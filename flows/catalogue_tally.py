"""Counts what becomes of a catalogue's rows. Nothing here grows with the number of rows."""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flows.catalogue_summary import MOST_SHOWN
from flows.summary import ItemResult

JUDGED_FROM = 20  # rows; fewer say nothing about a share
SHOWN = 12  # pictures in the report
FAILED = "failed"


@dataclass(frozen=True)
class RowEnd:
    """What became of one row.

    Attributes:
        worked: Whether it went through the recipe, or could not begin to; else it was found to be as it was.
        result: What the recipe came to, for rows that went through it.
    """

    line: int
    sku: str | None
    status: str
    change: str
    reasons: Sequence[Mapping[str, object]] = ()
    worked: bool = False
    seconds: float = 0.0
    result: ItemResult | None = None


@dataclass
class Tally:
    """The sums of a run, safe to be added to by many threads.

    Attributes:
        budget: Share of rows that may fail.
        executed: Stages that were computed, by name; ``cached``: those found in the store.
        redone: Rows for which at least one stage was computed.
        looked_s: Seconds that looking took in all threads together; ``worked_s``: those of going through the recipe.
        shown: Rows with a picture before and after, for the report.
    """

    budget: float
    statuses: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    executed: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    stage_seconds: dict[str, float] = field(default_factory=dict)
    failed: list[dict[str, object]] = field(default_factory=list)
    shown: list[ItemResult] = field(default_factory=list)
    cached: int = 0
    redone: int = 0
    worked: int = 0
    looked: int = 0
    looked_s: float = 0.0
    worked_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, end: RowEnd) -> None:
        with self._lock:
            self.statuses[end.status] += 1
            self.changes[end.change] += 1
            self.worked += end.worked
            self.worked_s += end.seconds
            if end.status == FAILED:
                self._fail(end)
            if end.result is not None:
                self._stages(end.result)

    def look(self, seconds: float) -> None:
        """A row was looked at."""
        with self._lock:
            self.looked += 1
            self.looked_s += seconds

    @property
    def rows(self) -> int:
        """Rows that are through."""
        return self.statuses.total()

    @property
    def over_budget(self) -> bool:
        """Whether more rows fail than may."""
        with self._lock:
            rows = self.statuses.total()
            return rows >= JUDGED_FROM and self.statuses[FAILED] > self.budget * rows

    def to_json(self) -> dict[str, object]:
        """As the ledger keeps it, for the plans of later runs."""
        return {
            "worked": self.worked,
            "worked_s": round(self.worked_s, 3),
            "looked": self.looked,
            "looked_s": round(self.looked_s, 3),
            "redone": self.redone,
            "executed": dict(self.executed),
            "cached": self.cached,
        }

    def _fail(self, end: RowEnd) -> None:
        errors = [reason for reason in end.reasons if reason.get("level", "error") == "error"]
        self.codes.update({str(reason["code"]) for reason in errors})
        if len(self.failed) < MOST_SHOWN:
            self.failed.append({"line": end.line, "sku": end.sku, "status": FAILED, "reasons": list(end.reasons)})

    def _stages(self, result: ItemResult) -> None:
        computed = [stage for stage in result.stages if not stage.cached and not stage.skipped]
        self.executed.update(stage.stage for stage in computed)
        for stage in computed:
            self.stage_seconds[stage.stage] = self.stage_seconds.get(stage.stage, 0.0) + stage.seconds
        self.cached += sum(stage.cached for stage in result.stages)
        self.redone += bool(computed)
        if result.outputs and len(self.shown) < SHOWN:
            self.shown.append(result)
