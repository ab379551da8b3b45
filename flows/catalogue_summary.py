"""What a catalogue run came to: counts, changes, and no more than a hundred of the rows that failed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flows.summary import EXIT_STATUS, approval_json
from flows.sums import Money

if TYPE_CHECKING:
    from datasets.ledger import Approval

MOST_SHOWN = 100  # failed rows in the document; the manifest holds all of them


@dataclass(frozen=True)
class CatalogueSummary:
    """The whole run; nothing in it grows with the number of rows.

    Attributes:
        status: delivered, partial, failed, paused, planned, unreadable (not one row could be used).
        rows: Rows of the table, good and bad.
        counts: Rows by status: delivered, failed, stopped, deferred, held.
        changes: Rows by what changed since the last run: added, changed, unchanged, retired, failed, recovered, ...
        worked: Rows that were taken through the recipe, or could not begin to; ``redone``: those for which something
            was computed.
        executed: Stages that were computed, by name; ``cached``: how many were found in the store.
        failed: At most a hundred rows that failed: line, sku, reasons.
        reasons: What stopped the run, or what its user should know.
        plan: Of a dry run: what it may cost at most, how long it should take.
        approval: What a paused run asks for.
    """

    run_id: str
    catalogue: str
    recipe: str
    status: str
    rows: int
    counts: Mapping[str, int]
    changes: Mapping[str, int]
    seconds: float
    worked: int = 0
    redone: int = 0
    executed: Mapping[str, int] = field(default_factory=dict)
    cached: int = 0
    failed: Sequence[Mapping[str, object]] = ()
    reasons: Sequence[Mapping[str, object]] = ()
    manifest: str | None = None
    changes_file: str | None = None
    report: str | None = None
    money: Money = field(default_factory=Money)
    plan: Mapping[str, object] | None = None
    approval: "Approval | None" = None

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
            "worked": self.worked,
            "redone": self.redone,
            "executed": dict(self.executed),
            "cached": self.cached,
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
            "approval": approval_json(self.approval) if self.approval else None,
        }


def catalogue_status(counts: Mapping[str, int], reasons: Sequence[Mapping[str, object]] = ()) -> str:
    """The run's status from those of its rows, and from what stopped it."""
    if any(reason.get("level") in ("stop", "error") for reason in reasons):
        return "failed"
    if counts.get("failed"):
        return "unreadable" if sum(counts.values()) == counts["failed"] else "failed"
    return "delivered" if not any(count for status, count in counts.items() if status != "delivered") else "partial"
