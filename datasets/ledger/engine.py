"""Opening the ledger: the engine, its SQLite manners, and the way to the newest tables."""

import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError, OperationalError, ProgrammingError
from sqlalchemy.pool import QueuePool

from datasets.errors import SettingsError, StorageUnavailableError
from datasets.identity import check_tenant
from datasets.ledger.beats import Heart
from datasets.ledger.breaker import Breaker, CircuitLimits
from datasets.ledger.leases import Lease, Releases
from datasets.ledger.roles import let_in, refuse_unbound
from datasets.ledger.session import LedgerSession
from datasets.ledger.spend import Clock, SpendSession, utc_now
from datasets.ledger.tables import metadata
from datasets.ledger.transactions import DURABLE, READ_ONLY, cause, shown, transaction

HEAD = "0011"  # the newest migration; a test holds it against the folder
BUSY_TIMEOUT_MS = 30_000
CONNECT_TIMEOUT_S = 10
NOT_ALLOWED = "42501"  # PostgreSQL, appendix A: insufficient_privilege
MOVE_AWAY = "move it away or set STILLMOTION_LEDGER_URL"
Synchronous = Literal["NORMAL", "FULL"]


class Ledger:
    """A ledger at a database. Thread-safe: every session has a connection of its own."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.heart = Heart()
        self._releases = Releases(engine, self.heart)

    @contextmanager
    def session(self, tenant: str, *, read_only: bool = False) -> Iterator[LedgerSession]:
        """One transaction of one tenant: committed at the end, undone on an error.

        One that only reads sees what is committed and does not stand in a writer's way.

        Raises:
            StorageUnavailableError: The database is locked, full, away or not writable; nothing was written.
        """
        check_tenant(tenant)
        with transaction(self.engine, tenant, read_only=read_only) as connection:
            yield LedgerSession(connection, tenant)

    @contextmanager
    def spending(self, tenant: str, *, read_only: bool = False, clock: Clock = utc_now) -> Iterator[SpendSession]:
        """One transaction of one tenant's money: on the disk when the block has ended, undone on an error.

        Raises:
            StorageUnavailableError: The database is locked, full, away or not writable; nothing was written.
        """
        check_tenant(tenant)
        with transaction(self.engine, tenant, read_only=read_only, durable=not read_only) as connection:
            yield SpendSession(connection, tenant, clock)

    def breaker(self, tenant: str, limits: CircuitLimits | None = None, *, clock: Clock = utc_now) -> Breaker:
        """The circuits of a tenant's services, shared by all processes of this ledger."""
        return Breaker(self.engine, check_tenant(tenant), limits, clock)

    def lease(self, tenant: str, key: str, *, ttl_s: float = 15.0) -> Lease:
        """A lease on a key, not acquired yet."""
        return Lease(self.engine, self.heart, check_tenant(tenant), key, ttl_s, self._releases)

    def close(self) -> None:
        """Stop the signs of life and let go of the database; what is still held runs out by itself."""
        self.heart.stop()
        with suppress(StorageUnavailableError):
            self._releases.beat()
        self.engine.dispose()


_OPEN: dict[tuple[URL, Synchronous], Ledger] = {}
_OPENING = threading.Lock()


def open_ledger(url: str, *, owner_url: str = "", synchronous: Synchronous = "NORMAL") -> Ledger:
    """The ledger at a SQLAlchemy URL, its tables brought up to date. One per process and URL; in memory, a new one.

    Args:
        url: Where it is, and as whom the program works there.
        owner_url: PostgreSQL only: the role that owns the tables, brings them up to date and lets the other one in.
        synchronous: SQLite only: how much a commit waits for the disk.

    Raises:
        SettingsError: The URL is not one, the place cannot be written, or the ledger is newer than this program.
    """
    address = _address(url)
    with _OPENING:
        if _in_memory(address):
            return _open(address, synchronous)
        if (address, synchronous) not in _OPEN:
            if owner_url and address.get_backend_name() == "postgresql":
                prepare(_address(owner_url), str(address.username))
            _OPEN[address, synchronous] = _open(address, synchronous)
        return _OPEN[address, synchronous]


def prepare(owner: URL, application: str) -> None:
    """Bring the tables up to date as their owner, and let the application's role use them.

    Raises:
        SettingsError: The owner cannot be reached, or may not do that.
    """
    engine = _engine(owner, "NORMAL")
    with _explained(engine):
        try:
            _migrate(engine)
            with engine.begin() as connection:
                let_in(connection, application)
        finally:
            engine.dispose()


def _address(url: str) -> URL:
    """The URL, a relative SQLite path made absolute: connections to come must not follow a change of folder."""
    try:
        address = make_url(url)
        fault = f"{address.drivername} is an asynchronous driver" if address.get_dialect().is_async else None
    except ValueError:  # its text would repeat a piece of the URL, perhaps of the password
        fault = "its port is not a number; special characters in a password are written as %XX"
    except (ArgumentError, NoSuchModuleError) as error:
        fault = str(error)
    if fault is not None:
        raise SettingsError(
            f"STILLMOTION_LEDGER_URL is not a database URL this installation knows: {fault}; use sqlite:///PATH"
        )
    if _is_file(address):
        return address.set(database=str(Path(str(address.database)).absolute()))
    if address.drivername == "postgresql":
        return address.set(drivername="postgresql+psycopg")
    return address


