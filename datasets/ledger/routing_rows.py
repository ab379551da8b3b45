"""The part of a ledger session that speaks of routing: how models did in the last days, and what was chosen."""

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from statistics import median
from typing import Any

from sqlalchemy import Connection, and_, or_, select

from datasets.ledger.routing_tables import routing_decisions
from datasets.ledger.tables import json_ready, runs, stage_runs
from datasets.ledger.upserts import insert_or_update
from datasets.redaction import redact, redact_all

MOST_STAGES = 5000  # the newest; more would say the same and take longer to read


@dataclass(frozen=True)
class ChosenModel:
    """A model that was chosen.

    Attributes:
        item: The item it was chosen for; empty: all items of the run.
        position: 0, or how many had failed before it.
        record: The whole decision.
    """

    run_id: str
    item: str
    capability: str
    position: int
    model: str
    licence: str
    purpose: str
    reason: str
    record: dict[str, Any]
    at: datetime


@dataclass
class ModelTimes:
    """How a model did: seconds of the stages it computed, and how often it failed by its own fault."""

    seconds: list[float] = field(default_factory=list)
    failures: int = 0

    @property
    def median_s(self) -> float:
        return median(self.seconds) if self.seconds else 0.0

    @property
    def p95_s(self) -> float:
        """The 95th percentile by nearest rank."""
        return sorted(self.seconds)[math.ceil(0.95 * len(self.seconds)) - 1] if self.seconds else 0.0


class RoutingRows:
    """Reads and writes the rows of one tenant in one transaction."""

    _connection: Connection
    _tenant: str

    def model_times(self, *, flow: str, since: datetime, faults: Collection[str]) -> dict[tuple[str, str], ModelTimes]:
        """How models did in the stages of a flow that were computed since then; those of the cache say nothing.

        A stage that ran several models counts for each.

        Args:
            faults: Codes of errors that speak against a model; others speak against the input or the machine.

        Returns:
            By model and device.
        """
        columns = stage_runs.c
        computed = and_(columns.cached.is_(False), columns.skipped.is_(None), columns.model.is_not(None))
        ended = or_(columns.error_code.is_(None), columns.error_code.in_(list(faults)))
        query = (
            select(columns.model, columns.device, columns.seconds, columns.error_code, columns.chunks)
            .join(runs, and_(runs.c.tenant_id == columns.tenant_id, runs.c.run_id == columns.run_id))
            .where(columns.tenant_id == self._tenant, columns.started_at >= since, runs.c.flow == flow, computed, ended)
            .order_by(columns.started_at.desc(), columns.stage_run_id)
            .limit(MOST_STAGES)
        )
        found: dict[tuple[str, str], ModelTimes] = {}
        for row in self._connection.execute(query):
            for name in names_in(row.model):
                times = found.setdefault((name, row.device or "cpu"), ModelTimes())
                if row.error_code is not None:
                    times.failures += 1
                elif row.chunks:  # a stage that left its picture as it was made no use of the model
                    times.seconds.append(row.seconds)
        return found

    def record_choice(self, choice: ChosenModel) -> None:
        """Write down what was chosen; chosen again by the same run, the row is replaced."""
        row = {"tenant_id": self._tenant, **asdict(choice)}
        row |= {"reason": redact(choice.reason), "record": redact_all(json_ready(choice.record))}
        insert_or_update(self._connection, routing_decisions, row)

    def choices(self, run_id: str) -> Sequence[ChosenModel]:
        """What was chosen in a run: for all items first, then by item."""
        columns = routing_decisions.c
        query = select(routing_decisions).where(columns.tenant_id == self._tenant, columns.run_id == run_id)
        found = self._connection.execute(query.order_by(columns.item, columns.capability, columns.position))
        names = [each.name for each in fields(ChosenModel)]
        return [ChosenModel(**{name: row._mapping[name] for name in names}) for row in found]


def names_in(label: str) -> list[str]:
    """The models of a stage as its row names them: ``a + b (unpublished weights 0123abcd)`` is a and b."""
    return [each.split(" (", 1)[0] for each in label.split(" + ")]
