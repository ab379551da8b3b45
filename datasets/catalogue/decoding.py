"""Bytes to text, strictly: what is not of the encoding refuses its row and never becomes other letters."""

from datasets.catalogue.lines import Line
from datasets.catalogue.rows import RowReason


def decoded(line: Line, encoding: str) -> tuple[str, RowReason | None]:
    """The text of a line, and the reason why it is refused.

    Undecodable bytes become lone surrogates: quotes and separators are still found around them.
    """
    try:
        return line.data.decode(encoding), None
    except UnicodeDecodeError as error:
        column = len(line.data[: error.start].decode(encoding, "surrogateescape")) + 1
        return line.data.decode(encoding, "surrogateescape"), _undecodable(line, column, error, encoding)


def _undecodable(line: Line, column: int, error: UnicodeDecodeError, encoding: str) -> RowReason:
    value = line.data[error.start]
    return RowReason(
        "row_undecodable",
        f"line {line.number}, column {column}: the byte 0x{value:02x} is no {encoding}; save the table as UTF-8, or "
        "declare its encoding (latin-1, windows-1252)",
        {"line": line.number, "column": column, "byte": value, "encoding": encoding},
    )


def too_long(line: int, limit: int) -> RowReason:
    return RowReason(
        "row_too_long", f"line {line} is longer than {limit} bytes; shorten its values", {"line": line, "limit": limit}
    )


def is_clean(text: str) -> bool:
    """Whether a text holds no stand-ins for undecodable bytes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
