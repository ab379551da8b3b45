"""The one way into the ledger's database: a transaction of one tenant that says in plain words what went wrong."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from datasets.errors import StorageUnavailableError
from datasets.redaction import redact

READ_ONLY = "ledger_read_only"  # execution option of a connection that only reads
DURABLE = "ledger_durable"  # execution option of a connection whose commit is on the disk before it returns
# 'local' and the levels above 'on' wait for this server's disk, too, and stay.
WAIT_FOR_DISK = (
    "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"
)


@contextmanager
def transaction(engine: Engine, tenant: str, *, read_only: bool = False, durable: bool = False) -> Iterator[Connection]:
    """Committed at the end, undone on an error.

    Args:
        engine: The ledger's.
        tenant: Whose rows the database lets through, where it watches over that itself (PostgreSQL).
        read_only: Nothing will be written: on SQLite it does not wait for a writer, and none waits for it.
        durable: What is committed outlives a power cut, whatever the ledger's other transactions are content with.

    Raises:
        StorageUnavailableError: The database is locked, full, away or not writable; nothing was written.
    """
    try:
        with engine.connect() as connection:
            connection.execution_options(**{READ_ONLY: read_only, DURABLE: durable})
            with connection.begin():
                if engine.dialect.name == "postgresql":
                    _bind(connection, tenant, read_only)
                    if durable:
                        connection.execute(text(WAIT_FOR_DISK))
                yield connection
    except (OperationalError, InterfaceError, PoolTimeoutError) as error:
        raise StorageUnavailableError(
            f"the ledger at {shown(engine)} cannot be used now: {cause(error)}; try again, or check its disk's space "
            "and rights"
        ) from error


def _bind(connection: Connection, tenant: str, read_only: bool) -> None:
    """Name the tenant until the transaction ends; a setting of the session would go to the pool's next user."""
    if read_only:
        connection.execute(text("SET TRANSACTION READ ONLY"))
    connection.execute(text("SELECT set_config('app.tenant_id', :tenant, true)"), {"tenant": tenant})


def shown(engine: Engine) -> str:
    """The address of the database without its password, and without options, which may hold one."""
    return engine.url.set(query={}).render_as_string(hide_password=True)


def cause(error: Exception) -> str:
    """What the database's driver said, on one line."""
    return redact(" ".join(str(getattr(error, "orig", None) or error).split()))
