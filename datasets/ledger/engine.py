"""Opening the ledger: the engine, its SQLite manners, and the way to the newest tables."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError, OperationalError
from sqlalchemy.pool import StaticPool

from datasets.errors import SettingsError
from datasets.identity import check_tenant
from datasets.ledger.leases import Lease, LeaseKeeper
from datasets.ledger.session import LedgerSession

HEAD = "0001"  # the newest migration; a test holds it against the folder
BUSY_TIMEOUT_MS = 30_000
Synchronous = Literal["NORMAL", "FULL"]


class Ledger:
    """A ledger at a database. Thread-safe: every session has a connection of its own."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._keeper = LeaseKeeper(engine)

    @contextmanager
    def session(self, tenant: str) -> Iterator[LedgerSession]:
        """One transaction of one tenant: committed at the end, undone on an error."""
        check_tenant(tenant)
        with self.engine.begin() as connection:
            yield LedgerSession(connection, tenant)

    def lease(self, tenant: str, key: str, *, ttl_s: float = 15.0) -> Lease:
        """A lease on a key, not acquired yet."""
        return Lease(self._keeper, check_tenant(tenant), key, ttl_s)

    def close(self) -> None:
        self._keeper.stop()
        self.engine.dispose()


_OPEN: dict[str, Ledger] = {}
_OPENING = threading.Lock()


def open_ledger(url: str, *, synchronous: Synchronous = "NORMAL") -> Ledger:
    """The ledger at a SQLAlchemy URL, its tables brought up to date. One per process and URL.

    Raises:
        SettingsError: The URL is not one, the place cannot be written, or the ledger is newer than this program.
    """
    with _OPENING:
        if url not in _OPEN or url.endswith(":memory:"):
            _OPEN[url] = _open(url, synchronous)
        return _OPEN[url]


def _open(url: str, synchronous: Synchronous) -> Ledger:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            engine = _sqlite(url, parsed.database, synchronous)
        else:
            engine = create_engine(url, pool_pre_ping=True)
        _migrate(engine)
    except (ArgumentError, NoSuchModuleError) as error:
        raise SettingsError(
            f"STILLMOTION_LEDGER_URL is not a database URL this installation knows: {error}; use sqlite:///PATH"
        ) from error
    except (OperationalError, OSError) as error:
        raise SettingsError(
            f"the ledger at {_shown(url)} cannot be opened: {_cause(error)}; check the folder's rights and space, "
            "or set STILLMOTION_LEDGER_URL",
        ) from error
    except DatabaseError as error:
        raise SettingsError(
            f"the file at {_shown(url)} is not a ledger: {_cause(error)}; move it away or set STILLMOTION_LEDGER_URL"
        ) from error
    return Ledger(engine)


def _shown(url: str) -> str:
    return make_url(url).render_as_string(hide_password=True)


def _cause(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error)


def _sqlite(url: str, database: str | None, synchronous: Synchronous) -> Engine:
    in_memory = database in (None, "", ":memory:")
    if database and not in_memory:
        Path(database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url, connect_args={"check_same_thread": False}, **({"poolclass": StaticPool} if in_memory else {})
    )

    @event.listens_for(engine, "connect")
    def _manners(connection: Any, record: Any) -> None:  # noqa: ARG001 - SQLAlchemy's signature
        connection.isolation_level = None  # SQLAlchemy begins and ends transactions, see below
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        if not in_memory:
            cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute(f"PRAGMA synchronous = {synchronous}")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        # A deferred transaction that turns into a writer half way cannot wait for its turn; one that begins so can.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _migrate(engine: Engine) -> None:
    """Bring the tables to the newest form; of several processes that open a new ledger, one does it."""
    with engine.begin() as connection:  # on SQLite this holds the writer's lock until the end
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(7358119)"))
        version = _version(connection)
        if version == HEAD:
            return
        if version is not None and version > HEAD:
            raise SettingsError(
                f"the ledger was written by a newer version ({version}; this one knows {HEAD}); update stillmotion"
            )
        from datasets.ledger.migrating import upgrade

        upgrade(connection)


def _version(connection: Any) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
    return None if row is None else str(row[0])
