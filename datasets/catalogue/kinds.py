"""What the values of a column look like, so that the next run notices when they look otherwise."""

import re
from collections.abc import Mapping

SAMPLE = 1000  # rows that decide
MOST_COLUMNS = 10_000
WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]*)")  # 00123 is a name, not a number
DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
RANKS = ("Null", "Boolean", "Int64", "Float64", "String")


def kind_of_text(text: str) -> str:
    """The type that a text without outer space seems to be of."""
    if WHOLE.fullmatch(text):
        return "Int64"
    return "Float64" if DECIMAL.fullmatch(text) and not (text[0] == "0" and text[1:2].isdigit()) else "String"


def kind_of_value(value: object) -> str:
    """The type of a JSON value."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return "Boolean"
    if isinstance(value, (int, float)):
        return "Int64" if isinstance(value, int) else "Float64"
    return "String" if isinstance(value, str) else type(value).__name__.capitalize()


class Kinds:
    """The types of columns, from the first rows."""

    def __init__(self) -> None:
        self._rows = 0
        self._seen: dict[str, str] = {}

    @property
    def full(self) -> bool:
        """Whether more rows change nothing."""
        return self._rows >= SAMPLE

    def take(self, row: Mapping[str, str]) -> None:
        """Note a row of types by column."""
        self._rows += 1
        for name, kind in row.items():
            if name in self._seen:
                self._seen[name] = _wider(self._seen[name], kind)
            elif len(self._seen) < MOST_COLUMNS:
                self._seen[name] = kind

    def of(self, name: str) -> str:
        return self._seen.get(name, "Null")

    @property
    def columns(self) -> tuple[tuple[str, str], ...]:
        return tuple(self._seen.items())


def _wider(first: str, second: str) -> str:
    """The type that holds both; a mixture with no such type is text."""
    if second in (first, "Null"):
        return first
    if first == "Null":
        return second
    if {first, second} == {"Int64", "Float64"}:
        return "Float64"
    return "String" if first in RANKS and second in RANKS else "Mixed"
