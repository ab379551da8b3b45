"""What only PostgreSQL can do wrong, or keeps by itself: roles, row level security, connections that break."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, Update, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from datasets.errors import SettingsError, StorageUnavailableError
from datasets.ledger import Lease, Ledger, LedgerSession, open_ledger
from datasets.ledger.tables import metadata, tenant_tables
from datasets.ledger.transactions import transaction
from tests.datasets.ledger_rows import a_run
from tests.postgresql import PASSWORD, Database

FORBIDDEN = ["CREATE TABLE mine (n int)", "DROP TABLE runs", "ALTER TABLE runs DISABLE ROW LEVEL SECURITY"]
STALE = "INSERT INTO leases VALUES ('anna', 'old', 'other|1|1.00|x', now(), now() - interval '1 hour')"
TABLES = [table.name for table in tenant_tables()]


@pytest.fixture
def ledger(postgres_ledger: Database) -> Ledger:
    opened = open_ledger(postgres_ledger.url)
    for tenant in ("anna", "bert"):
        with opened.session(tenant) as session:
            session.start_run(a_run())
    return opened


def engine_of(url: str) -> Engine:
    return create_engine(make_url(url).set(drivername="postgresql+psycopg"))


def count(engine: Engine, tenant: str | None = None) -> int:
    with engine.begin() as connection:
        if tenant is not None:
            connection.execute(text("SELECT set_config('app.tenant_id', :tenant, true)"), {"tenant": tenant})
        return int(connection.execute(text("SELECT count(*) FROM runs")).scalar_one())


def test_the_database_itself_shows_a_tenant_its_own_rows_and_nobody_any_without_one(
    ledger: Ledger, postgres_ledger: Database
) -> None:
    for url in (postgres_ledger.url, postgres_ledger.owner_url):  # the owner is bound as well
        engine = engine_of(url)
        assert count(engine) == count(engine, "") == count(engine, "carl") == 0
        assert count(engine, "anna") == count(engine, "bert") == 1
        engine.dispose()


def test_every_table_of_tenants_is_bound_and_forced(ledger: Ledger) -> None:
    query = text("SELECT relname FROM pg_class WHERE relrowsecurity AND relforcerowsecurity")
    policies = text("SELECT tablename FROM pg_policies WHERE permissive = 'RESTRICTIVE'")
    with ledger.engine.begin() as connection:
        assert sorted(connection.execute(query).scalars()) == sorted(TABLES)
        assert sorted(connection.execute(policies).scalars()) == sorted(TABLES)


@pytest.mark.parametrize("statement", ["UPDATE runs SET status = 'stolen'", "DELETE FROM runs"])
def test_rows_of_others_can_not_be_changed(ledger: Ledger, statement: str) -> None:
    with transaction(ledger.engine, "anna") as connection:
        assert connection.execute(text(f"{statement} WHERE tenant_id = 'bert'")).rowcount == 0
    with ledger.session("bert") as session:
        assert session.find_run("run-1").status == "running"


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO leases VALUES ('bert', 'k', 'h', now(), now())",
        "UPDATE runs SET tenant_id = 'bert', run_id = 'another'",
    ],
)
def test_rows_can_not_be_given_to_others(ledger: Ledger, statement: str) -> None:
    with pytest.raises(ProgrammingError, match="row-level security"), transaction(ledger.engine, "anna") as connection:
        connection.execute(text(statement))


def test_a_connection_forgets_the_tenant_before_its_next_user(ledger: Ledger) -> None:
    with ThreadPoolExecutor(4) as threads:
        seen = list(threads.map(lambda n: _seen(ledger, ("anna", "bert")[n % 2]), range(40)))
    assert seen == [1] * 40
    assert count(ledger.engine) == 0  # a pooled connection that somebody used


def _seen(ledger: Ledger, tenant: str) -> int:
    with ledger.session(tenant, read_only=True) as session:
        return len(session.runs())


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE mine (n int)", "DROP TABLE runs", "ALTER TABLE runs DISABLE ROW LEVEL SECURITY"]
)
def test_the_applications_role_owns_nothing(ledger: Ledger, statement: str) -> None:
    with pytest.raises(ProgrammingError), transaction(ledger.engine, "anna") as connection:
        connection.execute(text(statement))


def test_the_owner_makes_the_tables_once_and_the_application_works_in_them(postgres: Database) -> None:
    with pytest.raises(SettingsError, match="STILLMOTION_LEDGER_OWNER_URL") as refused:
        open_ledger(postgres.url)
    assert PASSWORD not in refused.value.message
    with open_ledger(postgres.url, owner_url=postgres.owner_url).session("anna") as session:
        session.start_run(a_run())
    engine = engine_of(postgres.owner_url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_processes_that_open_a_new_ledger_at_once_make_its_tables_once(postgres: Database) -> None:
    from datasets.ledger.engine import _address, prepare

    with ThreadPoolExecutor(4) as threads:
        made = [threads.submit(prepare, _address(postgres.owner_url), "stillmotion") for _ in range(4)]
        assert [one.result(60) for one in made] == [None] * 4


def test_a_role_that_no_policy_binds_is_refused(postgres_ledger: Database) -> None:
    with pytest.raises(SettingsError, match="superuser or bypasses"):
        open_ledger(postgres_ledger.admin_url)


def test_a_server_that_is_not_there_is_refused_soon_and_without_the_password() -> None:
    begun = time.monotonic()
    with pytest.raises(SettingsError, match="that the server runs") as refused:
        open_ledger(f"postgresql://anna:{PASSWORD}@127.0.0.1:9/books")
    assert PASSWORD not in refused.value.message
    assert time.monotonic() - begun < 15


def _end_connections(database: Database) -> None:
    admin = database.admin()
    with admin.connect() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'stillmotion'")
        ).all()
    admin.dispose()


def test_a_connection_that_broke_between_two_sessions_is_replaced(ledger: Ledger, postgres_ledger: Database) -> None:
    _end_connections(postgres_ledger)
    with ledger.session("anna") as session:
        assert len(session.runs()) == 1


def test_a_connection_that_breaks_in_a_session_is_said_and_nothing_was_written(
    ledger: Ledger, postgres_ledger: Database
) -> None:
    def broken(session: LedgerSession) -> None:
        session.finish_run("run-1", "delivered")
        _end_connections(postgres_ledger)
        session.runs()

    with pytest.raises(StorageUnavailableError, match="try again"), ledger.session("anna") as session:
        broken(session)
    with ledger.session("anna") as session:
        assert session.find_run("run-1").status == "running"


def test_of_many_that_want_a_new_or_expired_lease_one_gets_it(ledger: Ledger) -> None:
    with transaction(ledger.engine, "anna") as connection:
        connection.execute(text(STALE))
    for key in ("new", "old"):
        wanted = [ledger.lease("anna", key, ttl_s=60) for _ in range(12)]
        together = threading.Barrier(len(wanted))

        def take(lease: Lease, all_here: threading.Barrier = together) -> bool:
            all_here.wait()
            return lease.try_acquire()

        with ThreadPoolExecutor(len(wanted)) as threads:
            assert list(threads.map(take, wanted)).count(True) == 1, key


def test_a_session_that_reads_can_not_write(ledger: Ledger) -> None:
    with pytest.raises(DBAPIError, match="read-only"), ledger.session("anna", read_only=True) as session:
        session.finish_run("run-1", "delivered")


def test_numbers_come_back_as_they_were(ledger: Ledger) -> None:
    facts = {"large": 1e23, "zero": -0.0, "small": 5e-324, "whole": 2.0, "count": 2**62}
    with ledger.session("anna") as session:
        session.start_run(a_run("numbers", parameters=facts))
        found = session.find_run("numbers").parameters
    assert {name: (repr(value), type(value)) for name, value in found.items()} == {
        name: (repr(value), type(value)) for name, value in facts.items()
    }


def test_a_lease_whose_holder_was_heard_of_meanwhile_is_not_taken_over(ledger: Ledger) -> None:
    """Seen as expired, renewed by its holder, then taken: the take-over must not succeed."""
    with transaction(ledger.engine, "anna") as connection:
        connection.execute(text(STALE))
    with transaction(ledger.engine, "anna") as connection:

        @event.listens_for(connection, "before_execute")
        def renewed(_connection: object, statement: object, *_: object) -> None:
            if isinstance(statement, Update):
                with transaction(ledger.engine, "anna") as other:
                    other.execute(text("UPDATE leases SET expires_at = now() + interval '1 hour'"))

        assert not ledger.lease("anna", "old")._take(connection)
