"""Opening a ledger: its tables come from migrations, and a place that cannot hold one is refused with a remedy."""

import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect
from sqlalchemy.engine import make_url

from datasets.errors import SettingsError, StorageUnavailableError
from datasets.ledger import Ledger, migrating, open_ledger
from datasets.ledger.engine import HEAD
from datasets.ledger.migrating import alembic_config
from datasets.ledger.tables import metadata, tenant_tables
from datasets.ledger.transactions import transaction
from tests.datasets.ledger_rows import PROCESSES, a_run, join_all, start


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield opened
    opened.close()


def table_names(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return sorted(name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'"))


def run_sql(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def refusal(url: str) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        open_ledger(url)
    return caught.value


def test_the_migrations_make_the_tables_that_the_code_speaks_of(ledger: Ledger) -> None:
    with ledger.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        found = inspect(connection)
        keys = {name: found.get_pk_constraint(name)["constrained_columns"] for name in metadata.tables}
    assert keys == {name: [column.name for column in table.primary_key] for name, table in metadata.tables.items()}


def test_every_table_has_the_tenant_first_in_its_key() -> None:
    assert len(tenant_tables()) == len(metadata.tables) >= 7
    assert {next(iter(table.primary_key)).name for table in tenant_tables()} == {"tenant_id"}


def test_the_newest_revision_is_the_one_the_program_expects(ledger: Ledger) -> None:
    with ledger.engine.begin() as connection:
        assert ScriptDirectory.from_config(alembic_config(connection)).get_heads() == [HEAD]
        assert MigrationContext.configure(connection).get_current_revision() == HEAD


def test_the_way_back_leaves_nothing(ledger: Ledger, tmp_path: Path) -> None:
    with ledger.engine.begin() as connection:
        command.downgrade(alembic_config(connection), "base")
    assert table_names(tmp_path / "ledger.db") == ["alembic_version"]


def test_a_migration_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.db"
    upgrade = migrating.upgrade

    def interrupted(connection: Any) -> None:
        upgrade(connection)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(migrating, "upgrade", interrupted)
        with pytest.raises(KeyboardInterrupt):
            open_ledger(f"sqlite:///{path}")
    assert table_names(path) == []
    with open_ledger(f"sqlite:///{path}").session("default") as session:
        assert session.runs() == []


def test_an_up_to_date_ledger_is_opened_without_alembic(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrating, "upgrade", lambda _: pytest.fail("migrated again"))
    with open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}", synchronous="FULL").session("default") as session:
        assert session.runs() == []


def test_a_ledger_newer_than_the_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    open_ledger(f"sqlite:///{path}").close()
    run_sql(path, "UPDATE alembic_version SET version_num = '0999'")
    message = refusal(f"sqlite:///{path}?timeout=5").message  # another URL, so that it is opened anew
    assert "newer" in message
    assert "0999" in message
    assert "update stillmotion" in message


@pytest.mark.parametrize(
    "statements",
    [
        ("CREATE TABLE runs (name TEXT)",),
        ("CREATE TABLE alembic_version (version_num TEXT)", "INSERT INTO alembic_version VALUES ('9e83011d1f2a')"),
        ("CREATE TABLE alembic_version (version_num TEXT)", "INSERT INTO alembic_version VALUES ('0a83011d1f2a')"),
    ],
    ids=["own-table", "other-revision", "older-looking-revision"],
)
def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path, statements: tuple[str, ...]) -> None:
    path = tmp_path / "other.db"
    run_sql(path, *statements)
    before = table_names(path)
    message = refusal(f"sqlite:///{path}").message
    assert "another program" in message
    assert "STILLMOTION_LEDGER_URL" in message
    assert table_names(path) == before


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes\n" * 100)
    message = refusal(f"sqlite:///{path}").message
    assert "not a ledger" in message
    assert "STILLMOTION_LEDGER_URL" in message
    assert path.read_text() == "these are my notes\n" * 100


def test_a_file_where_a_folder_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    message = refusal(f"sqlite:///{tmp_path / 'store' / 'ledger.db'}").message
    assert str(tmp_path / "store") in message
    assert re.search(r"rights and space, or set STILLMOTION_LEDGER_URL", message)


def test_a_folder_where_the_file_should_be_is_refused(tmp_path: Path) -> None:
    assert "rights and space" in refusal(f"sqlite:///{tmp_path}").message


def test_a_read_only_ledger_can_be_read_but_not_begun(tmp_path: Path, ledger: Ledger) -> None:
    address = "sqlite:///file:{}?mode=ro&uri=true"
    with ledger.session("default") as session:
        session.start_run(a_run())
    reader = open_ledger(address.format(tmp_path / "ledger.db"))
    with reader.session("default") as session:
        assert [run.run_id for run in session.runs()] == ["run-1"]
    with pytest.raises(StorageUnavailableError, match=r"readonly.*space and rights"), reader.session("a") as session:
        session.start_run(a_run())
    assert "rights and space" in refusal(address.format(tmp_path / "new.db")).message
    assert not [*tmp_path.glob("new*"), *tmp_path.glob("file:*")]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ledger.db",
        "oracle9://anna:hunter2@host/ledger",
        "mysql+nodriver://anna:hunter2@host/ledger",
        "postgresql://anna:hunter2@host:port/ledger",
        "postgresql://anna:pass@hunter2:hunter2@host/ledger",
        "mssql+pymssql://anna:hunter2@host/ledger",
        "sqlite+aiosqlite:///ledger.db",
        "sqlite://anna:hunter2@host/ledger",
    ],
)
def test_an_address_that_is_none_is_refused_without_showing_its_password(url: str) -> None:
    error = refusal(url)
    assert "STILLMOTION_LEDGER_URL" in error.message
    assert "sqlite:///PATH" in error.message
    assert "hunter2" not in f"{error.message} {error.facts}"


