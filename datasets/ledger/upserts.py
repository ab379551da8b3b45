"""Inserts that several writers may do at once, in the one form that SQLite and PostgreSQL share."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert the rows whose key is not there yet; the others stay as they are. Returns how many were inserted."""
    statement = _insert(connection, table).on_conflict_do_nothing(index_elements=_key(table))
    statement = statement.returning(table.c.tenant_id)
    return sum(len(connection.execute(statement, dict(row)).all()) for row in rows)


def insert_or_update(connection: Connection, table: Table, row: Mapping[str, Any], *, keep: Sequence[str] = ()) -> None:
    """Insert a row, or give the one with its key these values, those of ``keep`` excepted."""
    values = {name: value for name, value in row.items() if name not in (*_key(table), *keep)}
    statement = _insert(connection, table).values(row)
    connection.execute(statement.on_conflict_do_update(index_elements=_key(table), set_=values))


def insert_many(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *, update: bool = False
) -> None:
    """Insert many rows in one statement: those whose key is there already stay as they are, or get these values."""
    if not rows:
        return
    statement = _insert(connection, table)
    if update:
        values = {name: statement.excluded[name] for name in rows[0] if name not in _key(table)}
        statement = statement.on_conflict_do_update(index_elements=_key(table), set_=values)
    else:
        statement = statement.on_conflict_do_nothing(index_elements=_key(table))
    connection.execute(statement, [dict(row) for row in rows])


def _insert(connection: Connection, table: Table) -> Any:
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def _key(table: Table) -> list[str]:
    return [column.name for column in table.primary_key]
