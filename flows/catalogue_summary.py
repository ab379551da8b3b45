"""What a catalogue run came to: counts, changes, and no more than a hundred of the rows that failed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flows.summary import EXIT_STATUS
from flows.sums import Money

MOST_SHOWN = 100  # failed rows in the document; the manifest holds all of them


@dataclass(frozen=True)
class CatalogueSummary:
    """The whole run; nothing in it grows with the number of rows.

    Attributes:
        status: delivered, partial, failed, planned, unreadable (the table), stopped (by a budget or a check).
        rows: Rows of the table, good and bad.
        counts: Rows by status: delivered, failed, stopped, deferred, held.
        changes: Rows by what changed since the last run: added, changed, unchanged, retired, failed, recovered, ...
        executed: Stages that were computed, by name.
        failed: At most a hundred rows that failed: line, sku, reasons.
        reasons: What stopped the run, or what its user should know.
        plan: For a dry run: what would run, what it may cost at most, how long it should take.
    """

    run_id: str
    catalogue: str
    recipe: str
    status: str
    rows: int
    counts: Mapping[str, int]
    changes: Mapping[str, int]
    seconds: float
    executed: Mapping[str, int] = field(default_factory=dict)
    failed: Sequence[Mapping[str, object]] = ()
    reasons: Sequence[Mapping[str, object]] = ()
    manifest: str | None = None
    changes_file: str | None = None
    report: str | None = None
    money: Money = field(default_factory=Money)
    plan: Mapping[str, object] | None = None

    @property
    def exit_status(self) -> int:
        return EXIT_STATUS[self.status]

    def to_json(self) -> dict[str, object]:
        return {
            "run_id": self.run_id,
            "status": self.status,
            "catalogue": self.catalogue,
            "recipe": self.recipe,
            "seconds": round(self.seconds, 3),
            "rows": self.rows,
            "counts": dict(self.counts),
            "changes": dict(self.changes),
            "executed": dict(self.executed),
            "reasons": list(self.reasons),
            "items": list(self.failed),
            "stages": [],
            "manifest": self.manifest,
            "changes_file": self.changes_file,
            "cost_usd": self.money.spent,
            "avoided_usd": self.money.avoided_net,
            "money": self.money.to_json(),
            "report": self.report,
            "plan": self.plan,
        }
