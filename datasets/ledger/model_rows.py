"""The part of a ledger session that speaks of models: what is wanted of them, how they fare, where they are loaded."""

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Row, Table, delete, select, update

from datasets.ledger.model_circuits import DEFAULT_LIMITS, ModelCircuit, ModelCircuitLimits
from datasets.ledger.model_tables import model_events, model_processes, model_states
from datasets.ledger.upserts import insert_new
from datasets.redaction import redact
from datasets.thermal import AUTOMATIC, Wanted

TOLD_FOR = timedelta(days=1)  # what a process told of itself is kept for so long after it spoke last
Told = TypeVar("Told")


@dataclass(frozen=True)
class ModelState:
    """What is wanted of a model, and how it fares."""

    model: str
    wanted: Wanted = AUTOMATIC
    circuit: ModelCircuit = field(default_factory=ModelCircuit)
    changed_at: datetime | None = None
    changed_by: str | None = None


@dataclass(frozen=True)
class ModelInProcess:
    """A model in a process, as the process last told.

    Attributes:
        bytes: Memory it was measured to take; kept after it was let go.
        loaded_at: Since when it is loaded; None: it is not any more.
        told_at: When the process said so.
    """

    host: str
    pid: int
    model: str
    device: str
    bytes: int
    loaded_at: datetime | None
    last_used_at: datetime | None
    requests_per_minute: float
    loads: int
    hits: int
    evictions: int
    told_at: datetime


@dataclass(frozen=True)
class ModelEvent:
    """Something that happened to a model in a process: ``load``, ``evict``, ``out_of_memory``, ..."""

    host: str
    pid: int
    model: str
    device: str
    kind: str
    at: datetime
    seconds: float | None = None
    bytes: int | None = None
    detail: str | None = None
    run_id: str | None = None


class ModelRows:
    """Reads and writes the models' rows of one tenant in one transaction."""

    _connection: Connection
    _tenant: str

    # what is wanted

    def want_model(self, model: str, wanted: Wanted, *, by: str) -> None:
        """Write down what somebody wants of a model; how it fares stays as it is."""
        self._model_locked(model)
        values = {**asdict(wanted), "changed_at": datetime.now(UTC), "changed_by": by}
        self._connection.execute(update(model_states).where(*self._model(model)).values(values))

    def model_states(self) -> dict[str, ModelState]:
        """All models of which something was ever said, by name."""
        own = model_states.c.tenant_id == self._tenant
        query = select(model_states).where(own).order_by(model_states.c.model)
        return {row.model: _state(row) for row in self._connection.execute(query)}

    # how it fares

    def model_failed(
        self, model: str, reason: str, *, at: datetime | None = None, limits: ModelCircuitLimits = DEFAULT_LIMITS
    ) -> ModelCircuit:
        """The model itself failed: out of memory under the smallest plan, not to be loaded, an output of no numbers."""
        circuit = self._model_locked(model).circuit
        return self._turn(model, circuit, circuit.failed(redact(reason), at or datetime.now(UTC), limits))

    def model_worked(self, model: str, *, at: datetime | None = None) -> ModelCircuit:
        """The model did its work. Costs one look where there was nothing to forgive."""
        found = self._connection.execute(select(model_states).where(*self._model(model))).first()
        if found is None or _state(found).circuit.worked(at or datetime.now(UTC)) == _state(found).circuit:
            return ModelCircuit() if found is None else _state(found).circuit
        circuit = self._model_locked(model).circuit
        return self._turn(model, circuit, circuit.worked(at or datetime.now(UTC)))

    def model_tried(
        self, model: str, *, at: datetime | None = None, limits: ModelCircuitLimits = DEFAULT_LIMITS
    ) -> ModelCircuit:
        """A run begins to use the model: if its circuit was open and its time has come, this is the one try."""
        circuit = self._model_locked(model).circuit
        return self._turn(model, circuit, circuit.tried(at or datetime.now(UTC), limits))

    # where it is

    def record_model_process(self, host: str, pid: int, models: Sequence[ModelInProcess]) -> None:
        """What a process told of its models, in place of what it told before; what is long past is forgotten."""
        columns = model_processes.c
        own = columns.tenant_id == self._tenant
        stale = columns.told_at < datetime.now(UTC) - TOLD_FOR
        self._connection.execute(delete(model_processes).where(own, columns.host == host, columns.pid == pid))
        self._connection.execute(delete(model_processes).where(own, stale))
        insert_new(self._connection, model_processes, [{"tenant_id": self._tenant, **asdict(each)} for each in models])

    def model_processes(self) -> list[ModelInProcess]:
        """What processes told of their models, the latest first."""
        columns = model_processes.c
        return self._told(model_processes, ModelInProcess, columns.told_at.desc(), columns.pid, columns.model)

    def record_model_events(self, events: Sequence[ModelEvent]) -> None:
        rows = [
            {"tenant_id": self._tenant, "event_id": uuid.uuid4().hex, **asdict(event)}
            | {"detail": None if event.detail is None else redact(event.detail)}
            for event in events
        ]
        insert_new(self._connection, model_events, rows)

    def model_events(self, model: str | None = None, limit: int = 100) -> list[ModelEvent]:
        """What happened to a model or to all, the latest first."""
        columns = model_events.c
        where = [] if model is None else [columns.model == model]
        return self._told(model_events, ModelEvent, columns.at.desc(), columns.event_id, where=where, limit=limit)

    def _told(
        self,
        table: Table,
        kind: type[Told],
        *order: Any,
        where: Sequence[ColumnElement[bool]] = (),
        limit: int | None = None,
    ) -> list[Told]:
        query = select(table).where(table.c.tenant_id == self._tenant, *where).order_by(*order).limit(limit)
        names = [each.name for each in fields(kind)]  # type: ignore[arg-type]  # both kinds are dataclasses
        return [kind(**{name: row._mapping[name] for name in names}) for row in self._connection.execute(query)]

    def _model(self, model: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        return model_states.c.tenant_id == self._tenant, model_states.c.model == model

    def _model_locked(self, model: str) -> ModelState:
        new = {"tenant_id": self._tenant, "model": model, **asdict(AUTOMATIC), **asdict(ModelCircuit())}
        insert_new(self._connection, model_states, [new])
        return _state(self._connection.execute(select(model_states).where(*self._model(model)).with_for_update()).one())

    def _turn(self, model: str, before: ModelCircuit, after: ModelCircuit) -> ModelCircuit:
        if after != before:
            self._connection.execute(update(model_states).where(*self._model(model)).values(asdict(after)))
        return after


def _state(row: Row[Any]) -> ModelState:
    values = row._mapping
    circuit = ModelCircuit(**{each.name: values[each.name] for each in fields(ModelCircuit)})
    wanted = Wanted(values["thermal"], values["warm_until"])
    return ModelState(row.model, wanted, circuit, values["changed_at"], values["changed_by"])
