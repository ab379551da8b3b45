"""NDJSON: one JSON object on every line."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, BinaryIO

from datasets.catalogue.columns import check_columns
from datasets.catalogue.decoding import decoded, too_long
from datasets.catalogue.kinds import Kinds, kind_of_value
from datasets.catalogue.lines import LONGEST_ROW, Line, as_narrow, line_end, lines, narrow_name
from datasets.catalogue.mapping import ColumnMapping
from datasets.catalogue.records import Record, TableUnreadableError
from datasets.catalogue.rows import RowReason
from datasets.catalogue.sniffing import HEAD, encoding_of, refuse_other_things
from datasets.catalogue.source import Reading, Source

LOOKED_AT = 100  # rows whose keys are the columns at first


class NdjsonTable:
    """An NDJSON table whose first rows have the columns of the mapping.

    Args:
        source: Where it lies.
        mapping: Its columns and encoding.

    Raises:
        UsageError: None of the first rows has a column of the mapping.
        TableUnreadableError: It is empty, or no NDJSON.
    """

    def __init__(self, source: Source, mapping: ColumnMapping) -> None:
        self._source, self._mapping = source, mapping
        names: dict[str, None] = {}
        with self._objects(Reading()) as rows:
            first = list(islice(rows, LOOKED_AT))
        for _line, found in first:
            names |= dict.fromkeys(found) if isinstance(found, dict) else {}
        if not first:
            raise TableUnreadableError(
                f"{source.url} is empty: expected one JSON object on every line", table=source.url
            )
        if not names and isinstance(first[0][1], RowReason):
            raise TableUnreadableError(f"{source.url} is no NDJSON: {first[0][1].message}", table=source.url)
        self.columns = tuple(names)
        check_columns(source.url, self.columns, mapping)

    def records(self, reading: Reading) -> Iterator[Record]:
        """All rows."""
        kinds, wanted = Kinds(), self._mapping.columns
        with self._objects(reading) as rows:
            for line, found in rows:
                if isinstance(found, RowReason):
                    yield Record(line, {}, (found,))
                    continue
                if not kinds.full:
                    kinds.take({name: kind_of_value(value) for name, value in found.items()})
                yield Record(line, {role: found.get(name) for role, name in wanted.items()})
        reading.columns = kinds.columns

    @contextmanager
    def _objects(self, reading: Reading) -> Iterator[Iterator[tuple[int, dict[str, Any] | RowReason]]]:
        with self._source.opened() as stream:
            yield self._parsed(stream, reading)

    def _parsed(self, stream: BinaryIO, reading: Reading) -> Iterator[tuple[int, dict[str, Any] | RowReason]]:
        blocks = self._source.blocks(stream, reading)
        first = next(blocks, b"")
        refuse_other_things(self._source.url, first[:HEAD])
        encoding, mark = encoding_of(self._source.url, first, self._mapping.encoding)
        text = as_narrow(chain([first[mark:]], blocks), encoding)
        head = next(text, b"")
        if head.lstrip().startswith(b"["):
            raise TableUnreadableError(
                f"{self._source.url} is a JSON array; write one object on every line", table=self._source.url
            )
        for line in lines(chain([head], text), line_end(head)):
            if line.data.strip():
                yield line.number, _object(line, narrow_name(encoding))


def _object(line: Line, encoding: str) -> dict[str, Any] | RowReason:
    if not line.whole:
        return too_long(line.number, LONGEST_ROW)
    text, reason = decoded(line, encoding)
    if reason:
        return reason
    try:
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except RecursionError:
        return _no_json(line.number, "it is nested too deeply")
    except ValueError as error:
        return _no_json(line.number, str(error))
    return found if isinstance(found, dict) else _no_json(line.number, f"it is a {kind_of_value(found)}")


def _no_json(line: int, why: str) -> RowReason:
    return RowReason(
        "row_not_json", f"line {line} is no JSON object: {why}; write one object on every line", {"line": line}
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _value in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return made


def _no_number(_name: str) -> None:
    """NaN and infinities, which JSON does not have, are no value."""
