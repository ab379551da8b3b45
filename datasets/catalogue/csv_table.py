"""CSV: the header, and the rows under it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import BinaryIO

from datasets.catalogue.columns import check_columns
from datasets.catalogue.csv_rows import CsvRow, CsvRows
from datasets.catalogue.decoding import is_clean
from datasets.catalogue.kinds import MOST_COLUMNS, Kinds, kind_of_text
from datasets.catalogue.lines import as_narrow, line_end, lines, narrow_name
from datasets.catalogue.mapping import ColumnMapping
from datasets.catalogue.records import Record, TableUnreadableError
from datasets.catalogue.rows import RowReason
from datasets.catalogue.sniffing import HEAD, encoding_of, refuse_other_things
from datasets.catalogue.source import Reading, Source

SHOWN = 20  # undecodable rows that are named beside a column that is missing
LOOKED_AT = 1000  # rows that are looked at for them


class CsvTable:
    """A CSV table whose header fits the mapping.

    Args:
        source: Where it lies.
        mapping: Its columns, encoding and separator.

    Raises:
        UsageError: It does not have a column of the mapping, or has it twice.
        TableUnreadableError: It is empty or no CSV.
    """

    def __init__(self, source: Source, mapping: ColumnMapping) -> None:
        self._source, self._mapping = source, mapping
        with self._rows(Reading()) as rows:
            self.columns = _header(source.url, next(rows, None))
            undecodable = (row for row in islice(rows, LOOKED_AT) for each in row.reasons if "undec" in each.code)
            self._roles = check_columns(
                source.url,
                self.columns,
                mapping,
                lambda: [each for row in islice(undecodable, SHOWN) for each in row.reasons],
            )

    def records(self, reading: Reading) -> Iterator[Record]:
        """All rows under the header."""
        kinds = Kinds()
        with self._rows(reading) as rows:
            if _header(self._source.url, next(rows, None)) != self.columns:
                raise TableUnreadableError(f"{self._source.url} has another header than before", table=self._source.url)
            for row in rows:
                if not kinds.full and not row.reasons:
                    kinds.take(dict(zip(self.columns, self._kinds(row.values), strict=False)))
                yield self._record(row)
        as_text = {self._mapping.sku, self._mapping.image, self._mapping.recipe}
        reading.columns = tuple((name, "String" if name in as_text else kinds.of(name)) for name in self.columns)

    def _record(self, row: CsvRow) -> Record:
        given, wanted = len(row.values), len(self.columns)
        values = {role: row.values[at] for role, at in self._roles if at < given}
        if row.reasons:
            return Record(row.line, {role: text for role, text in values.items() if is_clean(text)}, row.reasons)
        return Record(row.line, values, () if given == wanted else (_ragged(row, wanted),))

    def _kinds(self, values: Sequence[str]) -> Iterator[str]:
        nulls = self._mapping.null_values
        for value in values:
            text = value.strip()
            yield "Null" if text in nulls else kind_of_text(text)

    @contextmanager
    def _rows(self, reading: Reading) -> Iterator[Iterator[CsvRow]]:
        with self._source.opened() as stream:
            yield iter(self._parsed(stream, reading))

    def _parsed(self, stream: BinaryIO, reading: Reading) -> CsvRows:
        url, mapping = self._source.url, self._mapping
        blocks = self._source.blocks(stream, reading)
        first = next(blocks, b"")
        refuse_other_things(url, first[:HEAD])
        encoding, mark = encoding_of(url, first, mapping.encoding)
        text = as_narrow(chain([first[mark:]], blocks), encoding)
        head = next(text, b"")
        physical = lines(chain([head], text), line_end(head))
        return CsvRows(url, physical, encoding=narrow_name(encoding), separator=mapping.separator)


def _header(url: str, row: CsvRow | None) -> tuple[str, ...]:
    """Names of the columns.

    Raises:
        TableUnreadableError: There is none, or it cannot be read.
    """
    if row is None:
        raise TableUnreadableError(f"{url} is empty: expected a header and rows", table=url)
    if row.reasons:
        raise TableUnreadableError(f"the header of {url} cannot be read: {row.reasons[0].message}", table=url)
    if len(row.values) > MOST_COLUMNS:
        raise TableUnreadableError(f"{url} has {len(row.values)} columns, at most {MOST_COLUMNS} are read", table=url)
    return tuple(name.strip() for name in row.values)


def _ragged(row: CsvRow, wanted: int) -> RowReason:
    given = len(row.values)
    span = f"line {row.line}" if row.last == row.line else f"lines {row.line} to {row.last}, one row by their quotes,"
    return RowReason(
        "row_ragged",
        f"{span} has {given} values where the header has {wanted} columns; quote values that hold a separator",
        {"values": given, "columns": wanted, "last_line": row.last},
    )
