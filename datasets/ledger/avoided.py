"""Costs that were avoided: entries that are only ever added, each with its evidence, taken back by an opposite entry.

What a budget deferred is not avoided: it will be bought later.
"""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal, get_args

from sqlalchemy import select

from datasets.errors import UsageError
from datasets.identity import check_digest
from datasets.ledger.purchases import check_amount
from datasets.ledger.spend_rows import PurchaseRows, day_of
from datasets.ledger.spend_tables import avoided, purchases
from datasets.ledger.tables import json_ready
from datasets.ledger.upserts import insert_new

Reason = Literal["cache_hit", "duplicate", "guardrail_stop"]
REASONS: tuple[str, ...] = get_args(Reason)


@dataclass(frozen=True)
class Avoided:
    """A deliverable of a run that did not have to be bought.

    Attributes:
        deliverable_key: The key under which it would have been bought.
        micro_usd: What it would have cost.
        evidence: What proves it: the settled purchase, the item it is a duplicate of, the expectation that failed.
    """

    run_id: str
    item: str
    deliverable_key: str
    reason: Reason
    micro_usd: int
    evidence: dict[str, Any]

    def __post_init__(self) -> None:
        check_digest(self.deliverable_key)
        check_amount(self.micro_usd)
        if self.reason not in REASONS:
            raise UsageError(f"a cost is avoided by {', '.join(REASONS)}, not by {self.reason!r}")
        if not self.evidence:
            raise UsageError("an avoided cost needs its evidence; name what proves that nothing had to be bought")


@dataclass(frozen=True)
class AvoidedRecord:
    """An entry as it was written; of a ``reversal`` the amount is negative."""

    run_id: str
    item: str
    deliverable_key: str
    entry: Literal["avoided", "reversal"]
    reason: Reason
    micro_usd: int
    evidence: dict[str, Any]
    at: datetime


def append(rows: PurchaseRows, record: Avoided) -> bool:
    """Write an entry, once for each deliverable of a run's item.

    Returns:
        False if it is there already, or if this run paid for the deliverable itself before it was interrupted.
    """
    own = rows.own(purchase_key=record.deliverable_key, run_id=record.run_id, item=record.item, state="settled")
    if rows.connection.execute(select(purchases.c.state).where(*own)).first() is not None:
        return False
    return _insert(rows, record, "avoided", record.micro_usd, record.evidence)


def reverse(rows: PurchaseRows, run_id: str, item: str, key: str, evidence: dict[str, Any]) -> bool:
    """Write the opposite of an entry, at most once.

    Returns:
        False if there is no entry, or it is taken back already.
    """
    found = [
        one for one in of_run(rows, run_id) if (one.item, one.deliverable_key, one.entry) == (item, key, "avoided")
    ]
    return bool(found) and _insert(rows, found[0], "reversal", -found[0].micro_usd, evidence)


def of_run(rows: PurchaseRows, run_id: str) -> list[AvoidedRecord]:
    """The entries of a run in the order they were written."""
    columns = avoided.c
    query = select(avoided).where(columns.tenant_id == rows.tenant, columns.run_id == run_id)
    found = rows.connection.execute(query.order_by(columns.at, columns.item, columns.deliverable_key, columns.entry))
    return [AvoidedRecord(**{name: row._mapping[name] for name in NAMES}) for row in found]


def at_gate(rows: PurchaseRows, gate: str, picture: str) -> list[AvoidedRecord]:
    """What was avoided, in any run, because a picture was stopped at a gate; taken back or not."""
    columns = avoided.c
    stops = columns.reason.in_(("guardrail_stop", "duplicate"))
    query = select(avoided).where(columns.tenant_id == rows.tenant, columns.entry == "avoided", stops)
    found = rows.connection.execute(query.order_by(columns.at, columns.item, columns.deliverable_key))
    records = (AvoidedRecord(**{name: row._mapping[name] for name in NAMES}) for row in found)
    return [one for one in records if (one.evidence.get("gate"), one.evidence.get("picture")) == (gate, picture)]


def _insert(
    rows: PurchaseRows, record: Avoided | AvoidedRecord, entry: str, micro_usd: int, evidence: dict[str, Any]
) -> bool:
    row = {
        "tenant_id": rows.tenant,
        "run_id": record.run_id,
        "item": record.item,
        "deliverable_key": record.deliverable_key,
        "entry": entry,
        "reason": record.reason,
        "micro_usd": micro_usd,
        "evidence": json_ready(evidence),
        "at": rows.now,
        "day": day_of(rows.now),
    }
    return insert_new(rows.connection, avoided, [row]) == 1


NAMES = [item.name for item in fields(AvoidedRecord)]
