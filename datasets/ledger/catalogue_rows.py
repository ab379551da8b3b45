"""The part of a ledger session that speaks of catalogues. Rows are read and written many at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, Table, and_, bindparam, func, insert, literal, select, update

from datasets.ledger.catalogue_tables import catalogue_changes, catalogue_rows, catalogues
from datasets.ledger.tables import json_ready
from datasets.ledger.upserts import insert_many, insert_or_update
from datasets.redaction import redact_all

RETIRED = "retired"


@dataclass(frozen=True)
class CatalogueRecord:
    """A catalogue after its last whole run. ``facts`` are those of the table."""

    catalogue: str
    source: str
    facts: dict[str, Any]
    run_id: str
    finished_at: datetime


@dataclass(frozen=True)
class CatalogueState:
    """What is known of one product.

    Attributes:
        sku_key: The SKU, letter case aside.
        item: Its name in files.
        fetched_url: Who gave the validators ``etag`` and ``last_modified``.
        asset: Digest of the picture of the last fetch that came through.
        identity: Digest of what decided ``outputs``: picture, recipe, parameters, models, versions.
        status: Of its last run: delivered, failed, stopped, deferred, held.
        settled: Whether a failure would only come again for the same picture.
        change: What that run found: added, changed, unchanged, failed, recovered, retired, ...
        outputs: What was delivered last; kept while the product fails.
        run_id: The run that saw it last.
    """

    catalogue: str
    sku_key: str
    sku: str
    item: str
    line: int
    image: str
    status: str
    change: str
    run_id: str
    changed_at: datetime
    fetched_url: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    asset: str | None = None
    identity: str | None = None
    settled: bool = False
    reasons: list[dict[str, Any]] = field(default_factory=list)
    outputs: list[dict[str, Any]] = field(default_factory=list)
    retired_at: datetime | None = None


@dataclass(frozen=True)
class CatalogueTouch:
    """A product that is as it was: seen again, at this line, behind this address."""

    sku_key: str
    sku: str
    line: int
    image: str
    fetched_url: str | None
    etag: str | None
    last_modified: str | None
    change: str


@dataclass(frozen=True)
class CatalogueChange:
    """What a run found about one row that is not as it was. Refused rows have a line and perhaps no SKU."""

    run_id: str
    line: int
    sku_key: str
    sku: str | None
    change: str
    status: str
    reasons: list[dict[str, Any]] = field(default_factory=list)


class CatalogueRows:
    """Reads and writes the catalogues of one tenant in one transaction."""

    _connection: Connection
    _tenant: str

    def find_catalogue(self, name: str) -> CatalogueRecord | None:
        """The catalogue as its last whole run left it."""
        query = select(catalogues).where(catalogues.c.tenant_id == self._tenant, catalogues.c.catalogue == name)
        row = self._connection.execute(query).first()
        return None if row is None else CatalogueRecord(**_values(CatalogueRecord, row))

    def save_catalogue(self, record: CatalogueRecord) -> None:
        insert_or_update(self._connection, catalogues, {"tenant_id": self._tenant, **asdict(record)})

    def catalogue_states(self, catalogue: str, sku_keys: Sequence[str]) -> dict[str, CatalogueState]:
        """What is known of some products, by their keys."""
        query = select(catalogue_rows).where(
            *self._catalogue(catalogue_rows, catalogue), catalogue_rows.c.sku_key.in_(list(sku_keys))
        )
        return {row.sku_key: _state(row) for row in self._connection.execute(query)}

    def each_catalogue_state(self, catalogue: str, at_once: int = 1000) -> Iterator[list[CatalogueState]]:
        """All products in the order of their keys, so many at a time; as many rows as there are, in bounded memory."""
        after = ""
        while True:
            query = select(catalogue_rows).where(
                *self._catalogue(catalogue_rows, catalogue), catalogue_rows.c.sku_key > after
            )
            found = [
                _state(row) for row in self._connection.execute(query.order_by(catalogue_rows.c.sku_key).limit(at_once))
            ]
            if not found:
                return
            yield found
            after = found[-1].sku_key

    def save_catalogue_states(self, states: Sequence[CatalogueState]) -> None:
        """Write what is known of products now."""
        rows = [
            {"tenant_id": self._tenant, **vars(state), "reasons": redact_all(json_ready(state.reasons))}
            for state in states
        ]
        insert_many(self._connection, catalogue_rows, rows, update=True)

    def touch_catalogue_states(self, catalogue: str, run_id: str, touches: Sequence[CatalogueTouch]) -> None:
        """Note that products were seen and are as they were."""
        if not touches:
            return
        table = catalogue_rows
        names = [each.name for each in fields(CatalogueTouch) if each.name != "sku_key"]
        statement = (
            update(table)
            .where(*self._catalogue(table, catalogue), table.c.sku_key == bindparam("its_key"))
            .values(run_id=run_id, retired_at=None, **{name: bindparam(f"new_{name}") for name in names})
        )
        self._connection.execute(
            statement,
            [{"its_key": each.sku_key, **{f"new_{name}": getattr(each, name) for name in names}} for each in touches],
        )

    def save_catalogue_changes(self, changes: Sequence[CatalogueChange]) -> None:
        rows = [
            {"tenant_id": self._tenant, **vars(each), "reasons": redact_all(json_ready(each.reasons))}
            for each in changes
        ]
        insert_many(self._connection, catalogue_changes, rows, update=True)

    def each_catalogue_change(self, run_id: str, at_once: int = 1000) -> Iterator[list[CatalogueChange]]:
        """What a run found changed, refused rows included, in the order of lines; those that retired come first."""
        table, after = catalogue_changes, (-1, "")
        while True:
            line, key = after
            behind = (table.c.line > line) | and_(table.c.line == line, table.c.sku_key > key)
            query = select(table).where(table.c.tenant_id == self._tenant, table.c.run_id == run_id, behind)
            query = query.order_by(table.c.line, table.c.sku_key).limit(at_once)
            found = [CatalogueChange(**_values(CatalogueChange, row)) for row in self._connection.execute(query)]
            if not found:
                return
            yield found
            after = (found[-1].line, found[-1].sku_key)

    def retire_catalogue_states(self, catalogue: str, run_id: str) -> int:
        """Products that this run did not see are retired: kept, and marked. Returns how many it were."""
        table = catalogue_rows
        gone = and_(*self._gone(catalogue, run_id))
        listed = select(
            table.c.tenant_id, literal(run_id), literal(0), table.c.sku_key, table.c.sku, literal(RETIRED),
            table.c.status, table.c.reasons,
        ).where(gone)  # fmt: skip
        names = ["tenant_id", "run_id", "line", "sku_key", "sku", "change", "status", "reasons"]
        self._connection.execute(insert(catalogue_changes).from_select(names, listed))
        changed = update(table).where(gone).values(retired_at=datetime.now(UTC), change=RETIRED)
        return int(self._connection.execute(changed).rowcount)

    def count_active(self, catalogue: str) -> int:
        """How many products have not retired."""
        table = catalogue_rows
        query = select(func.count()).where(*self._catalogue(table, catalogue), table.c.retired_at.is_(None))
        return int(self._connection.execute(query).scalar_one())

    def _gone(self, catalogue: str, run_id: str) -> list[Any]:
        table = catalogue_rows
        return [*self._catalogue(table, catalogue), table.c.retired_at.is_(None), table.c.run_id != run_id]

    def _catalogue(self, table: Table, catalogue: str) -> list[Any]:
        return [table.c.tenant_id == self._tenant, table.c.catalogue == catalogue]


def _state(row: Row[Any]) -> CatalogueState:
    return CatalogueState(**_values(CatalogueState, row))


def _values(kind: type[Any], row: Row[Any]) -> dict[str, Any]:
    return {each.name: row._mapping[each.name] for each in fields(kind)}
