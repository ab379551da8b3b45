"""The one way into the ledger's database: a transaction that says in the project's words what went wrong."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from datasets.errors import StorageUnavailableError


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Committed at the end, undone on an error.

    Raises:
        StorageUnavailableError: The database is locked, full, away or not writable; nothing was written.
    """
    try:
        with engine.begin() as connection:
            yield connection
    except (OperationalError, PoolTimeoutError) as error:
        raise StorageUnavailableError(
            f"the ledger at {shown(engine)} cannot be used now: {cause(error)}; try again, or check its disk's space "
            "and rights"
        ) from error


def shown(engine: Engine) -> str:
    """The address of the database without its password."""
    return engine.url.render_as_string(hide_password=True)


def cause(error: Exception) -> str:
    """What the database's driver said."""
    return str(getattr(error, "orig", None) or error)
