"""What a run came to: the one JSON document that the command line prints and the ledger keeps."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.errors import PipelineError
from datasets.money import MICRO
from datasets.notices import Notice
from datasets.redaction import redact, redact_all
from flows.sums import Money
from tasks.encoding import Published
from tasks.ends import NotDeliveredError
from tasks.stage import StageOutcome

if TYPE_CHECKING:
    from datasets.ledger import Approval

EXIT_STATUS = {
    "delivered": 0,
    "planned": 0,
    "checked": 0,
    "failed": 1,
    "unreadable": 2,
    "partial": 3,
    "paused": 3,
    "interrupted": 130,
    "crashed": 1,
}


@dataclass(frozen=True)
class Reason:
    """Why an item ended as it did, or what its owner should know."""

    code: str
    message: str
    facts: dict[str, object]
    level: str

    def __post_init__(self) -> None:
        """What is said of an item goes into reports, ledger, events and the server: no secret goes with it."""
        object.__setattr__(self, "message", redact(self.message))
        object.__setattr__(self, "facts", redact_all(self.facts))

    @classmethod
    def of_notice(cls, notice: Notice) -> "Reason":
        return cls(notice.code, notice.message, notice.facts, "warning")

    @classmethod
    def of_error(cls, error: PipelineError) -> "Reason":
        return cls(error.code, error.message, error.facts, "error")

    @classmethod
    def of_end(cls, end: NotDeliveredError) -> tuple["Reason", ...]:
        """Why an item was stopped, deferred or is held; a gate may have several reasons."""
        found = end.facts.get("reasons")
        if not isinstance(found, list):
            return (cls.of_error(end),)
        return tuple(cls(each["code"], each["message"], each["facts"], each["level"]) for each in found)

    def to_json(self) -> dict[str, object]:
        return {"code": self.code, "message": self.message, "facts": self.facts, "level": self.level}


@dataclass(frozen=True)
class Delivered:
    """A published file where the user finds it."""

    path: Path
    file: Published

    def to_json(self) -> dict[str, object]:
        file = self.file
        return {
            "role": file.role,
            "path": str(self.path),
            "sha256": file.sha256,
            "width": file.width,
            "height": file.height,
            "bytes": file.bytes,
            "format": file.format,
            "fingerprint": file.fingerprint,
        }


@dataclass(frozen=True)
class ItemResult:
    """What became of one item."""

    item: str
    source: str
    status: str
    asset: str | None = None
    reasons: tuple[Reason, ...] = ()
    outputs: tuple[Delivered, ...] = ()
    stages: tuple[StageOutcome, ...] = ()
    failed_at: str | None = None

    def to_json(self) -> dict[str, object]:
        return {
            "item": self.item,
            "source": self.source,
            "status": self.status,
            "reasons": [reason.to_json() for reason in self.reasons],
            "outputs": [output.to_json() for output in self.outputs],
        }


@dataclass(frozen=True)
class RunSummary:
    """The whole run.

    Attributes:
        status: delivered, partial, failed, unreadable (not one readable input), paused, interrupted.
        approval: What a paused run asks for.
    """

    run_id: str
    recipe: str
    items: tuple[ItemResult, ...]
    seconds: float
    report: str | None = None
    status: str = field(default="")
    money: Money = field(default_factory=Money)
    approval: "Approval | None" = None

    def __post_init__(self) -> None:
        if not self.status:
            object.__setattr__(self, "status", overall_status(self.items))

    @property
    def exit_status(self) -> int:
        return EXIT_STATUS[self.status]

    def to_json(self) -> dict[str, object]:
        return {
            "run_id": self.run_id,
            "status": self.status,
            "recipe": self.recipe,
            "seconds": round(self.seconds, 3),
            "items": [item.to_json() for item in self.items],
            "stages": [stage_json(stage) for item in self.items for stage in item.stages if not stage.skipped],
            "skipped": [
                {"item": stage.item, "stage": stage.stage, "reason": stage.skipped}
                for item in self.items
                for stage in item.stages
                if stage.skipped
            ],
            "cost_usd": self.money.spent,
            "avoided_usd": self.money.avoided_net,
            "money": self.money.to_json(),
            "report": self.report,
            "approval": approval_json(self.approval) if self.approval else None,
        }


def approval_json(asked: "Approval") -> dict[str, object]:
    """What a paused run asks for, as its document says it."""
    return {"purchases": asked.purchases, "at_most_usd": asked.asked_micro_usd / MICRO, "state": asked.state}


def stage_json(outcome: StageOutcome) -> dict[str, object]:
    """One stage of one item, as the run's document lists it."""
    return {
        "item": outcome.item,
        "stage": outcome.stage,
        "model": outcome.model,
        "seconds": round(outcome.seconds, 4),
        "cached": outcome.cached,
        "chunks": outcome.chunks,
        "skipped": outcome.skipped,
    }


def overall_status(items: tuple[ItemResult, ...]) -> str:
    """The run's status from those of its items."""
    statuses = {item.status for item in items}
    if items and all(item.failed_at == "intake" for item in items):
        return "unreadable"
    if "failed" in statuses:
        return "failed"
    return "delivered" if statuses <= {"delivered"} else "partial"
