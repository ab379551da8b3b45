"""Leaves events about a run in the outbox, in the transaction that writes its start or its end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from datasets.ledger import ItemRecord, LedgerSession, OutputRecord
from datasets.lineage.events import DatasetFacts, Kind, RunEventFacts

ABORTED = ("interrupted", "cancelled")
FAILED = ("failed", "unreadable", "crashed")


@dataclass(frozen=True)
class Told:
    """What others hear of besides the ledger's rows.

    Attributes:
        assertions: Checks of an item's source, by item, in the fields of OpenLineage's Assertion.
        charges: Rows in FOCUS columns, as ``datasets.lineage.events.cost_row`` makes them.
    """

    assertions: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    charges: Sequence[Mapping[str, Any]] = ()


NOTHING_MORE = Told()


def tell_start(session: LedgerSession, run_id: str) -> None:
    """Leave the event of a run that begins."""
    _tell(session, run_id, "START", NOTHING_MORE)


def tell_end(session: LedgerSession, run_id: str, told: Told = NOTHING_MORE) -> None:
    """Leave the event of a run whose end stands in the ledger, of the kind that its status means."""
    status = session.find_run(run_id).status
    _tell(session, run_id, "ABORT" if status in ABORTED else "FAIL" if status in FAILED else "COMPLETE", told)


def _tell(session: LedgerSession, run_id: str, kind: Kind, told: Told) -> None:
    run = session.find_run(run_id)
    failed = kind in ("FAIL", "ABORT")
    facts = RunEventFacts(
        kind=kind,
        run_id=run.run_id,
        flow=run.flow,
        recipe=run.recipe,
        at=run.started_at if kind == "START" else run.finished_at or datetime.now(UTC),
        version=run.version,
        inputs=[_input(item, told) for item in session.items(run_id)],
        outputs=_outputs(session.outputs(run_id)),
        charges=told.charges,
        message=str((run.summary or {}).get("message") or run.status) if failed else None,
    )
    session.post_events([facts.row()])


def _input(item: ItemRecord, told: Told) -> DatasetFacts:
    return DatasetFacts(Path(item.source).name, item.asset_digest, assertions=told.assertions.get(item.item, ()))


def _outputs(records: Sequence[OutputRecord]) -> list[DatasetFacts]:
    """One for each published file; a name that several folders have is told once per content."""
    found: dict[tuple[str, str], DatasetFacts] = {}
    for record in records:
        name = Path(record.path).name
        found[name, record.sha256] = DatasetFacts(name, record.sha256, record.bytes)
    return list(found.values())
