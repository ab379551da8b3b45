"""A relation of the ledger as a polars LazyFrame: filters and columns go down to SQL, rows come up in batches."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl
from polars.io.plugins import register_io_source
from sqlalchemy import ColumnElement, FromClause, Select, select

from datasets.facts.pushdown import Condition, condition_of
from datasets.ledger import Ledger
from datasets.ledger.transactions import transaction

BATCH_ROWS = 10_000  # rows that are in memory at once: some 5 MB of Python values
Schema = dict[str, pl.DataType]


def _as_they_are(batch: pl.DataFrame) -> pl.DataFrame:
    return batch


@dataclass(frozen=True)
class Relation:
    """A table of facts: where its rows come from and what they look like.

    Attributes:
        source: What SQL selects from; its column ``tenant_id`` says whose a row is.
        schema: Every column that a reader sees, with its type.
        read: Every column that SQL reads: those of the schema it knows, and some that others are made of.
        made: Columns of the schema that SQL does not know, with those that they are made of.
        finish: Makes them, from a batch of what was read.
        expanded: Of what ``finish`` makes several rows of one, and so has to be asked always; empty where it does not.
    """

    name: str
    source: FromClause
    schema: Schema
    read: Mapping[str, tuple[ColumnElement[Any], pl.DataType]]
    made: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    finish: Callable[[pl.DataFrame], pl.DataFrame] = _as_they_are
    expanded: tuple[str, ...] = ()


def scan(relation: Relation, ledger: Ledger, tenant: str) -> pl.LazyFrame:
    """A LazyFrame over a tenant's rows; nothing is read before it is collected, and then each time anew."""

    def read(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        wanted = with_columns if with_columns is not None else list(relation.schema)
        size = min(batch_size or BATCH_ROWS, BATCH_ROWS)
        for batch in _filtered(relation, ledger, tenant, wanted, predicate, size):
            head = batch if n_rows is None else batch.head(n_rows)
            yield head
            if n_rows is not None:
                n_rows -= head.height
                if n_rows <= 0:
                    return

    return register_io_source(read, schema=relation.schema, explain_name=f"LEDGER {relation.name}")


def _filtered(
    relation: Relation, ledger: Ledger, tenant: str, wanted: list[str], predicate: pl.Expr | None, size: int
) -> Iterator[pl.DataFrame]:
    """Batches of exactly the columns that are wanted, filtered."""
    asked = {} if predicate is None else dict.fromkeys(predicate.meta.root_names())
    names = list(dict.fromkeys([*wanted, *asked]))
    known = {name: column for name, column in relation.read.items() if name in relation.schema}
    for raw in batches(relation, ledger, tenant, names, condition_of(predicate, known), size):
        finishes = relation.expanded or any(name in relation.made for name in names)
        made = relation.finish(raw) if finishes else raw
        batch = made if predicate is None else made.filter(predicate)
        yield batch.select(wanted)


def batches(
    relation: Relation, ledger: Ledger, tenant: str, names: list[str], condition: Condition | None, size: int
) -> Iterator[pl.DataFrame]:
    """What SQL gives for these columns and this condition, so many rows at a time.

    Raises:
        StorageUnavailableError: The ledger's database cannot be used now.
    """
    bases = (base for name in names for base in relation.made.get(name, (name,)))
    read = list(dict.fromkeys([*relation.expanded, *bases]))
    read = read or [next(iter(relation.read))]  # a count asks for no column
    schema = {name: relation.read[name][1] for name in read}
    query = _query(relation, tenant, read, condition)
    with transaction(ledger.engine, tenant, read_only=True) as connection:
        streamed = connection.execution_options(stream_results=True, yield_per=size).execute(query)
        for rows in streamed.partitions(size):
            yield pl.DataFrame([tuple(row) for row in rows], schema=schema, orient="row")


def _query(relation: Relation, tenant: str, names: list[str], condition: Condition | None) -> Select[Any]:
    columns = [relation.read[name][0].label(name) for name in names]
    query = select(*columns).select_from(relation.source).where(relation.source.c.tenant_id == tenant)
    return query if condition is None else query.where(condition)
