"""Leases: one holder at a time for an output, kept alive by a heartbeat, taken over when the holder is gone.

Times are this host's UTC clock; hosts that share a ledger are expected to agree to within a second.
"""

import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import TracebackType

from sqlalchemy import ColumnElement, Connection, Engine, bindparam, delete, select, update

from datasets.errors import LeaseBusyError
from datasets.ledger.beats import Heart
from datasets.ledger.processes import host_name, is_alive, own_birth
from datasets.ledger.tables import leases
from datasets.ledger.transactions import transaction
from datasets.ledger.upserts import insert_new

BEATS_PER_PERIOD = 3  # two beats may fail before the lease runs out


class Releases:
    """Leases that are given back, and whose rows go with the next transaction that takes one, or within a moment.

    Who needs many leases one after the other would write twice as often without it.
    """

    every_s = 1.0

    def __init__(self, engine: Engine, heart: Heart) -> None:
        self._engine = engine
        self._heart = heart
        self._waiting: dict[str, list[dict[str, str]]] = {}
        self._lock = threading.Lock()

    def add(self, tenant: str, key: str, holder: str) -> None:
        with self._lock:
            is_first = not any(self._waiting.values())
            self._waiting.setdefault(tenant, []).append({"its_tenant": tenant, "its_key": key, "its_holder": holder})
        if is_first:
            self._heart.add(self)

    @contextmanager
    def written(self, tenant: str) -> Iterator[Connection]:
        """A transaction of the tenant that removes what waits first; if it fails, that waits on."""
        with self._lock:
            rows = self._waiting.pop(tenant, [])
        try:
            with transaction(self._engine, tenant) as connection:
                if rows:
                    connection.execute(_REMOVE, rows)
                yield connection
        except BaseException:
            with self._lock:
                self._waiting.setdefault(tenant, []).extend(rows)
            raise

    def beat(self) -> None:
        """Write what nobody came to write."""
        with self._lock:
            tenants = [tenant for tenant, rows in self._waiting.items() if rows]
        for tenant in tenants:
            with self.written(tenant):
                pass
        with self._lock:
            if not any(self._waiting.values()):
                self._heart.remove(self)


_REMOVE = delete(leases).where(
    leases.c.tenant_id == bindparam("its_tenant"),
    leases.c.key == bindparam("its_key"),
    leases.c.holder == bindparam("its_holder"),
)


class Lease:
    """A claim on a key. ``lost`` turns true when somebody else took it over."""

    def __init__(
        self, engine: Engine, heart: Heart, tenant: str, key: str, ttl_s: float, releases: Releases | None = None
    ) -> None:
        self._engine = engine
        self._heart = heart
        self._releases = releases or Releases(engine, heart)
        self._tenant = tenant
        self._held = False
        self.key = key
        self.ttl_s = ttl_s
        self.holder = new_holder()
        self.lost = False

    @property
    def every_s(self) -> float:
        """Seconds between two beats."""
        return self.ttl_s / BEATS_PER_PERIOD

    def try_acquire(self) -> bool:
        """Take the lease if it is free, expired, or held by a process of this host that is gone."""
        with self._releases.written(self._tenant) as connection:
            taken = self._take(connection)
        if taken:
            self.lost, self._held = False, True
            self._heart.add(self)
        return taken

    def _take(self, connection: Connection) -> bool:
        now = datetime.now(UTC)
        values = {"holder": self.holder, "acquired_at": now, "expires_at": now + timedelta(seconds=self.ttl_s)}
        if insert_new(connection, leases, [{"tenant_id": self._tenant, "key": self.key, **values}]):
            return True  # nobody's; of several who see that at once, the one whose row is written has it
        row = connection.execute(select(leases.c.holder, leases.c.expires_at).where(*self._own_row())).first()
        if row is None:  # given back in between; whoever asks again may have it
            return False
        if row.expires_at > now and not is_gone(row.holder):
            return False
        as_seen = (
            leases.c.holder == row.holder,
            leases.c.expires_at == row.expires_at,
        )  # or its holder has beaten since
        changed = connection.execute(update(leases).where(*self._own_row(), *as_seen).values(values))
        return changed.rowcount == 1

    def beat(self) -> None:
        """Push the end further away; notice if the lease is somebody else's by now."""
        with transaction(
            self._engine, self._tenant
        ) as connection:  # on SQLite this may wait, so the clock is read after it
            expires = datetime.now(UTC) + timedelta(seconds=self.ttl_s)
            changed = connection.execute(
                update(leases).where(*self._own_row(), leases.c.holder == self.holder).values(expires_at=expires)
            )
        if changed.rowcount != 1 and self._held:  # not held: given back while the beat was on its way
            self.lost, self._held = True, False
            self._heart.remove(self)

    def release(self, *, later: bool = False) -> None:
        """Give the lease back; one that was lost stays with whoever has it.

        Args:
            later: Within a second, together with others.
        """
        self._held = False
        self._heart.remove(self)
        if later:
            self._releases.add(self._tenant, self.key, self.holder)
            return
        with transaction(self._engine, self._tenant) as connection:
            connection.execute(delete(leases).where(*self._own_row(), leases.c.holder == self.holder))

    def _own_row(self) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        return leases.c.tenant_id == self._tenant, leases.c.key == self.key

    def __enter__(self) -> "Lease":
        if not self.try_acquire():
            raise LeaseBusyError(f"{self.key} is being made by another run", key=self.key)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


@contextmanager
def held(lease: Lease) -> Iterator[bool]:
    """Whether the lease is ours while the block runs; it is not waited for."""
    if not lease.try_acquire():
        yield False
        return
    try:
        yield True
    finally:
        lease.release()


def new_holder() -> str:
    """A name for something that this process holds: host, process number, birth, and a number of its own.

    With the birth, a process number that is used again later is another process.
    """
    return f"{host_name()}|{os.getpid()}|{own_birth():.2f}|{uuid.uuid4().hex}"


def is_gone(holder: str) -> bool:
    """Whether the holder was a process of this host that does not live any more. Of other hosts nothing is known."""
    host, pid, birth, _ = holder.rsplit("|", 3)
    return host == host_name() and not is_alive(int(pid), born_by=float(birth), born_after=float(birth))
