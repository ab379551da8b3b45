"""What a run of the catalogue flow is asked to do."""

import re
from pathlib import PurePosixPath
from typing import Any, ClassVar

from pydantic import Field, field_validator

from datasets.catalogue import ColumnMapping
from flows.order import Order
from flows.recipes import RecipeName

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")


class CatalogueOrder(Order):
    """A table of products, a recipe, and where the results go. The same order may be run again at any time."""

    flow: ClassVar[str] = "catalogue"
    table: str = Field(
        min_length=1, description="The product table: path or s3:// address of a CSV, NDJSON, Parquet or Delta table."
    )
    mapping: ColumnMapping = Field(default_factory=ColumnMapping, description="Which column says what.")
    recipe: RecipeName | str | tuple[dict[str, Any], ...] = Field(
        default=RecipeName.PACKSHOT,
        description="A recipe's name, the path of a .json file with a list of stages, or such a list.",
    )
    name: str | None = Field(
        default=None, description="Name of the catalogue, under which runs are compared; empty: the table's own name."
    )
    failure_budget: float = Field(
        default=0.1, ge=0, le=1, description="Stop when more than this share of the rows fails, 0 to 1."
    )
    shrink_limit: float = Field(
        default=0.3, ge=0, le=1, description="Do not begin when more than this share of the last run's rows is gone."
    )
    batch_size: int = Field(default=64, ge=1, le=1000, description="Rows that are shown as one task per stage.")
    dry_run: bool = Field(default=False, description="Say what would be done and what it may cost, and do nothing.")

    @field_validator("name")
    @classmethod
    def _name_is_valid(cls, value: str | None) -> str | None:
        if value is not None and not NAME.fullmatch(value):
            raise ValueError(
                "use 1 to 63 lower-case letters, digits, '_', '-' and '.', beginning with a letter or digit"
            )
        return value

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.table,)

    @property
    def catalogue(self) -> str:
        """The name under which runs are compared."""
        if self.name is not None:
            return self.name
        stem = PurePosixPath(self.table.rstrip("/").replace("\\", "/")).name.split(".")[0].lower()
        return re.sub(r"[^a-z0-9_.-]+", "-", stem).strip("-_.")[:63] or "catalogue"
