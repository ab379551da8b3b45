"""Reads a provider's usage export, CSV or JSON, as the lines that books are compared with."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any, Literal, get_args

from datasets.errors import UsageError
from datasets.ledger.reconcile import UsageRecord

Unit = Literal["usd", "micro_usd", "cents"]
UNITS: tuple[Unit, ...] = get_args(Unit)
MICRO: dict[Unit, int] = {"usd": 1_000_000, "micro_usd": 1, "cents": 10_000}
FIELDS = ("key", "reference", "amount", "time")
LARGEST = 1 << 28  # bytes of an export that is read
SHOWN = 5  # bad rows in one message
# Tried in this order where nothing is said.
USUAL: dict[str, tuple[str, ...]] = {
    "key": ("idempotency_key", "request_key", "key"),
    "reference": ("reference", "request_id", "id"),
    "amount": ("micro_usd", "amount_micro_usd", "price_micro_usd", "cents", "amount_cents", "usd", "amount_usd",
               "cost_usd"),
    "time": ("time", "timestamp", "created_at", "at"),
}  # fmt: skip


class UsageExportError(UsageError):
    """A provider's export cannot be read as it was described."""

    code = "usage_export"


@dataclass(frozen=True)
class Mapped:
    """Which column holds what.

    Attributes:
        columns: Column by field: ``amount``, ``time``, and ``key`` or ``reference`` or both.
        unit: Of the amounts.
    """

    columns: Mapping[str, str]
    unit: Unit


@dataclass(frozen=True)
class Export:
    """A provider's list.

    Attributes:
        mapped: How it was read; None if it has no rows and no header.
    """

    lines: tuple[UsageRecord, ...]
    mapped: Mapped | None


def read_export(path: Path, given: Mapping[str, str] | None = None, unit: str | None = None) -> Export:
    """A provider's list of what it charged.

    Args:
        path: A ``.csv`` file with a header, or a ``.json`` file with a list of objects, alone or in an object.
        given: Columns by field, where they are not called as usual: see ``FIELDS``.
        unit: Of the amounts: ``usd``, ``micro_usd`` or ``cents``; by default as the column's name ends.

    Raises:
        UsageExportError: The file is not there or is neither, a column is missing, or rows do not hold what they
            should; these are named by number, as a spreadsheet counts them or, in JSON, from 1.
    """
    text = _text(path)
    first, rows = _from_json(text, path) if path.suffix.lower() == ".json" else _from_csv(text, path)
    if not rows and not first:
        return Export((), None)
    mapped = _mapped(first, given or {}, unit)
    return Export(tuple(_lines(rows, mapped)), mapped)


def _text(path: Path) -> str:
    if path.suffix.lower() not in (".csv", ".json"):
        raise UsageExportError(f"an export is a .csv or a .json file, got {path.name!r}")
    try:
        if path.stat().st_size > LARGEST:
            raise UsageExportError(f"{path.name!r} has more than {LARGEST >> 20} MiB; export fewer days")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageExportError(f"the export {str(path)!r} cannot be read as UTF-8 text: {error}") from error


Numbered = list[tuple[int, Mapping[str, Any]]]


