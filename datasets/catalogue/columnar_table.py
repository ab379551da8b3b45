"""Parquet and Delta through polars: typed columns, streamed; the line of a row is its number, the first being 1."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.catalogue.columns import check_columns
from datasets.catalogue.mapping import ColumnMapping
from datasets.catalogue.records import Record, TableChangedError, TableUnreadableError
from datasets.catalogue.source import Copy, Reading, Source
from datasets.errors import UsageError

if TYPE_CHECKING:
    from polars import DataFrame, LazyFrame

CHUNK = 5_000  # rows in memory at once
PARQUET = b"PAR1"
AS_NAMES = ("String", "Categorical", "Enum", "Null")
WHOLE = ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64")
NO_SCALARS = ("List", "Array", "Struct", "Object", "Binary")


class ParquetTable:
    """A Parquet table whose schema fits the mapping.

    Args:
        source: Where it lies; from an object store it is copied to a temporary file first.
        mapping: Its columns.

    Raises:
        UsageError: It does not have a column of the mapping, or one of another type.
        TableUnreadableError: It is no Parquet, or a broken one.
    """

    def __init__(self, source: Source, mapping: ColumnMapping) -> None:
        self._source = source
        with source.opened() as stream:
            if stream.read(len(PARQUET)) != PARQUET:
                raise TableUnreadableError(f"{source.url} is no Parquet file, whatever its name says", table=source.url)
        self._copy = Copy(source) if source.local is None else None
        import polars as pl

        path = self._copy.path if self._copy else source.local
        assert path is not None
        self._rows = Rows(source.url, mapping, partial(pl.scan_parquet, path, glob=False))
        self.columns = self._rows.columns

    def records(self, reading: Reading) -> Iterator[Record]:
        """All rows."""
        if self._copy is not None:
            reading.digest, reading.size = self._copy.reading.digest, self._copy.reading.size
            yield from self._rows.records(reading)
            return
        with self._source.opened() as stream:
            for _block in self._source.blocks(stream, reading):
                pass
            yield from self._rows.records(reading)


class DeltaTable:
    """The newest version of a local Delta table; needs the package ``deltalake``.

    Args:
        source: Its folder.
        mapping: Its columns.

    Raises:
        UsageError: The package is not installed, or as with Parquet.
    """

    def __init__(self, source: Source, mapping: ColumnMapping) -> None:
        try:
            import deltalake  # type: ignore[import-not-found]  # optional
        except ImportError as error:
            raise UsageError(
                f"{source.url} is a Delta table, and reading those needs the package 'deltalake', which is not "
                "installed; install it, or export the table as Parquet",
                table=source.url,
                package="deltalake",
            ) from error
        if source.local is None:
            raise UsageError(f"{source.url}: Delta tables are read from local folders only; export it as Parquet")
        import polars as pl

        self._url, self._folder, self._open = source.url, source.local, deltalake.DeltaTable
        self._version = int(self._open(str(self._folder)).version())
        self._rows = Rows(source.url, mapping, partial(pl.scan_delta, str(self._folder), version=self._version))
        self.columns = self._rows.columns

    def records(self, reading: Reading) -> Iterator[Record]:
        """All rows of the version that was opened."""
        for uri in sorted(self._open(str(self._folder), version=self._version).file_uris()):
            reading.digest.update(hashlib.sha256(uri.encode()).digest())
            reading.size += Path(uri.removeprefix("file://")).stat().st_size
        yield from self._rows.records(reading)


class Rows:
    """Rows of what polars scans.

    Args:
        url: Of the table, for messages.
        mapping: Its columns.
        scan: Opens it anew.
    """

    def __init__(self, url: str, mapping: ColumnMapping, scan: "Callable[[], LazyFrame]") -> None:
        self._url, self._mapping, self._scan = url, mapping, scan
        with _in_our_words(url):
            self._schema = {name: str(kind) for name, kind in scan().collect_schema().items()}
        self.columns = tuple(self._schema)
        check_columns(url, self.columns, mapping)
        for role, name in mapping.columns.items():
            self._check_type(role, name)

    def _check_type(self, role: str, name: str) -> None:
        kind = self._schema[name].split("(")[0]
        if role == "sku":
            fits, wanted = kind in (*AS_NAMES, *WHOLE), "text or whole numbers"
        elif role in ("image", "recipe"):
            fits, wanted = kind in AS_NAMES, "text"
        else:
            fits, wanted = kind not in NO_SCALARS, "text, numbers, dates or booleans"
        if not fits:
            raise UsageError(
                f"the column {name!r} of {self._url} ({role}) holds {self._schema[name]}, expected {wanted}; write it "
                "as such, or map another column",
                table=self._url,
                column=name,
                type=self._schema[name],
            )

    def records(self, reading: Reading) -> Iterator[Record]:
        roles = self._mapping.columns
        wanted, number = list(dict.fromkeys(roles.values())), 0
        places = [(role, wanted.index(name)) for role, name in roles.items()]
        with _in_our_words(self._url):
            chunks = self._scan().select(wanted).collect_batches(chunk_size=CHUNK, maintain_order=True, lazy=True)
        while (chunk := self._next(chunks)) is not None:
            for row in chunk.iter_rows():
                number += 1
                yield Record(number, {role: _plain(row[at]) for role, at in places})
        reading.columns = tuple(self._schema.items())

    def _next(self, chunks: "Iterator[DataFrame]") -> "DataFrame | None":
        with _in_our_words(self._url):
            return next(chunks, None)


@contextmanager
def _in_our_words(url: str) -> Iterator[None]:
    import polars as pl

    try:
        yield
    except FileNotFoundError as error:
        raise TableChangedError(f"{url} is gone: {error}; run again", table=url) from error
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
        raise TableUnreadableError(f"{url} cannot be read: {str(error)[:300]}; is it whole?", table=url) from error


def _plain(value: Any) -> object:
    """As JSON has it."""
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if value is None or isinstance(value, (str, int, float)):
        return value
    return str(value)


def is_delta(source: Source) -> bool:
    """Whether a local folder is such a table."""
    return source.local is not None and (source.local / "_delta_log").is_dir()