def _is_sqlite(address: URL) -> bool:
    return address.get_backend_name() == "sqlite"


def _in_memory(address: URL) -> bool:
    return _is_sqlite(address) and address.database in (None, "", ":memory:")


def _is_file(address: URL) -> bool:
    is_uri = (address.database or "").startswith("file:")  # SQLite's own kind of address
    return _is_sqlite(address) and not _in_memory(address) and not is_uri


def _open(address: URL, synchronous: Synchronous) -> Ledger:
    engine = _engine(address, synchronous)
    with _explained(engine):
        if _is_file(address):
            Path(str(address.database)).parent.mkdir(parents=True, exist_ok=True)
        if engine.dialect.name == "postgresql":
            with engine.connect() as connection:
                refuse_unbound(connection)
        _migrate(engine)
    return Ledger(engine)


@contextmanager
def _explained(engine: Engine) -> Iterator[None]:
    """Say in settings' words why a ledger cannot be opened."""
    try:
        yield
    except (OperationalError, OSError) as error:
        raise SettingsError(
            f"the ledger at {shown(engine)} cannot be opened: {cause(error)}; check {_to_check(engine)}, or set "
            "STILLMOTION_LEDGER_URL",
        ) from error
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) != NOT_ALLOWED:
            raise SettingsError(f"the ledger at {shown(engine)} cannot be opened: {cause(error)}") from error
        raise SettingsError(
            f"the tables of the ledger at {shown(engine)} are not there, are old, or are another role's, and this role "
            f"may not change that: {cause(error)}; set STILLMOTION_LEDGER_OWNER_URL to the role that owns them once"
        ) from error
    except DatabaseError as error:
        raise SettingsError(f"the file at {shown(engine)} is not a ledger: {cause(error)}; {MOVE_AWAY}") from error


def _to_check(engine: Engine) -> str:
    if engine.dialect.name == "sqlite":
        return "the folder's rights and space"
    return "that the server runs and lets this role in"


def _engine(address: URL, synchronous: Synchronous) -> Engine:
    try:
        if _is_sqlite(address):
            return _sqlite(address, synchronous)
        given = {"connect_timeout": CONNECT_TIMEOUT_S} if address.get_backend_name() == "postgresql" else {}
        return create_engine(address, pool_pre_ping=True, connect_args=given)
    except ImportError as error:
        raise SettingsError(
            f"STILLMOTION_LEDGER_URL needs a database driver that is not installed: {error}; install it, "
            "or use sqlite:///PATH"
        ) from error
    except (ArgumentError, TypeError) as error:
        raise SettingsError(f"STILLMOTION_LEDGER_URL is not usable: {cause(error)}; use sqlite:///PATH") from error


def _sqlite(address: URL, synchronous: Synchronous) -> Engine:
    # What is in memory lives in one connection, so threads take turns at it.
    pool = {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0} if _in_memory(address) else {}
    engine = create_engine(address, connect_args={"check_same_thread": False}, **pool)

    @event.listens_for(engine, "connect")
    def _manners(connection: Any, record: Any) -> None:  # noqa: ARG001 - SQLAlchemy's signature
        connection.isolation_level = None  # SQLAlchemy begins and ends transactions, see below
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        if not _in_memory(address):
            _write_ahead(cursor)
        cursor.execute(f"PRAGMA synchronous = {synchronous}")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        # A deferred transaction that turns into a writer half way cannot wait for its turn; one that begins so can.
        options = connection.get_execution_options()
        reads = options.get(READ_ONLY, False)
        level = "FULL" if options.get(DURABLE, False) else synchronous  # cannot be changed once a transaction has begun
        for pragma, value in (("synchronous", level), ("query_only", str(int(reads)))):
            if connection.info.get(pragma) != value:  # the database's own connection keeps them
                connection.exec_driver_sql(f"PRAGMA {pragma} = {value}")
                connection.info[pragma] = value
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _write_ahead(cursor: sqlite3.Cursor) -> None:
    """Turn on the write-ahead log. A new file's other opener may be at it: SQLite then gives up without waiting."""
    give_up = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(random.uniform(0.005, 0.05))  # noqa: S311 - spreads the tries, guards nothing
        else:
            return


def _migrate(engine: Engine) -> None:
    """Bring the tables to the newest form; of several processes that open a new ledger, one does it."""
    with engine.begin() as connection:  # on SQLite this holds the writer's lock until the end
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(7358119)"))
        version = _version(connection)
        if version == HEAD:
            return
        _check_migratable(connection, version)
        from datasets.ledger.migrating import upgrade

        upgrade(connection)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
    return None if row is None else str(row[0])


def _check_migratable(connection: Connection, version: str | None) -> None:
    """Refuse a ledger of a newer program, and a database of another program before anything in it is changed."""
    if version is None:
        foreign = set(metadata.tables) & set(inspect(connection).get_table_names())
    else:
        foreign = set() if len(version) == len(HEAD) and version.isdecimal() else {"alembic_version"}
    if foreign:
        raise SettingsError(
            f"the database at {shown(connection.engine)} belongs to another program: its table {min(foreign)!r} is "
            f"not the ledger's; {MOVE_AWAY}"
        )
    if version is not None and version > HEAD:
        raise SettingsError(
            f"the ledger was written by a newer version ({version}; this one knows {HEAD}); update stillmotion"
        )
