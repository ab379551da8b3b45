"""Whether a table has the columns that are asked for, exactly once each."""

import difflib
from collections.abc import Callable, Sequence

from datasets.catalogue.mapping import ColumnMapping
from datasets.catalogue.rows import RowReason
from datasets.errors import UsageError

SHOWN = 40  # columns that a message lists
SEPARATORS = ";\t|,"


def check_columns(
    url: str,
    columns: Sequence[str],
    mapping: ColumnMapping,
    more: Callable[[], Sequence[RowReason]] = tuple,
) -> list[tuple[str, int]]:
    """Every role of the mapping and the number of its column.

    Args:
        url: Of the table, for messages.
        columns: Its columns.
        mapping: What is asked for.
        more: What else is wrong with the table, asked only where it is refused anyway.

    Raises:
        UsageError: A column is missing, or stands twice.
    """
    wanted = mapping.columns
    missing = [name for name in dict.fromkeys(wanted.values()) if name not in columns]
    if missing:
        reasons = list(more())
        raise UsageError(
            f"{url} has no column {', '.join(map(repr, missing))}; it has: {_listed(columns)}. Map the columns "
            f"{'of ' + ', '.join(r for r, name in wanted.items() if name in missing)} to these"
            f"{_hint(columns, missing, mapping)}{_besides(reasons)}",
            table=url,
            missing=missing,
            columns=list(columns[:SHOWN]),
            bad_rows=[{"code": each.code, "message": each.message, **each.facts} for each in reasons],
        )
    for name in wanted.values():
        if columns.count(name) > 1:
            places = [number for number, each in enumerate(columns, 1) if each == name]
            raise UsageError(
                f"{url} has the column {name!r} {len(places)} times (columns {', '.join(map(str, places))}); rename "
                "all but one",
                table=url,
                column=name,
                places=places,
            )
    return [(role, columns.index(name)) for role, name in wanted.items()]


def _listed(columns: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:80]) for name in columns[:SHOWN])
    return shown + (f" and {len(columns) - SHOWN} more" if len(columns) > SHOWN else "")


def _hint(columns: Sequence[str], missing: Sequence[str], mapping: ColumnMapping) -> str:
    if len(columns) == 1:
        found = next((mark for mark in SEPARATORS if mark in columns[0] and mark != mapping.separator), None)
        return f"; its columns seem to be separated by {found!r}" if found else ""
    folded = {name.casefold(): name for name in columns}
    close = [folded[each] for name in missing for each in difflib.get_close_matches(name.casefold(), folded, n=1)]
    return f"; is it {' and '.join(map(repr, dict.fromkeys(close)))}?" if close else ""


def _besides(reasons: Sequence[RowReason]) -> str:
    return "".join(f". Besides, {each.message}" for each in reasons)
