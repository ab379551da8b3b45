"""Leases: one holder at a time for an output, kept alive by a heartbeat, taken over when the holder is gone.

Times are this host's UTC clock; hosts that share a ledger are expected to agree to within a second.
"""

import os
import socket
import threading
import uuid
from datetime import UTC, datetime, timedelta
from types import TracebackType

import psutil
from sqlalchemy import ColumnElement, Connection, Engine, delete, insert, select, update

from datasets.errors import LeaseBusyError
from datasets.ledger.tables import leases

BEATS_PER_PERIOD = 3


def _process_name() -> str:
    """Host, process number and start time: a number used again later is another process."""
    return f"{socket.gethostname()}|{os.getpid()}|{psutil.Process().create_time():.2f}"


class LeaseKeeper:
    """Beats for all leases that this process holds, from one thread."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._held: dict[str, Lease] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, lease: "Lease") -> None:
        with self._lock:
            self._held[lease.holder] = lease
            if self._thread is None or not self._thread.is_alive():
                self._stopping.clear()
                self._thread = threading.Thread(target=self._beat, name="lease-keeper", daemon=True)
                self._thread.start()

    def remove(self, lease: "Lease") -> None:
        with self._lock:
            self._held.pop(lease.holder, None)

    def stop(self) -> None:
        self._stopping.set()

    def _beat(self) -> None:
        while not self._stopping.wait(self._pause()):
            with self._lock:
                held = list(self._held.values())
            for lease in held:
                lease.extend()

    def _pause(self) -> float:
        with self._lock:
            periods = [lease.ttl_s for lease in self._held.values()]
        return min(periods, default=1.0) / BEATS_PER_PERIOD


class Lease:
    """A claim on a key. ``lost`` turns true when somebody else took it over."""

    def __init__(self, keeper: LeaseKeeper, tenant: str, key: str, ttl_s: float) -> None:
        self._keeper = keeper
        self._tenant = tenant
        self.key = key
        self.ttl_s = ttl_s
        self.holder = f"{_process_name()}|{uuid.uuid4().hex}"
        self.lost = False

    def try_acquire(self) -> bool:
        """Take the lease if it is free, expired, or held by a process of this host that is gone."""
        with self._keeper.engine.begin() as connection:
            taken = self._take(connection)
        if taken:
            self.lost = False
            self._keeper.add(self)
        return taken

    def _take(self, connection: Connection) -> bool:
        now = datetime.now(UTC)
        values = {"holder": self.holder, "acquired_at": now, "expires_at": now + timedelta(seconds=self.ttl_s)}
        row = connection.execute(select(leases.c.holder, leases.c.expires_at).where(*self._own_row())).first()
        if row is None:
            connection.execute(insert(leases).values(tenant_id=self._tenant, key=self.key, **values))
            return True
        if row.expires_at > now and not _is_gone(row.holder):
            return False
        changed = connection.execute(
            update(leases).where(*self._own_row(), leases.c.holder == row.holder).values(values)
        )
        return changed.rowcount == 1

    def extend(self) -> None:
        """Push the end further away; notice if the lease is somebody else's by now."""
        expires = datetime.now(UTC) + timedelta(seconds=self.ttl_s)
        with self._keeper.engine.begin() as connection:
            changed = connection.execute(
                update(leases).where(*self._own_row(), leases.c.holder == self.holder).values(expires_at=expires)
            )
        if changed.rowcount != 1:
            self.lost = True
            self._keeper.remove(self)

    def release(self) -> None:
        """Give the lease back; one that was lost stays with whoever has it."""
        self._keeper.remove(self)
        with self._keeper.engine.begin() as connection:
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


def _is_gone(holder: str) -> bool:
    """Whether the holder was a process of this host that does not live any more. Of other hosts nothing is known."""
    host, pid, started, _ = holder.split("|")
    if host != socket.gethostname():
        return False
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(started)) > 1.0
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False
