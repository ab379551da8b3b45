"""What must hold of a product table as a whole before any work: SKUs, shape of URLs, size and columns since last time."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field

from datasets.catalogue import TableFacts
from expectations.suites import Level


class TableLimits(BaseModel):
    """How much a table may differ from what is right and from the last one."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    shrink: float = Field(
        default=0.2, ge=0, le=1, description="Share of the last run's rows that may be gone before the run stops."
    )
    bad: float = Field(default=1.0, ge=0, le=1, description="Share of rows that may be refused before the run stops.")
    columns: Level = Field(default="warn", description="What a column that is gone or of another type means.")


@dataclass(frozen=True)
class TableReason:
    """Something about a whole table that is not as it should be.

    Attributes:
        code: Stable: ``table_empty``, ``table_shrunk``, ``table_bad``, ``sku_missing``, ``sku_duplicate``,
            ``image_refused``, ``columns_missing``, ``columns_added``, ``columns_retyped``.
        level: Whether it stops the run or is only told.
        message: What was expected, what came, the remedy.
        facts: JSON-ready details.
    """

    code: str
    level: Level
    message: str
    facts: Mapping[str, object] = field(default_factory=dict)


def judge_table(facts: TableFacts, last: TableFacts | None, limits: TableLimits | None = None) -> list[TableReason]:
    """One validation of a table's facts by Great Expectations.

    Args:
        facts: Of the table.
        last: Of the last run's table; None: there was none, so nothing is compared.
        limits: How much may be different.

    Returns:
        What is not as it should be; those that stop come first.

    Raises:
        GateError: It could not be evaluated.
    """
    raise NotImplementedError
