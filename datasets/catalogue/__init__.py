"""Product tables: read as a stream, checked row by row, every refused row named with its line and the reason."""

from datasets.catalogue.local_images import catalogue_roots, is_local_path, local_image
from datasets.catalogue.mapping import ColumnMapping
from datasets.catalogue.records import TableChangedError, TableUnreadableError
from datasets.catalogue.rows import BadRow, CatalogueRow, RowReason, TableFacts
from datasets.catalogue.table import Table, open_table

__all__ = [
    "BadRow",
    "CatalogueRow",
    "ColumnMapping",
    "RowReason",
    "Table",
    "TableChangedError",
    "TableFacts",
    "TableUnreadableError",
    "catalogue_roots",
    "is_local_path",
    "local_image",
    "open_table",
]
