"""A product table, read in batches of rows."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets.catalogue.mapping import ColumnMapping
from datasets.catalogue.rows import BadRow, CatalogueRow, TableFacts


class Table:
    """An opened table: its columns are known, its rows are read as they are asked for.

    Attributes:
        source: Where it was opened.
        columns: Names of its columns, in order.
    """

    source: str
    columns: tuple[str, ...]

    def batches(self, size: int = 500) -> Iterator[tuple[list[CatalogueRow], list[BadRow]]]:
        """The rows in file order, together at most ``size`` of them at a time; memory does not grow with the table.

        Every call begins anew.

        Raises:
            TableUnreadableError: It cannot be read to its end; the message names the line.
            TableChangedError: It is another one than it was when it was read before.
            StorageUnavailableError: The storage does not answer.
        """
        raise NotImplementedError

    def survey(self) -> TableFacts:
        """Read the whole table for its facts, so that it can be judged before any work."""
        raise NotImplementedError

    @property
    def facts(self) -> TableFacts:
        """Known when ``batches()`` is through.

        Raises:
            TypeError: It is not yet.
        """
        raise NotImplementedError


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
    raise NotImplementedError
