"""Rows of CSV (RFC 4180) from physical lines: an unclosed quote costs its own line, never the rest of the table."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from datasets.catalogue.decoding import decoded, too_long
from datasets.catalogue.lines import LONGEST_ROW, Line
from datasets.catalogue.records import TableUnreadableError
from datasets.catalogue.rows import RowReason

MOST_LINES = 10_000  # of one quoted value
MOST_AGAIN = 64 * LONGEST_ROW  # bytes read twice for want of a closing quote; a table that needs more is broken
QUOTE = '"'


class CsvRow(NamedTuple):
    """Values of a row as text.

    Attributes:
        line: Where it begins.
        last: Where it ends: later, if a quoted value holds line ends.
        values: As far as they could be told apart.
        reasons: Why it is refused.
    """

    line: int
    last: int
    values: list[str]
    reasons: tuple[RowReason, ...] = ()


class QuoteError(Exception):
    """Text follows a closing quote."""

    def __init__(self, column: int) -> None:
        super().__init__()
        self.column = column


class Splitter:
    """Splits the lines of one row into values.

    Args:
        separator: Of columns.
    """

    def __init__(self, separator: str) -> None:
        self._separator = separator
        self.values: list[str] = []
        self._open: list[str] | None = None  # parts of the quoted value that is not closed yet

    def take(self, text: str) -> bool:
        """Go on with a line; whether the row ends with it.

        Raises:
            QuoteError: Text follows a closing quote.
        """
        at: int | None = 0
        while at is not None:
            if self._open is None:
                at = self._begin(text, at)
            else:
                at = self._close(text, at)
        return self._open is None

    def _begin(self, text: str, at: int) -> int | None:
        """From the beginning of a value to that of the next; None: the line is through."""
        if text.startswith(QUOTE, at):
            self._open = []
            return at + 1
        end = text.find(self._separator, at)
        if end < 0:
            self.values.append(text[at:].removesuffix("\r"))
            return None
        self.values.append(text[at:end])
        return end + 1

    def _close(self, text: str, at: int) -> int | None:
        """From inside a quoted value to the beginning of the next value, or to the end of the line."""
        assert self._open is not None
        end = text.find(QUOTE, at)
        if end < 0:
            self._open.append(text[at:] + "\n")
            return None
        if text.startswith(QUOTE, end + 1):
            self._open.append(text[at : end + 1])
            return end + 2
        self.values.append("".join([*self._open, text[at:end]]))
        self._open = None
        if text[end + 1 :] in ("", "\r"):
            return None
        if not text.startswith(self._separator, end + 1):
            raise QuoteError(end + 2)
        return end + 2


class CsvRows:
    """The rows of a text, blank lines left out.

    Args:
        url: Of the table, for messages.
        source: Its physical lines.
        encoding: Of their bytes; ASCII characters are single bytes in it.
        separator: Of columns.
    """

    def __init__(self, url: str, source: Iterable[Line], *, encoding: str, separator: str) -> None:
        self._url, self._encoding, self._separator = url, encoding, separator
        self._again: deque[Line] = deque()  # lines after one whose quote was not closed
        self._source = iter(source)
        self._read_again = 0  # bytes

    def __iter__(self) -> Iterator[CsvRow]:
        while (line := self._next()) is not None:
            if not line.whole:
                yield CsvRow(line.number, line.number, [], (too_long(line.number, LONGEST_ROW),))
                continue
            text, reason = decoded(line, self._encoding)
            if QUOTE in text:
                yield self._quoted(line, text, reason)
            elif text not in ("", "\r"):
                values = text.removesuffix("\r").split(self._separator)
                yield CsvRow(line.number, line.number, values, (reason,) if reason else ())

    def _next(self) -> Line | None:
        return self._again.popleft() if self._again else next(self._source, None)

    def _quoted(self, first: Line, text: str, reason: RowReason | None) -> CsvRow:
        """A row with quotes, to its end on this or a later line."""
        splitter, held, size = Splitter(self._separator), [first], len(first.data)
        reasons = [reason] if reason else []
        try:
            while not splitter.take(text):
                line = self._next()
                if line is not None:
                    held.append(line)
                    size += len(line.data)
                if line is None or not line.whole or size > LONGEST_ROW or len(held) > MOST_LINES:
                    return self._given_up(held, reasons)
                text, reason = decoded(line, self._encoding)
                reasons += [reason] if reason else []
        except QuoteError as error:
            if len(held) > 1:
                return self._given_up(held, reasons)
            return CsvRow(first.number, first.number, [], (*reasons, _stray(first.number, error.column)))
        return CsvRow(first.number, held[-1].number, splitter.values, tuple(reasons[:1]))

    def _given_up(self, held: list[Line], reasons: list[RowReason]) -> CsvRow:
        """The quote that began on the first of these lines has no end: the others are rows of their own."""
        first, *others = held
        self._again.extendleft(reversed(others))
        self._read_again += sum(len(line.data) for line in others)
        if self._read_again > MOST_AGAIN:
            raise TableUnreadableError(
                f"{self._url} has too many quotes without an end, the last in line {first.number}; check how it was "
                "exported",
                table=self._url,
                line=first.number,
            )
        own = [each for each in reasons if each.facts.get("line") == first.number]
        return CsvRow(first.number, first.number, [], (*own, _unclosed(first.number, held[-1].number)))


def _stray(line: int, column: int) -> RowReason:
    return RowReason(
        "quote_stray",
        f"line {line}, column {column}: text follows a closing quote; write a quote inside a quoted value twice",
        {"line": line, "column": column},
    )


def _unclosed(line: int, last: int) -> RowReason:
    return RowReason(
        "quote_unclosed",
        f"the quote that opens in line {line} has no end (looked for up to line {last}); close it, or write quotes "
        "inside a quoted value twice",
        {"line": line, "searched_to": last},
    )
