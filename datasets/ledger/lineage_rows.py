"""The part of a ledger session that speaks of lineage: records of published files, events that are still to be told."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Table, func, select, update

from datasets.ledger import tables
from datasets.ledger.upserts import insert_new
from datasets.redaction import redact


@dataclass(frozen=True)
class LineageRow:
    """The record of a published file.

    Attributes:
        sha256: Of the file.
        core: Digest of what of the record does not depend on the run.
        sealed: Digest of the whole record.
        unsigned_sha256: Of the file that a signed one was made of; None where nothing was signed.
        fingerprint: Of the stage output that holds the file.
        record: The record itself, canonical JSON.
    """

    sha256: str
    core: str
    sealed: str
    unsigned_sha256: str | None
    run_id: str
    fingerprint: str
    record: str
    recorded_at: datetime


@dataclass(frozen=True)
class OutboxRow:
    """An event that a sink outside has to hear of, as JSON."""

    event_id: str
    run_id: str
    event: str
    position: int = 0
    attempts: int = 0


class LineageRows:
    """Reads and writes the lineage of one tenant in one transaction."""

    _connection: Connection
    _tenant: str

    def record_lineage(self, row: LineageRow) -> LineageRow:
        """Write the record of a published file down. One of the same core that is there already stays.

        Returns:
            The record that counts: the first of its core.
        """
        table = tables.lineage_records
        insert_new(self._connection, table, [{"tenant_id": self._tenant, **asdict(row)}])
        (found,) = [each for each in self.lineage_of(row.sha256) if each.core == row.core]
        return found

    def record_lineages(self, rows: Sequence[LineageRow]) -> list[LineageRow]:
        """The same for several files, in order."""
        return [self.record_lineage(row) for row in rows]

    def lineages_of(self, digests: Sequence[str]) -> list[LineageRow]:
        """The records of files with any of these digests."""
        return self._lineage(tables.lineage_records.c.sha256.in_(list(digests)))

    def lineage_of(self, sha256: str) -> list[LineageRow]:
        """The records of files with this digest, the latest first."""
        return self._lineage(tables.lineage_records.c.sha256 == sha256)

    def signed_from(self, unsigned_sha256: str) -> list[LineageRow]:
        """The records of signed files made of the one with this digest, the latest first."""
        return self._lineage(tables.lineage_records.c.unsigned_sha256 == unsigned_sha256)

    def _lineage(self, condition: Any) -> list[LineageRow]:
        table = tables.lineage_records
        query = select(table).where(table.c.tenant_id == self._tenant, condition)
        query = query.order_by(table.c.recorded_at.desc(), table.c.core)
        names = [field.name for field in fields(LineageRow)]
        return [LineageRow(**{name: row._mapping[name] for name in names}) for row in self._connection.execute(query)]

    def post_events(self, events: Sequence[OutboxRow]) -> None:
        """Leave events to be told; what was left before under the same id is not left again."""
        table = tables.outbox
        highest = select(func.coalesce(func.max(table.c.position), 0)).where(self._own(table))
        first = int(self._connection.execute(highest).scalar_one()) + 1
        now = datetime.now(UTC)
        rows = [
            {"tenant_id": self._tenant, **asdict(event), "position": first + number, "recorded_at": now}
            for number, event in enumerate(events)
        ]
        insert_new(self._connection, table, rows)

    def waiting_events(self, limit: int, *, after: int = 0) -> list[OutboxRow]:
        """Events that no sink has taken yet, in the order in which they were left, from behind a position on."""
        table = tables.outbox
        query = select(table).where(self._own(table), table.c.delivered_at.is_(None), table.c.position > after)
        query = query.order_by(table.c.position, table.c.event_id).limit(limit)
        names = [field.name for field in fields(OutboxRow)]
        return [OutboxRow(**{name: row._mapping[name] for name in names}) for row in self._connection.execute(query)]

    def mark_delivered(self, event_id: str) -> None:
        self._change_event(event_id, delivered_at=datetime.now(UTC), last_error=None)

    def mark_undelivered(self, event_id: str, error: str) -> None:
        """Note that a sink did not take an event, and why; it stays where it is."""
        self._change_event(event_id, last_error=redact(error))

    def _change_event(self, event_id: str, **values: object) -> None:
        table = tables.outbox
        statement = update(table).where(self._own(table), table.c.event_id == event_id)
        self._connection.execute(statement.values(attempts=table.c.attempts + 1, **values))

    def _own(self, table: Table) -> Any:
        return table.c.tenant_id == self._tenant
