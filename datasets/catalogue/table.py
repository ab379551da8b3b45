"""A product table, read in batches of rows."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from datasets.catalogue.checks import judged
from datasets.catalogue.columnar_table import DeltaTable, ParquetTable, is_delta
from datasets.catalogue.csv_table import CsvTable
from datasets.catalogue.mapping import ColumnMapping
from datasets.catalogue.ndjson_table import NdjsonTable
from datasets.catalogue.pictures import picture_reason
from datasets.catalogue.records import Record, TableChangedError
from datasets.catalogue.rows import BadRow, CatalogueRow, RowReason, TableFacts
from datasets.catalogue.skus import SkuIndex, age_of, sku_index, sku_key
from datasets.catalogue.source import Reading, Source
from datasets.errors import UsageError

ENDINGS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".delta": "delta",
}


class Reader(Protocol):
    """One kind of table."""

    columns: tuple[str, ...]

    def records(self, reading: Reading) -> Iterator[Record]:
        """All raw rows; the reading is complete when they are through."""


class Table:
    """An opened table: its columns are known, its rows are read as they are asked for.

    Attributes:
        source: Where it was opened.
        columns: Names of its columns, in order; of NDJSON, those of the first rows.
    """

    def __init__(self, source: str, mapping: ColumnMapping, reader: Reader, roots: Sequence[Path]) -> None:
        self.source, self.columns = source, reader.columns
        self._mapping, self._reader = mapping, reader
        self._picture_reason = partial(picture_reason, source, roots=tuple(roots))
        self._facts: TableFacts | None = None

    @property
    def facts(self) -> TableFacts:
        """Known when ``batches()`` is through.

        Raises:
            TypeError: It is not yet.
        """
        if self._facts is None:
            raise TypeError("facts of a table are known when its batches are through")
        return self._facts

    def survey(self) -> TableFacts:
        """Read the whole table for its facts, so that it can be judged before any work."""
        for _ in self.batches():
            pass
        return self.facts

    def batches(self, size: int = 500) -> Iterator[tuple[list[CatalogueRow], list[BadRow]]]:
        """The rows in file order, together at most ``size`` of them at a time; memory does not grow with the table.

        Every call begins anew. Two rows have one SKU if only case and outer space differ: the first that can be used
        has it, or with ``updated`` the newest; the others are refused.

        Raises:
            TableUnreadableError: It cannot be read to its end; the message names the line.
            TableChangedError: It is another one than it was when it was read before.
            StorageUnavailableError: The storage does not answer.
        """
        with sku_index() as index:
            before = self._facts.sha256 if self._facts else None
            if self._mapping.updated is not None:
                before = self._choose(index)
            reading, counts = Reading(), Counter[str]()
            good: list[CatalogueRow] = []
            bad: list[BadRow] = []
            with closing(self._rows(reading, index, counts)) as rows:  # type: ignore[type-var]  # a generator
                for row in rows:
                    good.append(row) if isinstance(row, CatalogueRow) else bad.append(row)
                    if len(good) + len(bad) >= size:
                        yield good, bad
                        good, bad = [], []
            self._facts = self._complete(reading, counts, before)
            if good or bad:
                yield good, bad

    def _rows(self, reading: Reading, index: SkuIndex, counts: Counter[str]) -> Iterator[CatalogueRow | BadRow]:
        for record in self._reader.records(reading):
            row = self._unique(judged(record, self._mapping, self._picture_reason), index)
            counts["rows"] += 1
            if isinstance(row, BadRow):
                counts["bad"] += 1
                counts.update({f"reason {each}" for each in (reason.code for reason in row.reasons)})
            yield row

    def _choose(self, index: SkuIndex) -> str:
        """Find the newest row of every SKU; the digest of what was read."""
        reading = Reading()
        for record in self._reader.records(reading):
            row = judged(record, self._mapping, self._picture_reason)
            if isinstance(row, CatalogueRow):
                index.offer(sku_key(row.sku), row.line, age_of(record.values.get("updated")))
        return reading.digest.hexdigest()

    def _unique(self, row: CatalogueRow | BadRow, index: SkuIndex) -> CatalogueRow | BadRow:
        """The row, refused if another one has its SKU. A row that cannot be used takes no SKU."""
        if row.sku is None:
            return row
        key = sku_key(row.sku)
        newest = self._mapping.updated is not None
        if isinstance(row, BadRow) or newest:
            holder = index.holder(key)
        else:
            holder = index.claim(key, row.line)
        if holder is None or holder == row.line:
            return row
        reason = _duplicate(row.sku, holder, newest=newest)
        return BadRow(row.line, row.sku, (*row.reasons, reason) if isinstance(row, BadRow) else (reason,))

    def _complete(self, reading: Reading, counts: Counter[str], before: str | None) -> TableFacts:
        digest = reading.digest.hexdigest()
        if before is not None and before != digest:
            raise TableChangedError(f"{self.source} was written to while it was read; run again", table=self.source)
        reasons = {name.removeprefix("reason "): n for name, n in sorted(counts.items()) if name.startswith("reason ")}
        return TableFacts(
            columns=reading.columns,
            rows=counts["rows"],
            bad=counts["bad"],
            duplicates=reasons.get("sku_duplicate", 0),
            sha256=digest,
            bytes=reading.size,
            reasons=reasons,
        )


def open_table(
    source: str | Path,
    mapping: ColumnMapping | None = None,
    *,
    storage_options: Mapping[str, Any] | None = None,
    roots: Sequence[Path] = (),
) -> Table:
    """Open a CSV, NDJSON, Parquet or Delta table.

    Args:
        source: A local path or an fsspec URL such as ``s3://bucket/table.csv``.
        mapping: Which column means what.
        storage_options: What an object store needs, as ``datasets.object_store.object_store_options`` gives it.
        roots: Folders that paths of pictures may lead into (``catalogue_roots(settings)``).

    Raises:
        UsageError: No such table, an ending nobody knows, a column that it does not have.
        TableUnreadableError: It is something else (an archive, a web page), empty, or in another encoding.
        StorageUnavailableError: The storage does not answer.
    """
    asked = mapping or ColumnMapping()
    place = Source(str(source), storage_options or {})
    kinds: dict[str, type[CsvTable] | type[NdjsonTable] | type[ParquetTable] | type[DeltaTable]] = {
        "csv": CsvTable,
        "ndjson": NdjsonTable,
        "parquet": ParquetTable,
        "delta": DeltaTable,
    }
    return Table(place.url, asked, kinds[_kind(place, asked)](place, asked), roots)


def _kind(place: Source, mapping: ColumnMapping) -> str:
    if mapping.format != "auto":
        return mapping.format
    if is_delta(place):
        return "delta"
    name = place.url.rstrip("/").rsplit("/", 1)[-1].lower()
    ending = f".{name.rsplit('.', 1)[-1]}" if "." in name else ""
    if ending not in ENDINGS:
        raise UsageError(
            f"{place.url}: no kind of table ends in {ending or 'nothing'!r}; known: {', '.join(ENDINGS)} (not "
            "compressed); rename it, or give its format",
            table=place.url,
        )
    return ENDINGS[ending]


def _duplicate(sku: str, line: int, *, newest: bool) -> RowReason:
    which = "a newer row of it stands" if newest else "it stands already"
    return RowReason(
        "sku_duplicate",
        f"the SKU {sku!r}: {which} in line {line} (upper and lower case and outer spaces make no difference); give "
        "every product one row",
        {"line": line, "sku": sku},
    )
