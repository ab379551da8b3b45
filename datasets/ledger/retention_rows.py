"""What the ledger holds on to: read in one transaction, for those who remove what nothing holds on to."""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, MetaData, Select, Table, and_, delete, func, or_, select, true

from datasets.ledger.engine import Ledger
from datasets.ledger.gate_tables import quarantine
from datasets.ledger.spend_tables import purchases
from datasets.ledger.tables import items, lineage_records, metadata, outbox, outputs, runs, stage_inputs, stage_runs
from datasets.ledger.transactions import transaction
from datasets.retention import Holds, RetentionRules

DIGEST_LENGTH = 64
DIGESTS = re.compile(r"\b[0-9a-f]{64}\b")
ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)
OPEN_PURCHASES = ("intent", "sent", "unknown")
RUN_COLUMNS = ("run_id", "run")  # of a catalogue's rows: the run that made what is current


def read_holds(ledger: Ledger, tenant: str, rules: RetentionRules, now: datetime) -> Holds:
    """What holds on to what.

    - Open runs hold whatever they used; other runs hold what they delivered, with every stage on its way, for
      ``outputs_days`` after their end. What was asked to be kept is held with its pixels.
    - Live rows of a catalogue hold their run for ever.
    - A purchase holds its answer and what was made of it for ever, and its whole item while its outcome is open.
    - Quarantine holds what was stopped until it is released, and ``quarantine_days`` longer.
    - Records of delivered files hold whatever they name.

    Raises:
        StorageUnavailableError: The ledger does not answer.
    """
    with transaction(ledger.engine, tenant, read_only=True) as connection:
        return _Reader(connection, tenant, rules, now).holds()


def open_runs_since(ledger: Ledger, tenant: str) -> datetime | None:
    """When the first of the runs that are not at their end began; None if all are."""
    with transaction(ledger.engine, tenant, read_only=True) as connection:
        return _oldest_open(connection, tenant)


def forget_events(ledger: Ledger, tenant: str, before: datetime, *, dry_run: bool = False) -> int:
    """Delete events that their sink took before a moment; those that wait stay. Returns how many."""
    told = and_(outbox.c.tenant_id == tenant, outbox.c.delivered_at.is_not(None), outbox.c.delivered_at < before)
    with transaction(ledger.engine, tenant, read_only=dry_run) as connection:
        if dry_run:
            return int(connection.execute(select(func.count()).select_from(outbox).where(told)).scalar_one())
        return connection.execute(delete(outbox).where(told)).rowcount


def flow_runs_ended(ledger: Ledger, tenant: str, before: datetime) -> list[str]:
    """Prefect's ids of the runs that ended before a moment."""
    columns = runs.c
    query = select(columns.flow_run_id).where(columns.tenant_id == tenant, columns.finished_at < before)
    with transaction(ledger.engine, tenant, read_only=True) as connection:
        return [str(each) for (each,) in connection.execute(query.where(columns.flow_run_id.is_not(None)))]


def _oldest_open(connection: Connection, tenant: str) -> datetime | None:
    query = select(func.min(runs.c.started_at)).where(runs.c.tenant_id == tenant, runs.c.finished_at.is_(None))
    found: datetime | None = connection.execute(query).scalar_one_or_none()
    return found