def test_an_error_while_working_does_not_show_the_password(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger.engine, "url", make_url("postgresql://anna:hunter2@host/books"))
    with (
        pytest.raises(StorageUnavailableError, match="anna") as caught,
        transaction(ledger.engine, "default") as connection,
    ):
        connection.exec_driver_sql("SELECT * FROM nothing")
    assert "hunter2" not in f"{caught.value.message} {caught.value.facts}"


def test_one_ledger_per_process_and_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ledger = open_ledger("sqlite:///ledger.db")
    assert open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}") is ledger
    assert open_ledger("sqlite:///ledger.db", synchronous="FULL") is not ledger


def test_a_relative_address_stays_where_it_was_when_the_folder_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    ledger = open_ledger("sqlite:///ledger.db")
    ledger.close()  # the next session needs a new connection
    monkeypatch.chdir(tmp_path / "elsewhere")
    with ledger.session("default") as session:
        session.start_run(a_run())
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("synchronous", ["NORMAL", "FULL"])
def test_a_file_is_kept_in_the_manner_asked_for(tmp_path: Path, synchronous: Any) -> None:
    ledger = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}", synchronous=synchronous)
    with ledger.engine.connect() as connection:
        settings = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    assert settings == ["wal", {"NORMAL": 1, "FULL": 2}[synchronous], 1, 30_000]


def test_every_ledger_in_memory_is_a_new_one() -> None:
    with open_ledger("sqlite:///:memory:").session("default") as session:
        session.start_run(a_run())
    with open_ledger("sqlite:///:memory:").session("default") as session:
        assert session.runs() == []
    with open_ledger("sqlite://").session("default") as session:
        assert session.runs() == []


def _open_and_write(url: str, run_id: str, together: Barrier) -> None:
    together.wait(30)
    with open_ledger(url).session("default") as session:
        session.start_run(a_run(run_id))


def test_a_new_file_in_another_hand_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")  # the write-ahead log cannot be turned on now, and SQLite does not wait
        later = threading.Timer(0.3, other.execute, ["COMMIT"])
        later.start()
        open_ledger(f"sqlite:///{path}").close()
        later.join()
    assert "alembic_version" in table_names(path)


def test_four_processes_open_one_new_ledger_at_the_same_instant(tmp_path: Path) -> None:
    for round_number in range(3):
        url = f"sqlite:///{tmp_path / f'{round_number}.db'}"
        together = PROCESSES.Barrier(4)
        assert join_all([start(_open_and_write, url, f"run-{n}", together) for n in range(4)]) == [0, 0, 0, 0]
        with open_ledger(url).session("default") as session:
            assert sorted(run.run_id for run in session.runs()) == ["run-0", "run-1", "run-2", "run-3"]
