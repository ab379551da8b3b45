"""Conditions that polars hands to a scan, as conditions of SQL: only rows that are asked for leave the database.

polars tells a scan its filter as an expression; its serialized form is read here. Whatever is not understood is left
out, which lets more rows through and never fewer: polars' own filter is applied to what came in any case.
"""

import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from sqlalchemy import ColumnElement, and_, or_

LONGEST = 500  # values of an is_in that are handed on; databases have bounds for parameters
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EQUAL = ("Eq", "EqValidity")
ORDERED = {"Lt": "__lt__", "LtEq": "__le__", "Gt": "__gt__", "GtEq": "__ge__"}
MIRRORED = {"Lt": "Gt", "LtEq": "GtEq", "Gt": "Lt", "GtEq": "LtEq"}
WHOLE = ("Int", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32")

Columns = Mapping[str, tuple[ColumnElement[Any], pl.DataType]]
Condition = ColumnElement[bool]
Node = Any  # a piece of the serialized expression


class _NotUnderstoodError(Exception):
    """A piece of an expression that SQL is not asked about."""


def condition_of(predicate: pl.Expr | None, columns: Columns) -> Condition | None:
    """A condition that holds for every row for which the predicate holds, and perhaps for more.

    Args:
        predicate: polars' filter.
        columns: SQL expression and polars type of each column that SQL knows.

    Returns:
        None where nothing of the predicate can be said in SQL.
    """
    if predicate is None:
        return None
    try:
        node = json.loads(predicate.meta.serialize(format="json"))
    except (ValueError, pl.exceptions.PolarsError):  # an own function, for example
        return None
    return _superset(node, columns)


def _superset(node: Node, columns: Columns) -> Condition | None:
    match node:
        case {"BinaryExpr": {"left": left, "op": "And" | "LogicalAnd", "right": right}}:
            parts = [part for part in (_superset(left, columns), _superset(right, columns)) if part is not None]
            return and_(*parts) if parts else None
        case {"BinaryExpr": {"left": left, "op": "Or" | "LogicalOr", "right": right}}:
            first, second = _superset(left, columns), _superset(right, columns)
            return None if first is None or second is None else or_(first, second)
    try:
        return _term(node, columns)
    except _NotUnderstoodError:
        return None


def _term(node: Node, columns: Columns) -> Condition:
    match node:
        case {"BinaryExpr": {"left": {"Column": name}, "op": operator, "right": {"Literal": literal}}}:
            return _compared(_column(name, columns), operator, _scalar(literal))
        case {"BinaryExpr": {"left": {"Literal": literal}, "op": operator, "right": {"Column": name}}}:
            return _compared(_column(name, columns), MIRRORED.get(operator, operator), _scalar(literal))
        case {"Column": name}:
            return _column(name, columns)[0].is_(True)
        case {"Function": {"input": [{"Column": name}, *arguments], "function": {"Boolean": function}}}:
            return _asked(_column(name, columns), function, arguments)
    raise _NotUnderstoodError


def _column(name: str, columns: Columns) -> tuple[ColumnElement[Any], pl.DataType]:
    if name not in columns:
        raise _NotUnderstoodError
    return columns[name]


def _compared(column: tuple[ColumnElement[Any], pl.DataType], operator: str, value: Any) -> Condition:
    expression, kind = column
    if value is None or not _fits(value, kind):
        raise _NotUnderstoodError
    if operator in EQUAL:
        equal: Condition = expression == value
        return equal
    # Of text, databases have orders of their own; of numbers and times there is one.
    if operator in ORDERED and kind not in (pl.String, pl.Boolean):
        condition: Condition = getattr(expression, ORDERED[operator])(value)
        return condition
    raise _NotUnderstoodError


def _asked(column: tuple[ColumnElement[Any], pl.DataType], function: Any, arguments: Sequence[Node]) -> Condition:
    expression, kind = column
    match function, arguments:
        case "IsNull", []:
            return expression.is_(None)
        case "IsNotNull", []:
            return expression.is_not(None)
        case {"IsBetween": _}, [{"Literal": low}, {"Literal": high}]:
            return and_(_compared(column, "GtEq", _scalar(low)), _compared(column, "LtEq", _scalar(high)))
        case {"IsIn": {"nulls_equal": False}}, [{"Literal": {"Scalar": {"List": data}}}]:
            values = _listed(data)
            if len(values) <= LONGEST and all(_fits(value, kind) for value in values):
                return expression.in_(values)
    raise _NotUnderstoodError


def _fits(value: object, kind: pl.DataType) -> bool:
    """Whether the database compares the value with the column as polars does."""
    if isinstance(value, bool):
        return kind == pl.Boolean
    if isinstance(value, str):
        return kind == pl.String and value.isprintable()  # NUL and lone surrogates are kept spelled out
    if isinstance(value, datetime):
        return isinstance(kind, pl.Datetime)
    return isinstance(value, int | float) and kind.is_numeric()


def _scalar(literal: Node) -> Any:
    match literal:
        case {"Scalar": {"String": value}} | {"Scalar": {"Boolean": value}} | {"Scalar": {"Float64": value}}:
            return value
        case {"Dyn": {"Int": value}} | {"Dyn": {"Float": value}}:
            return value
        case {"Scalar": {"Datetime": [ticks, "Microseconds", {"inner": _}]}}:
            return EPOCH + timedelta(microseconds=ticks)
        case {"Scalar": dict(scalar)} if len(scalar) == 1 and next(iter(scalar)) in WHOLE:
            return next(iter(scalar.values()))
    raise _NotUnderstoodError


def _listed(data: Sequence[int]) -> list[Any]:
    """The values of a list, which stand there as an Arrow stream of one column."""
    try:
        found = pl.read_ipc_stream(io.BytesIO(bytes(data)))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _NotUnderstoodError from error
    return found.to_series().drop_nulls().to_list()