def _from_csv(text: str, path: Path) -> tuple[list[str], Numbered]:
    """The header, and rows with the number that a spreadsheet gives them."""
    head = text.partition("\n")[0]
    separator = ";" if head.count(";") > head.count(",") else ","
    try:
        table = list(csv.reader(StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error as error:
        raise UsageExportError(f"{path.name!r} is not CSV: {error}") from error
    header = [name.strip() for name in table[0]] if table else []
    if len(set(header)) != len(header):
        raise UsageExportError(f"{path.name!r} has two columns of one name: {', '.join(header)}")
    rows: Numbered = []
    for number, cells in enumerate(table[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise UsageExportError(
                f"row {number} of {path.name!r} has {len(cells)} cells, its header {len(header)}; nothing was applied"
            )
        rows.append((number, dict(zip(header, cells, strict=True))))
    return header, rows


def _from_json(text: str, path: Path) -> tuple[list[str], Numbered]:
    try:
        found = json.loads(text, parse_float=Decimal)
    except ValueError as error:
        raise UsageExportError(f"{path.name!r} is not JSON: {error}") from error
    if isinstance(found, dict):
        lists = [value for value in found.values() if isinstance(value, list)]
        found = lists[0] if len(lists) == 1 else found
    if not isinstance(found, list):
        raise UsageExportError(f"{path.name!r} holds no list of rows: give a list of objects, or an object with one")
    bad = [number for number, row in enumerate(found, start=1) if not isinstance(row, dict)]
    if bad:
        raise UsageExportError(f"row {bad[0]} of {path.name!r} is not an object; nothing was applied")
    names = dict.fromkeys(name for row in found for name in row)
    return list(names), list(enumerate(found, start=1))


def _mapped(header: Sequence[str], given: Mapping[str, str], unit: str | None) -> Mapped:
    for field, column in given.items():
        if field not in FIELDS:
            raise UsageExportError(f"--map knows {', '.join(FIELDS)}, not {field!r}")
        if column not in header:
            raise UsageExportError(f"the export has no column {column!r} for {field}; it has {', '.join(header)}")
    usual = {field: next((name for name in names if name in header), None) for field, names in USUAL.items()}
    columns = {field: column for field, column in (usual | dict(given)).items() if column is not None}
    missing = [field for field in ("amount", "time") if field not in columns]
    if "key" not in columns and "reference" not in columns:
        missing.append("key or reference")
    if missing:
        raise UsageExportError(
            f"the export does not say which column holds {', '.join(missing)}; give --map FIELD=COLUMN with one of "
            f"{', '.join(header)}"
        )
    return Mapped(columns, _unit(columns["amount"], unit))


def _unit(column: str, given: str | None) -> Unit:
    wanted = given or next((one for one in ("micro_usd", "cents", "usd") if column.lower().endswith(one)), None)
    for unit in UNITS:
        if unit == wanted:
            return unit
    raise UsageExportError(f"the column {column!r} does not say in what it counts; give --unit {', '.join(UNITS)}")


def _lines(rows: Numbered, mapped: Mapped) -> Iterator[UsageRecord]:
    lines, faults = [], []
    for number, row in rows:
        try:
            lines.append(_line(row, mapped))
        except ValueError as error:
            faults.append(f"row {number}: {error}")
    if faults:
        more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise UsageExportError(f"nothing was applied; {'; '.join(faults[:SHOWN])}{more}", rows=len(faults))
    yield from lines


def _line(row: Mapping[str, Any], mapped: Mapped) -> UsageRecord:
    """One line. Raises ``ValueError`` with what is wrong in it."""
    key, reference = (_name(row, mapped.columns.get(field)) for field in ("key", "reference"))
    if key is None and reference is None:
        raise ValueError("it has neither a key nor a reference")
    amount = _amount(row.get(mapped.columns["amount"]), mapped)
    return UsageRecord(amount, _time(row.get(mapped.columns["time"]), mapped), reference, key)


def _name(row: Mapping[str, Any], column: str | None) -> str | None:
    value = None if column is None else row.get(column)
    if value is None or isinstance(value, (dict, list, bool)):
        return None
    return str(value).strip() or None


def _amount(value: object, mapped: Mapped) -> int:
    column, unit = mapped.columns["amount"], mapped.unit
    try:
        amount = Decimal(str(value).strip()) * MICRO[unit] if not isinstance(value, bool) else Decimal("NaN")
    except ArithmeticError:  # no number, or one out of all bounds
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise ValueError(f"{column} is no number: {str(value)[:40]!r}")
    if amount < 0:
        raise ValueError(f"{column} is negative ({value}); credits are not compared, take the row out")
    if amount >= 1 << 62 or amount != int(amount):
        raise ValueError(f"{column} is not a whole number of micro-USD: {str(value)[:40]} {unit}; check --unit")
    return int(amount)


def _time(value: object, mapped: Mapped) -> datetime:
    try:
        moment = datetime.fromisoformat(str(value).strip())
    except ValueError:
        raise ValueError(f"{mapped.columns['time']} is no time as ISO 8601 writes it: {str(value)[:40]!r}") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
