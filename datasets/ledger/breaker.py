"""A circuit breaker that all processes share: a service that keeps failing is left alone, then asked by one of them.

Source: Nygard, Release It!, 2nd edition 2018, "Circuit Breaker", with the window of failures kept as their times.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Connection, Engine, Row, select, update

from datasets.errors import UsageError
from datasets.ledger.leases import is_gone, new_holder
from datasets.ledger.spend_tables import circuits
from datasets.ledger.transactions import transaction
from datasets.ledger.upserts import insert_new

Failure = Literal["server", "timeout", "connection", "rate_limited", "local"]
FAILURES: tuple[str, ...] = get_args(Failure)


@dataclass(frozen=True)
class CircuitLimits:
    """When a circuit opens, and for how long.

    Attributes:
        failures: So many within ``window_s`` open it.
        local_window_s: The same for failures of this machine: a stage may work for minutes before memory runs out.
        open_s: How long it stays open at first; doubled after every probe that fails, up to ``longest_s``.
        local_open_s: How long it stays open at first if it was this machine that failed: memory and disk do not come
            back by themselves as soon as a service does.
        probe_s: How long a probe may be on its way before another process may send one.
    """

    failures: int = 5
    window_s: float = 60.0
    local_window_s: float = 900.0
    open_s: float = 30.0
    local_open_s: float = 300.0
    longest_s: float = 600.0
    probe_s: float = 120.0

    def __post_init__(self) -> None:
        opened = (self.open_s, self.local_open_s, self.longest_s)
        periods = (self.window_s, self.local_window_s, *opened, self.probe_s)
        if self.failures < 1 or min(periods) <= 0:
            raise UsageError(f"a circuit needs at least one failure and periods above 0 s, got {self}")


@dataclass(frozen=True)
class Allowed:
    """The service may be called. ``probe`` marks the one call that tries whether it works again."""

    service: str
    probe: str | None = None


@dataclass(frozen=True)
class OpenUntil:
    """The service is left alone until ``at``; ask again then.

    Attributes:
        kind: What failed last. ``local`` speaks of this machine and not of the service.
        probing: One call is trying it right now: whether it works again may be known long before ``at``.
    """

    service: str
    at: datetime
    kind: Failure | None = None
    probing: bool = False


class Breaker:
    """The circuits of one tenant's services. Each method is a transaction of its own."""

    def __init__(
        self,
        engine: Engine,
        tenant: str,
        limits: CircuitLimits | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._engine = engine
        self._tenant = tenant
        self._limits = limits or CircuitLimits()
        self._clock = clock

    def look(self, service: str) -> OpenUntil | None:
        """Until when a service is left alone; None if it may be asked. Changes nothing, and lets nobody call."""
        with transaction(self._engine, self._tenant, read_only=True) as connection:
            row = connection.execute(self._select(service)).first()
        return None if row is None or row.state == "closed" else _wait(row, self._clock())

    def before_call(self, service: str) -> Allowed | OpenUntil:
        """Ask whether a service may be called. Whoever is ``Allowed`` reports with ``succeeded`` or ``failed``."""
        with transaction(self._engine, self._tenant, read_only=True) as connection:
            row = connection.execute(self._select(service)).first()
            if row is None or row.state == "closed":
                return Allowed(service)
            wait = _wait(row, self._clock())
        return wait or self._try_probe(service)

    def succeeded(self, call: Allowed) -> None:
        """The call worked. A probe's success closes the circuit."""
        if call.probe is None:
            return
        with transaction(self._engine, self._tenant) as connection:
            row = self._locked(connection, call.service)
            if row.probe == call.probe:
                self._write(connection, row, state="closed", failures=[], trips=0, retry_at=None, **NO_PROBE)

    def failed(self, call: Allowed, kind: Failure, retry_after_s: float | None = None) -> None:
        """The call failed in a way that speaks against the service, or against this machine (``local``).

        Args:
            call: What ``before_call`` gave.
            kind: What failed.
            retry_after_s: What the service asked for (RFC 9110, section 10.2.3): nobody calls it before.
        """
        if kind not in FAILURES:
            raise UsageError(f"a call fails by {', '.join(FAILURES)}, not by {kind!r}")
        with transaction(self._engine, self._tenant) as connection:
            row, now = self._locked(connection, call.service), self._clock()
            asked = _asked(retry_after_s, now)
            if row.state == "closed":
                self._count(connection, row, kind, now, asked)
            elif row.state == "half_open" and row.probe == call.probe:
                self._open(connection, row, kind, now, asked)
            elif row.state == "open" and asked is not None and asked > row.retry_at:  # sent before it opened
                self._write(connection, row, retry_at=asked)

    def given_back(self, call: Allowed) -> None:
        """The call was not made after all: nothing was learnt, and another process may send the probe."""
        if call.probe is None:
            return
        with transaction(self._engine, self._tenant) as connection:
            row = self._locked(connection, call.service)
            if row.probe == call.probe:
                self._write(connection, row, state="open", retry_at=self._clock(), **NO_PROBE)

    def state(self, service: str) -> Literal["closed", "open", "half_open"]:
        """Where a service's circuit stands, for people to look at."""
        with transaction(self._engine, self._tenant, read_only=True) as connection:
            row = connection.execute(self._select(service)).first()
        return "closed" if row is None else row.state

    def _try_probe(self, service: str) -> Allowed | OpenUntil:
        with transaction(self._engine, self._tenant) as connection:
            row, now = self._locked(connection, service), self._clock()
            wait = None if row.state == "closed" else _wait(row, now)
            if row.state == "closed" or wait is not None:  # somebody else was quicker
                return wait or Allowed(service)
            probe, end = new_holder(), now + timedelta(seconds=self._limits.probe_s)
            self._write(connection, row, state="half_open", probe=probe, probe_expires_at=end)
            return Allowed(service, probe)

    def _count(self, connection: Connection, row: Row[Any], kind: str, now: datetime, asked: datetime | None) -> None:
        window_s = self._limits.local_window_s if kind == "local" else self._limits.window_s
        since = now.timestamp() - window_s
        failures = [moment for moment in row.failures if moment > since] + [now.timestamp()]
        if asked is not None or len(failures) >= self._limits.failures:
            self._open(connection, row, kind, now, asked)
        else:
            self._write(connection, row, failures=failures, last_kind=kind)

    def _open(self, connection: Connection, row: Row[Any], kind: str, now: datetime, asked: datetime | None) -> None:
        trips = row.trips + 1
        first_s = self._limits.local_open_s if kind == "local" else self._limits.open_s
        doubled = math.ldexp(first_s, min(trips - 1, 64))
        own = now + timedelta(seconds=min(doubled, self._limits.longest_s))
        opened = {"state": "open", "failures": [], "last_kind": kind, "trips": trips, "opened_at": now, **NO_PROBE}
        self._write(connection, row, retry_at=own if asked is None else max(own, asked), **opened)

    def _locked(self, connection: Connection, service: str) -> Row[Any]:
        new = {"tenant_id": self._tenant, "service": service, "state": "closed", "failures": [], "trips": 0}
        insert_new(connection, circuits, [new])
        return connection.execute(self._select(service).with_for_update()).one()

    def _write(self, connection: Connection, seen: Row[Any], **values: object) -> None:
        as_seen = (circuits.c.state == seen.state, circuits.c.probe == seen.probe)
        connection.execute(update(circuits).where(*self._own(seen.service), *as_seen).values(values))

    def _select(self, service: str) -> Any:
        return select(circuits).where(*self._own(service))

    def _own(self, service: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        return circuits.c.tenant_id == self._tenant, circuits.c.service == service


NO_PROBE = {"probe": None, "probe_expires_at": None}


def _wait(row: Row[Any], now: datetime) -> OpenUntil | None:
    """Until when a circuit that is not closed has to be left alone; None if a probe may be sent now."""
    if row.state == "open":
        return OpenUntil(row.service, row.retry_at, row.last_kind) if row.retry_at > now else None
    if row.probe_expires_at > now and not is_gone(row.probe):
        return OpenUntil(row.service, row.probe_expires_at, row.last_kind, probing=True)
    return None


def _asked(retry_after_s: float | None, now: datetime) -> datetime | None:
    if retry_after_s is None:
        return None
    if not (math.isfinite(retry_after_s) and retry_after_s >= 0):
        raise UsageError(f"expected seconds to wait, 0 or more, got {retry_after_s!r}")
    return now + timedelta(seconds=retry_after_s)
