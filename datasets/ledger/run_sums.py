"""The part of a ledger session that sums up a run of any size, and shows a few of its items."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, case, func, select

from datasets.ledger import tables
from datasets.ledger.records import ItemRecord, OutputRecord, StageRecord


@dataclass(frozen=True)
class StageSum:
    """One stage over all items of a run; ``runs`` are those that were not skipped."""

    stage: str
    runs: int
    cached: int
    skipped: int
    seconds: float
    longest: float
    peak_memory_bytes: int | None
    model: str | None
    device: str | None


class RunSums:
    """Sums of one tenant's runs in one transaction."""

    _connection: Connection
    _tenant: str

    def stage_sums(self, run_id: str) -> list[StageSum]:
        """What every stage of a run came to, in the order in which they first ran."""
        table = tables.stage_runs.c
        skipped = func.sum(case((table.skipped.is_not(None), 1), else_=0))
        query = (
            select(
                table.stage,
                (func.count() - skipped).label("runs"),
                func.sum(case((table.cached, 1), else_=0)).label("cached"),
                skipped.label("skipped"),
                func.sum(table.seconds).label("seconds"),
                func.max(table.seconds).label("longest"),
                func.max(table.peak_memory_bytes).label("peak_memory_bytes"),
                func.max(table.model).label("model"),
                func.max(table.device).label("device"),
            )
            .where(table.tenant_id == self._tenant, table.run_id == run_id)
            .group_by(table.stage)
            .order_by(func.min(table.position))
        )
        names = [each.name for each in fields(StageSum)]
        return [StageSum(**{name: row._mapping[name] for name in names}) for row in self._connection.execute(query)]

    def some_items(self, run_id: str, status: str, limit: int) -> list[ItemRecord]:
        """The first items of a run that ended so."""
        table = tables.items
        query = select(table).where(
            table.c.tenant_id == self._tenant, table.c.run_id == run_id, table.c.status == status
        )
        return self._records(ItemRecord, query.order_by(table.c.position, table.c.item).limit(limit))

    def stages_of(self, run_id: str, items: Sequence[str]) -> list[StageRecord]:
        """The stages of some items of a run."""
        table = tables.stage_runs
        query = select(table).where(
            table.c.tenant_id == self._tenant, table.c.run_id == run_id, table.c.item.in_(list(items))
        )
        return self._records(StageRecord, query.order_by(table.c.started_at, table.c.position))

    def outputs_of(self, run_id: str, items: Sequence[str]) -> list[OutputRecord]:
        """The delivered files of some items of a run."""
        table = tables.outputs
        query = select(table).where(
            table.c.tenant_id == self._tenant, table.c.run_id == run_id, table.c.item.in_(list(items))
        )
        return self._records(OutputRecord, query.order_by(table.c.item, table.c.path))

    def _records(self, kind: type[Any], query: Any) -> list[Any]:
        names = [each.name for each in fields(kind)]
        return [kind(**{name: row._mapping[name] for name in names}) for row in self._connection.execute(query)]
