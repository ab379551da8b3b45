"""What every kind of table gives before rows are judged: raw values under a line number, or what is wrong with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from datasets.catalogue.rows import RowReason
from datasets.errors import PermanentError


class TableUnreadableError(PermanentError):
    """Not a table of the kind that it should be, or one that cannot be read to its end."""

    code = "table_unreadable"


class TableChangedError(PermanentError):
    """The table was written to while it was read; the same command reads it anew."""

    code = "table_changed"


@dataclass(frozen=True, slots=True)
class Record:
    """One row before it is judged.

    Attributes:
        line: Where it begins.
        values: By what they are asked for (``sku``, ``image``, ``recipe``, ``updated``, ``stage.field``).
        reasons: What is wrong with the row as such.
    """

    line: int
    values: Mapping[str, object]
    reasons: tuple[RowReason, ...] = field(default=())
