"""One tenant's transaction on the ledger. Every statement names the tenant; there is no way around it."""

import socket
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, Select, Table, func, insert, select, update

from datasets.errors import NotFoundError, UsageError
from datasets.ledger import tables
from datasets.ledger.catalogue_rows import CatalogueRows
from datasets.ledger.gate_rows import GateRows
from datasets.ledger.item_notes import ItemNotes
from datasets.ledger.lineage_rows import LineageRows
from datasets.ledger.model_rows import ModelRows
from datasets.ledger.processes import host_name, is_alive
from datasets.ledger.records import ErrorRecord, ItemRecord, OutputRecord, RunRecord, StageRecord
from datasets.ledger.routing_rows import RoutingRows
from datasets.ledger.run_sums import RunSums
from datasets.ledger.tables import json_ready, storable
from datasets.ledger.upserts import insert_many, insert_new, insert_or_update
from datasets.redaction import redact, redact_all

Record = TypeVar("Record", RunRecord, ItemRecord, StageRecord, OutputRecord, ErrorRecord)
LATEST = "latest"


class LedgerSession(LineageRows, GateRows, ModelRows, RoutingRows, CatalogueRows, RunSums):
    """Reads and writes one tenant's rows in one transaction."""

    def __init__(self, connection: Connection, tenant: str) -> None:
        self._connection = connection
        self._tenant = tenant

    # writing

    def start_run(self, run: RunRecord) -> None:
        """Write a new run down, or begin an interrupted one again under its id."""
        insert_or_update(self._connection, tables.runs, self._row(run), keep=("started_at",))

    def link_flow_run(self, run_id: str, flow_run_id: str) -> None:
        self._update_run(run_id, flow_run_id=flow_run_id)

    def beat(self, run_id: str) -> None:
        """Say that the run's process is alive."""
        self._update_run(run_id, heartbeat_at=datetime.now(UTC))

    def finish_run(self, run_id: str, status: str, summary: dict[str, Any] | None = None) -> None:
        self._update_run(run_id, status=status, finished_at=datetime.now(UTC), summary=redact_all(json_ready(summary)))

    def save_items(self, run_id: str, items: Sequence[ItemRecord]) -> None:
        """Write the items of a run; those it has already stay as they are."""
        insert_new(self._connection, tables.items, [self._row(item) for item in items])

    def finish_item(
        self,
        run_id: str,
        item: str,
        status: str,
        reasons: Sequence[dict[str, Any]],
        asset_digest: str | None = None,
    ) -> None:
        where = self._where(tables.items, run_id=run_id, item=item)
        values = {"status": status, "reasons": redact_all(json_ready(list(reasons))), "asset_digest": asset_digest}
        values |= {"percent": 100.0} if status == "delivered" else {}
        self._connection.execute(update(tables.items).where(*where).values(values))

    def note_percent(self, run_id: str, item: str, percent: float) -> None:
        """Write down how far an item is, 0 to 100."""
        where = self._where(tables.items, run_id=run_id, item=item)
        self._connection.execute(update(tables.items).where(*where).values(percent=percent))

    def record_stage(self, stage: StageRecord) -> None:
        self._insert(tables.stage_runs, stage)

    def record_inputs(self, fingerprint: str, inputs: Sequence[tuple[str, str]]) -> None:
        """Write the inputs of an output, kind and digest each, in order. What is known already stays."""
        insert_new(self._connection, tables.stage_inputs, self._inputs(fingerprint, inputs))

    def _inputs(self, fingerprint: str, inputs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        return [
            {
                "tenant_id": self._tenant,
                "fingerprint": fingerprint,
                "position": position,
                "kind": kind,
                "input_digest": digest,
            }
            for position, (kind, digest) in enumerate(inputs)
        ]

    def record_output(self, output: OutputRecord) -> None:
        """Write a delivered file down; delivered again by the same run, the row is replaced."""
        insert_or_update(self._connection, tables.outputs, self._row(output))

    def record_error(self, error: ErrorRecord) -> None:
        facts = redact_all(json_ready(error.facts))
        self._insert(tables.errors, replace(error, message=redact(error.message), facts=facts))

    def save_notes(self, notes: Sequence[ItemNotes]) -> None:
        """Write down all that was noted of items, many rows at a time; what is there already stays or is replaced as
        it is when every fact is written by itself.
        """
        inputs = {pair[0]: pair[1] for each in notes for pair in each.inputs}
        self._insert_many(tables.items, [each.item for each in notes if each.item is not None], update=True)
        self._insert_many(tables.stage_runs, [stage for each in notes for stage in each.stages])
        insert_many(
            self._connection,
            tables.stage_inputs,
            [row for fingerprint, pairs in inputs.items() for row in self._inputs(fingerprint, pairs)],
        )
        self._insert_many(tables.outputs, [output for each in notes for output in each.outputs], update=True)
        self._insert_many(tables.lineage_records, [row for each in notes for row in each.lineage])
        for error in (error for each in notes for error in each.errors):
            self.record_error(error)

    def close_orphans(self, older_than: timedelta) -> list[str]:
        """Close runs that nobody works on any more.

        A run is an orphan if its process is gone from this host, or if it ran on another one and has been silent for
        longer than ``older_than``.

        Returns:
            The ids of the runs closed, now ``crashed``.
        """
        orphans = [
            run.run_id
            for run in self.runs(limit=1000, status="running")
            if _is_orphan(run, datetime.now(UTC) - older_than)
        ]
        for run_id in orphans:
            self.finish_run(run_id, "crashed", {"message": "its process is gone"})
        return orphans

    # reading

    def runs(self, limit: int = 20, status: str | None = None) -> list[RunRecord]:
        """The latest runs first."""
        columns = tables.runs.c
        query = select(tables.runs).where(*self._where(tables.runs))
        query = query.order_by(columns.started_at.desc(), columns.run_id)
        if status is not None:
            query = query.where(columns.status == status)
        return [_record(RunRecord, row) for row in self._connection.execute(query.limit(limit))]

    def find_run(self, name: str) -> RunRecord:
        """The run whose id begins so, or the ``latest``.

        Raises:
            NotFoundError: There is none.
            UsageError: Several begin so.
        """
        if name == LATEST:
            found = self.runs(limit=1)
        else:
            run_id, wanted = tables.runs.c.run_id, storable(name)
            begins_so = func.substr(run_id, 1, len(wanted)) == wanted  # LIKE has wildcards and, on SQLite, no case
            query = select(tables.runs).where(*self._where(tables.runs), begins_so).order_by(run_id).limit(2)
            found = [_record(RunRecord, row) for row in self._connection.execute(query)]
        if not found:
            raise NotFoundError(f"the ledger has no run {name!r}; `stillmotion runs` lists them", run=name)
        if len(found) > 1 and found[0].run_id != name:  # a whole id is shorter than what begins with it: it sorts first
            raise UsageError(f"several runs begin with {name!r}; give more of the id", run=name)
        return found[0]

    def items(self, run_id: str) -> list[ItemRecord]:
        query = self._of_run(tables.items, run_id).order_by(tables.items.c.position, tables.items.c.item)
        return [_record(ItemRecord, row) for row in self._connection.execute(query)]

    def stages(self, run_id: str) -> list[StageRecord]:
        columns = tables.stage_runs.c
        query = self._of_run(tables.stage_runs, run_id).order_by(
            columns.started_at, columns.position, columns.stage_run_id
        )
        return [_record(StageRecord, row) for row in self._connection.execute(query)]

    def outputs(self, run_id: str) -> list[OutputRecord]:
        query = self._of_run(tables.outputs, run_id).order_by(tables.outputs.c.item, tables.outputs.c.path)
        return [_record(OutputRecord, row) for row in self._connection.execute(query)]

    def errors(self, run_id: str) -> list[ErrorRecord]:
        query = self._of_run(tables.errors, run_id).order_by(tables.errors.c.at, tables.errors.c.error_id)
        return [_record(ErrorRecord, row) for row in self._connection.execute(query)]

    def inputs_of(self, fingerprint: str) -> list[tuple[str, str]]:
        """Kind and digest of every input of an output, in order; empty if the ledger does not know it."""
        columns = tables.stage_inputs.c
        query = (
            select(columns.kind, columns.input_digest)
            .where(*self._where(tables.stage_inputs, fingerprint=fingerprint))
            .order_by(columns.position)
        )
        return [(str(kind), str(digest)) for kind, digest in self._connection.execute(query)]

    def executions(self, fingerprint: str) -> int:
        """How often an output was computed to its end."""
        columns = tables.stage_runs.c
        query = select(func.count()).where(
            *self._where(tables.stage_runs, fingerprint=fingerprint),
            columns.cached.is_(False),
            columns.error_code.is_(None),
            columns.skipped.is_(None),
        )
        return int(self._connection.execute(query).scalar_one())

    # the one place where a condition is made

    def _where(self, table: Table, **values: object) -> list[Any]:
        own = table.c.tenant_id == self._tenant
        return [own, *(table.c[name] == value for name, value in values.items())]

    def _of_run(self, table: Table, run_id: str) -> Select[Any]:
        return select(table).where(*self._where(table, run_id=run_id))

    def _insert(self, table: Table, record: object) -> None:
        self._connection.execute(insert(table).values(self._row(record)))

    def _insert_many(self, table: Table, records: Sequence[object], *, update: bool = False) -> None:
        insert_many(self._connection, table, [self._row(record) for record in records], update=update)

    def _row(self, record: object) -> dict[str, Any]:
        return {"tenant_id": self._tenant, **_values(record)}

    def _update_run(self, run_id: str, **values: object) -> None:
        where = self._where(tables.runs, run_id=run_id)
        self._connection.execute(update(tables.runs).where(*where).values(values))


def _values(record: Any) -> dict[str, Any]:
    return {
        name: json_ready(value) if isinstance(value, dict | list) else value for name, value in asdict(record).items()
    }


def _record(kind: type[Record], row: Row[Any]) -> Record:
    values = row._mapping
    return kind(**{field.name: values[field.name] for field in fields(kind)})


def _is_orphan(run: RunRecord, silent_since: datetime) -> bool:
    if run.host not in (host_name(), socket.gethostname()):
        return run.heartbeat_at < silent_since
    return not is_alive(run.pid, born_by=run.heartbeat_at.timestamp())
