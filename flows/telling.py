"""Leaves events about a run in the outbox, in the transaction that writes its start or its end."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from datasets.identity import canonical_json
from datasets.ledger import ItemRecord, Ledger, LedgerSession, OutputRecord, Purchase, RunRecord
from datasets.ledger.gate_rows import GateRecord
from datasets.lineage.events import DatasetFacts, Kind, RunEventFacts, cost_row

CATALOGUE = "catalogue"  # the flow whose items are rows of a table
ABORTED = ("interrupted", "cancelled")
FAILED = ("failed", "unreadable", "crashed")
SEVERITY = {"stop": "error", "warn": "warn"}  # a gate's levels in OpenLineage's words


@dataclass(frozen=True)
class Told:
    """What others hear of besides a run's items and outputs.

    Attributes:
        assertions: What gates found, by item, in the fields of OpenLineage's Assertion.
        charges: Rows in FOCUS columns, as ``datasets.lineage.events.cost_row`` makes them.
    """

    assertions: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    charges: Sequence[Mapping[str, Any]] = ()


NOTHING_MORE = Told()


def told_of(ledger: Ledger, tenant: str, run_id: str) -> Told:
    """What gates said in a run and what it was charged, for the event of its end."""
    with ledger.session(tenant, read_only=True) as session:
        gates = session.gate_records(run_id)
    assertions: dict[str, list[Mapping[str, Any]]] = {}
    for record in gates:
        assertions.setdefault(record.item, []).extend(_assertions(record))
    with ledger.spending(tenant, read_only=True) as spending:
        purchases = spending.purchases("settled", run_id=run_id)
    return Told(assertions, [_charge(each) for each in purchases])


def _assertions(record: GateRecord) -> Iterator[dict[str, Any]]:
    """What a gate expected of a picture; what does not concern it, or is not known, was not checked."""
    for each in record.expectations:
        if each["success"] is None:
            continue
        yield {
            "assertion": f"{record.gate}.{each['expectation']}",
            "success": each["success"],
            "column": each["measure"],
            "severity": SEVERITY[each["level"]],
            "expected": canonical_json(each["bound"]),
            "actual": canonical_json(each["observed"]),
        }


def _charge(purchase: Purchase) -> dict[str, Any]:
    begun = purchase.sent_at or purchase.intent_at
    return cost_row(
        purchase.adapter,
        purchase.charged_micro_usd or 0,
        begun,
        purchase.settled_at or begun,
        sku=purchase.adapter_version,
        resource=purchase.provider_reference,
        custom={"Item": purchase.item, "PurchaseKey": purchase.purchase_key, "PriceList": purchase.price_list},
    )


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
    inputs, outputs = _of_catalogue(run) if run.flow == CATALOGUE else _of_items(session, run_id, told)
    facts = RunEventFacts(
        kind=kind,
        run_id=run.run_id,
        flow=run.flow,
        recipe=run.recipe,
        at=run.started_at if kind == "START" else run.finished_at or datetime.now(UTC),
        version=run.version,
        inputs=inputs,
        outputs=outputs,
        charges=told.charges,
        message=str((run.summary or {}).get("message") or run.status) if failed else None,
    )
    session.post_events([facts.row()])


Datasets = tuple[list[DatasetFacts], list[DatasetFacts]]


def _of_items(session: LedgerSession, run_id: str, told: Told) -> Datasets:
    return [_input(item, told) for item in session.items(run_id)], _outputs(session.outputs(run_id))


def _of_catalogue(run: RunRecord) -> Datasets:
    """Of a catalogue the table is told, and the manifests that name all files: events do not grow with the table."""
    summary = run.summary or {}
    table = DatasetFacts(Path(str(run.parameters.get("table", ""))).name, summary.get("table_sha256"))
    files = summary.get("files") or []
    return [table], [DatasetFacts(each["name"], each["sha256"], each["bytes"]) for each in files]


def _input(item: ItemRecord, told: Told) -> DatasetFacts:
    return DatasetFacts(Path(item.source).name, item.asset_digest, assertions=told.assertions.get(item.item, ()))


def _outputs(records: Sequence[OutputRecord]) -> list[DatasetFacts]:
    """One for each published file; a name that several folders have is told once per content."""
    found: dict[tuple[str, str], DatasetFacts] = {}
    for record in records:
        name = Path(record.path).name
        found[name, record.sha256] = DatasetFacts(name, record.sha256, record.bytes)
    return list(found.values())