class _Reader:
    """Reads one tenant's holds in one transaction."""

    def __init__(self, connection: Connection, tenant: str, rules: RetentionRules, now: datetime) -> None:
        self._connection = connection
        self._tenant = tenant
        self._rules = rules
        self._now = now

    def holds(self) -> Holds:
        return Holds(
            roots=frozenset(self._roots()),
            whole=frozenset(self._whole()),
            edges=self._edges(),
            used=self._used(),
            delivered=frozenset(self._digests(select(outputs.c.fingerprint).distinct().where(self._own(outputs)))),
            originals=frozenset(self._digests(select(items.c.asset_digest).distinct().where(self._own(items)))),
            oldest_open_run=_oldest_open(self._connection, self._tenant),
        )

    def _roots(self) -> Iterator[str]:
        kept = self._kept_runs()
        yield from self._digests(select(outputs.c.fingerprint, outputs.c.sha256).where(self._in(outputs, kept)))
        yield from self._named_by_records(kept)
        delivered = (self._in(items, kept), items.c.status == "delivered")
        yield from self._digests(select(items.c.asset_digest).where(*delivered))
        yield from self._digests(self._stages_of(items, *delivered))
        yield from self._digests(select(purchases.c.response_digest).where(self._own(purchases)))
        same_stage = stage_runs.c.stage == purchases.c.stage
        yield from self._digests(self._stages_of(purchases, same_stage, purchases.c.response_digest.is_not(None)))
        yield from self._stopped(quarantine.c.released_at >= self._since(self._rules.quarantine_days))
        for table in catalogue_tables(metadata):
            for column in table.c:
                if getattr(column.type, "length", None) == DIGEST_LENGTH:  # whichever it is, it is held
                    yield from self._digests(select(column).where(self._own(table), *_live(table)))

    def _whole(self) -> Iterator[str]:
        is_open = select(runs.c.run_id).where(self._own(runs), runs.c.finished_at.is_(None))
        yield from self._digests(select(stage_runs.c.fingerprint).where(self._in(stage_runs, is_open)))
        yield from self._digests(select(items.c.asset_digest).where(self._in(items, is_open)))
        yield from self._digests(self._stages_of(purchases, purchases.c.state.in_(OPEN_PURCHASES)))
        yield from self._stopped(quarantine.c.released_at.is_(None))
        for run_id in self._asked_to_keep():
            of_run = (self._own(stage_runs), stage_runs.c.run_id == run_id)
            yield from self._digests(select(stage_runs.c.fingerprint).where(*of_run))

    def _kept_runs(self) -> Select[Any]:
        live = [
            runs.c.run_id.in_(select(table.c[name]).where(self._own(table), *_live(table)))
            for table in catalogue_tables(metadata)
            for name in RUN_COLUMNS
            if name in table.c
        ]
        unresolved = select(purchases.c.run_id).where(self._own(purchases), purchases.c.state.in_(OPEN_PURCHASES))
        young = true() if self._rules.outputs_days is None else self._ended_since(self._rules.outputs_days)
        return select(runs.c.run_id).where(self._own(runs), or_(young, runs.c.run_id.in_(unresolved), *live))

    def _ended_since(self, days: int) -> ColumnElement[bool]:
        return or_(runs.c.finished_at.is_(None), runs.c.finished_at >= self._since(days))

    def _asked_to_keep(self) -> list[str]:
        query = select(runs.c.run_id, runs.c.parameters).where(runs.c.run_id.in_(self._kept_runs()), self._own(runs))
        rows = self._connection.execute(query)
        return [str(run_id) for run_id, asked in rows if isinstance(asked, dict) and asked.get("keep")]

    def _named_by_records(self, kept: Select[Any]) -> Iterator[str]:
        """Whatever a record names: recipe files and answers stand in no other row."""
        files = select(outputs.c.sha256).where(self._in(outputs, kept))
        query = select(lineage_records.c.record).where(self._own(lineage_records), lineage_records.c.sha256.in_(files))
        for (record,) in self._connection.execute(query.execution_options(yield_per=500)):
            yield from DIGESTS.findall(record)

    def _stopped(self, condition: ColumnElement[bool]) -> Iterable[str]:
        query = select(quarantine.c.picture, quarantine.c.asset_digest).where(self._own(quarantine), condition)
        return self._digests(query)

    def _stages_of(self, table: Table, *conditions: ColumnElement[bool]) -> Select[Any]:
        """Outputs of the stages of items, which another table names by run and item."""
        same = and_(
            stage_runs.c.tenant_id == table.c.tenant_id,
            stage_runs.c.run_id == table.c.run_id,
            stage_runs.c.item == table.c.item,
        )
        joined = stage_runs.join(table, same)
        return select(stage_runs.c.fingerprint).distinct().select_from(joined).where(self._own(table), *conditions)

    def _edges(self) -> dict[str, tuple[str, ...]]:
        columns = stage_inputs.c
        query = select(columns.fingerprint, columns.input_digest).where(self._own(stage_inputs))
        edges: dict[str, tuple[str, ...]] = {}
        for made, source in self._connection.execute(query):
            edges[made] = (*edges.get(made, ()), source)
        return edges

    def _used(self) -> dict[str, float]:
        columns = stage_runs.c
        query = select(columns.fingerprint, func.max(columns.started_at)).where(self._own(stage_runs))
        rows = self._connection.execute(query.group_by(columns.fingerprint))
        return {digest: at.timestamp() for digest, at in rows}

    def _digests(self, query: Select[Any]) -> Iterator[str]:
        for row in self._connection.execute(query):
            yield from (str(value) for value in row if value is not None)

    def _in(self, table: Table, run_ids: Select[Any]) -> ColumnElement[bool]:
        return and_(self._own(table), table.c.run_id.in_(run_ids))

    def _own(self, table: Table) -> ColumnElement[bool]:
        return table.c.tenant_id == self._tenant

    def _since(self, days: int | None) -> datetime:
        return ALWAYS if days is None else self._now - timedelta(days=days)


def catalogue_tables(found: MetaData) -> list[Table]:
    """Tables of a catalogue's rows: each row is what a SKU came to, and live until it is retired."""
    tables = (table for name, table in found.tables.items() if name.startswith("catalogue"))
    return [table for table in tables if "sku" in table.c and "retired_at" in table.c]


def _live(table: Table) -> list[ColumnElement[bool]]:
    return [table.c.retired_at.is_(None)]
