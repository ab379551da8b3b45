"""What is read from a product table: rows that can be used, rows that cannot and why, and facts of the whole."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RowReason:
    """Why a row is refused.

    Attributes:
        code: Stable: ``sku_missing``, ``sku_duplicate``, ``sku_too_long``, ``sku_not_text``, ``image_missing``,
            ``image_not_text``, ``image_url_malformed``, ``image_scheme_refused``, ``image_path_outside``,
            ``control_characters``, ``parameter_not_scalar``, ``row_ragged``, ``row_undecodable``, ``row_too_long``,
            ``quote_unclosed``, ``quote_stray``, ``row_not_json``. A flow adds its own.
        message: What was expected, what came, the remedy.
        facts: JSON-ready details.
    """

    code: str
    message: str
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class CatalogueRow:
    """A row that can be worked on.

    Attributes:
        line: The physical line where it begins. CSV: 1 is the header; NDJSON: 1 is the first row; Parquet and Delta
            have no lines: the number of the row, the first being 1.
        sku: As given but for outer space and Unicode normal form C: ``00123`` stays ``00123``.
        image: URL, or path of a local file inside the allowed folders.
        recipe: The row's own recipe, where a column names one.
        parameters: By ``stage.field``; text from CSV, else JSON-like values. What the table leaves empty is not in it.
    """

    line: int
    sku: str
    image: str
    recipe: str | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class BadRow:
    """A row that is refused.

    Attributes:
        line: As in ``CatalogueRow``.
        sku: As far as it could be read.
        reasons: One at least.
    """

    line: int
    sku: str | None
    reasons: tuple[RowReason, ...]


@dataclass(frozen=True)
class TableFacts:
    """A table as a whole, to be compared with the last run's.

    Attributes:
        columns: Name and type of every column, in order. CSV has types as its first rows suggest.
        rows: All rows, refused ones among them; blank lines are none.
        bad: Refused rows, duplicates among them.
        duplicates: Rows refused because another row has their SKU.
        sha256: Of the table's bytes; of a Delta table, of the names of its files.
        bytes: Its size.
        reasons: How many rows were refused for each code; a row may count several times.
    """

    columns: tuple[tuple[str, str], ...]
    rows: int
    bad: int
    duplicates: int
    sha256: str
    bytes: int
    reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def good(self) -> int:
        """Rows that can be used."""
        return self.rows - self.bad

    def to_json(self) -> dict[str, object]:
        """As JSON-ready values, to be kept for the next run."""
        return {
            "columns": [list(column) for column in self.columns],
            "rows": self.rows,
            "bad": self.bad,
            "duplicates": self.duplicates,
            "sha256": self.sha256,
            "bytes": self.bytes,
            "reasons": dict(self.reasons),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> "TableFacts":
        """What ``to_json`` gave."""
        given = dict(values)
        columns = tuple((str(name), str(dtype)) for name, dtype in given.pop("columns"))  # type: ignore[attr-defined]
        return cls(columns=columns, **given)  # type: ignore[arg-type]
