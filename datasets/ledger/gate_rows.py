"""The part of a ledger session that speaks of guardrails: what gates said, and what is in quarantine."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select, update

from datasets.errors import NotFoundError
from datasets.ledger.gate_tables import gate_results, quarantine
from datasets.ledger.tables import json_ready
from datasets.ledger.upserts import insert_new, insert_or_update


@dataclass(frozen=True)
class GateRecord:
    """What a gate said of an item of a run.

    Attributes:
        step: Name of the gate's step in the recipe.
        picture: Fingerprint of what was measured.
        decision: ``pass``, ``warn``, ``stop`` or ``error``.
        released: Whether the item went on because somebody had released it.
        measures: All values that are known.
        expectations: ``{expectation, measure, observed, bound, level, success, skipped}`` each.
    """

    run_id: str
    item: str
    step: str
    gate: str
    picture: str
    decision: str
    released: bool
    measures: dict[str, Any]
    expectations: list[dict[str, Any]]
    at: datetime


@dataclass(frozen=True)
class QuarantineRecord:
    """An item that a guardrail stopped.

    Attributes:
        hold_key: Names what is held: the picture at the gate. A changed picture is decided anew.
        source: Path of the item's source.
        reasons: ``{code, message, facts, level}`` each.
        released_by: Who let it go on, and ``why``.
    """

    hold_key: str
    run_id: str
    item: str
    source: str
    asset_digest: str | None
    gate: str
    picture: str
    reasons: list[dict[str, Any]]
    stopped_at: datetime
    released_at: datetime | None = None
    released_by: str | None = None
    why: str | None = None


class GateRows:
    """Reads and writes the guardrails' rows of one tenant in one transaction."""

    _connection: Connection
    _tenant: str

    def record_gate(self, record: GateRecord) -> None:
        """Write down what a gate said; said again in the same run, the row is replaced."""
        row = {"tenant_id": self._tenant, **asdict(record)}
        row |= {name: json_ready(row[name]) for name in ("measures", "expectations")}
        insert_or_update(self._connection, gate_results, row)

    def gate_records(self, run_id: str) -> list[GateRecord]:
        """What gates said in a run, in the order of time."""
        columns = gate_results.c
        query = select(gate_results).where(columns.tenant_id == self._tenant, columns.run_id == run_id)
        found = self._connection.execute(query.order_by(columns.at, columns.item, columns.step))
        names = [field.name for field in fields(GateRecord)]
        return [GateRecord(**{name: row._mapping[name] for name in names}) for row in found]

    def stops_of(self, item: str, run_id: str | None = None) -> set[tuple[str, str]]:
        """Gate and picture of every stop of an item, in one run or in any."""
        columns = gate_results.c
        where = [columns.tenant_id == self._tenant, columns.item == item, columns.decision == "stop"]
        where += [columns.run_id == run_id] if run_id else []
        found = self._connection.execute(select(columns.gate, columns.picture).where(*where))
        return {(row.gate, row.picture) for row in found}

    def put_in_quarantine(self, record: QuarantineRecord) -> None:
        """Write down what was stopped. What is there already and was not released is written anew."""
        row = {"tenant_id": self._tenant, **asdict(record), "reasons": json_ready(record.reasons)}
        if not insert_new(self._connection, quarantine, [row]):
            columns = quarantine.c
            where = (columns.tenant_id == self._tenant, columns.hold_key == record.hold_key)
            changed = {name: row[name] for name in ("run_id", "item", "source", "reasons", "stopped_at")}
            self._connection.execute(update(quarantine).where(*where, columns.released_at.is_(None)).values(changed))

    def release(self, hold_key: str, *, by: str, why: str) -> QuarantineRecord:
        """Let what is held go on, from the next run; released before, nothing changes.

        Raises:
            NotFoundError: Nothing of that key is in quarantine.
        """
        columns = quarantine.c
        where = (columns.tenant_id == self._tenant, columns.hold_key == hold_key)
        values = {"released_at": datetime.now(UTC), "released_by": by, "why": why}
        self._connection.execute(update(quarantine).where(*where, columns.released_at.is_(None)).values(values))
        found = self.held(hold_key=hold_key)
        if not found:
            raise NotFoundError(f"nothing with the key {hold_key!r} is in quarantine", hold_key=hold_key)
        return found[0]

    def is_released(self, hold_key: str) -> bool:
        return any(record.released_at is not None for record in self.held(hold_key=hold_key))

    def held(self, **values: str) -> list[QuarantineRecord]:
        """What was stopped, released ones included, the latest first; by ``hold_key``, ``item``, ``run_id``, ..."""
        columns = quarantine.c
        where = [columns.tenant_id == self._tenant, *(columns[name] == value for name, value in values.items())]
        query = select(quarantine).where(*where).order_by(columns.stopped_at.desc(), columns.hold_key)
        names = [field.name for field in fields(QuarantineRecord)]
        return [
            QuarantineRecord(**{name: row._mapping[name] for name in names}) for row in self._connection.execute(query)
        ]

    def quarantined(self) -> Sequence[QuarantineRecord]:
        """What is held now and nobody has released."""
        return [record for record in self.held() if record.released_at is None]
