"""Small product tables for tests, and what was read of them."""

from pathlib import Path

from datasets.catalogue import BadRow, CatalogueRow, ColumnMapping, Table, open_table

HEADER = "sku,image_url\n"
URL = "https://images.example.com/a.jpg"


def table_of(folder: Path, content: str | bytes, name: str = "table.csv", **mapping: object) -> Table:
    """An opened table with this content."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_table(path, ColumnMapping.model_validate(mapping))


def rows_of(table: Table, size: int = 500) -> tuple[list[CatalogueRow], list[BadRow]]:
    """All rows that can be used, and all that cannot."""
    good: list[CatalogueRow] = []
    bad: list[BadRow] = []
    for some_good, some_bad in table.batches(size):
        assert 1 <= len(some_good) + len(some_bad) <= size
        good += some_good
        bad += some_bad
    return good, bad


def codes(bad: list[BadRow]) -> dict[int, list[str]]:
    """Codes of every refused row, by its line."""
    return {row.line: [reason.code for reason in row.reasons] for row in bad}


def one_row(folder: Path, image: str, sku: str = "A") -> list[str]:
    """The codes against a table's only row."""
    quoted = '"' + image.replace('"', '""') + '"'
    _good, bad = rows_of(table_of(folder, f'{HEADER}"{sku}",{quoted}\n'))
    return [reason.code for row in bad for reason in row.reasons]
