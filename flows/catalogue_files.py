"""A catalogue run's two Parquet files: the manifest of what is delivered, and what has changed since the last run.

They are written from the ledger, in row groups: any number of products in bounded memory.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
from polars.io.plugins import register_io_source

from datasets.errors import StorageUnavailableError
from datasets.ledger import CatalogueChange, CatalogueState, Ledger
from datasets.storage import part_name
from flows.catalogue_rows import names_product

MANIFEST = "manifest.parquet"
CHANGES = "changes.parquet"
GROUP = 16_384  # rows of a row group
MANIFEST_SCHEMA = {
    "sku": pl.String,
    "item": pl.String,
    "line": pl.Int64,
    "status": pl.String,
    "change": pl.String,
    "role": pl.String,
    "path": pl.String,
    "sha256": pl.String,
    "width": pl.Int32,
    "height": pl.Int32,
    "bytes": pl.Int64,
    "format": pl.String,
    "asset": pl.String,
    "fingerprint": pl.String,
    "cost_usd": pl.Float64,
    "reasons": pl.String,
    "run_id": pl.String,
}
CHANGES_SCHEMA = {
    "line": pl.Int64,
    "sku": pl.String,
    "change": pl.String,
    "status": pl.String,
    "reasons": pl.String,
    "run_id": pl.String,
}
Row = Mapping[str, object]
Costs = Callable[[str], Mapping[str, int]]


def write_manifest(
    path: Path, ledger: Ledger, tenant: str, catalogue: str, run_id: str, costs: Mapping[str, int]
) -> None:
    """Write a row for every file of every product, and one for each product or refused row that has none.

    Args:
        costs: What was paid in this run for each item, in millionths of a US dollar.

    Raises:
        StorageUnavailableError: The folder does not take it.
    """

    def rows() -> Iterator[list[Row]]:
        with ledger.session(tenant, read_only=True) as session:
            for states in session.each_catalogue_state(catalogue):
                yield [row for state in states for row in _rows(state, costs)]
        with ledger.session(tenant, read_only=True) as session:
            for changes in session.each_catalogue_change(run_id):
                yield [_refused(each, run_id) for each in changes if _is_no_product(each)]

    _write(path, MANIFEST_SCHEMA, rows())


def write_changes(path: Path, ledger: Ledger, tenant: str, run_id: str) -> None:
    """Write a row for everything that is not as it was in the last run.

    Raises:
        StorageUnavailableError: The folder does not take it.
    """

    def rows() -> Iterator[list[Row]]:
        with ledger.session(tenant, read_only=True) as session:
            for changes in session.each_catalogue_change(run_id):
                yield [
                    {
                        "line": each.line or None,
                        "sku": each.sku,
                        "change": each.change,
                        "status": each.status,
                        "reasons": _json(each.reasons),
                        "run_id": run_id,
                    }
                    for each in changes
                ]

    _write(path, CHANGES_SCHEMA, rows())


def _rows(state: CatalogueState, costs: Mapping[str, int]) -> Iterator[Row]:
    shared = {
        "sku": state.sku,
        "item": state.item,
        "line": state.line,
        "status": state.status,
        "change": state.change,
        "asset": state.asset,
        "cost_usd": costs.get(state.item, 0) / 1e6,
        "reasons": _json(state.reasons),
        "run_id": state.run_id,
    }
    names = ("role", "path", "sha256", "width", "height", "bytes", "format", "fingerprint")
    for number, output in enumerate(state.outputs):
        cost = {} if number == 0 else {"cost_usd": 0.0}  # once per product, so that the column can be added up
        yield shared | cost | {name: output[name] for name in names}
    if not state.outputs:
        yield shared


def _is_no_product(change: CatalogueChange) -> bool:
    """Refused rows of the table whose SKU nobody knows, or belongs to another row."""
    return not names_product(change.sku, [str(reason.get("code")) for reason in change.reasons])


def _refused(change: CatalogueChange, run_id: str) -> Row:
    return {
        "sku": change.sku,
        "line": change.line,
        "status": change.status,
        "change": change.change,
        "cost_usd": 0.0,
        "reasons": _json(change.reasons),
        "run_id": run_id,
    }


def _json(reasons: Iterable[Mapping[str, Any]]) -> str | None:
    told = [{"code": each.get("code"), "message": each.get("message"), "facts": each.get("facts")} for each in reasons]
    return json.dumps(told, ensure_ascii=False) if told else None


def _write(path: Path, schema: Mapping[str, Any], rows: Iterator[list[Row]]) -> None:
    """Write whole or not at all."""

    def frames(*_: object) -> Iterator[pl.DataFrame]:
        for each in rows:
            if each:
                yield pl.DataFrame([{name: row.get(name) for name in schema} for row in each], schema=schema)

    part = path.with_name(part_name())
    try:
        register_io_source(frames, schema=dict(schema)).sink_parquet(part, row_group_size=GROUP)
        part.replace(path)
    except OSError as error:
        raise StorageUnavailableError(
            f"could not write {path}: {error.strerror or error}; check space and rights, then run the same "
            "command again",
            path=str(path),
        ) from error
    finally:
        part.unlink(missing_ok=True)
