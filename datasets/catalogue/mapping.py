"""Which column of a product table means what."""

import codecs
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

NULLS = ("", "NULL", "null", "None", "N/A", "n/a", "#N/A", "NaN", "nan")
ASCII = bytes(range(128))
WIDE = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")


class ColumnMapping(BaseModel):
    """The columns of a product table and how its text is to be read."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    sku: str = Field(default="sku", min_length=1, description="Column with the SKU, the name of a product.")
    image: str = Field(
        default="image_url",
        min_length=1,
        description="Column with the picture: an https:// URL, or a path relative to the table's folder.",
    )
    recipe: str | None = Field(
        default=None, min_length=1, description="Column that names a recipe of its own for a row; empty: none does."
    )
    parameters: dict[str, str] = Field(
        default_factory=dict,
        description='Parameters per row: "stage.field" of the recipe and the column that holds its value.',
    )
    updated: str | None = Field(
        default=None,
        min_length=1,
        description="Column (ISO 8601 dates, or numbers) that decides between rows of one SKU: the newest is used. "
        "Empty: the first is used.",
    )
    format: Literal["auto", "csv", "ndjson", "parquet", "delta"] = Field(
        default="auto", description="What kind of table it is; auto: by the ending of its name."
    )
    encoding: str = Field(
        default="utf-8",
        description="Encoding of CSV and NDJSON, such as utf-8, latin-1 or windows-1252. A byte-order mark decides.",
    )
    separator: str = Field(default=",", min_length=1, max_length=1, description="What stands between columns of CSV.")
    null_values: tuple[str, ...] = Field(default=NULLS, description="Texts that mean that there is no value.")

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, value: str) -> str:
        try:
            name = codecs.lookup(value).name
            plain = name in WIDE or ASCII.decode(name) == ASCII.decode("ascii")
        except (LookupError, UnicodeError):
            plain = False
        if not plain:
            raise ValueError(f"{value!r} is no encoding that tables can be read in; try utf-8, latin-1 or windows-1252")
        return name

    @field_validator("separator")
    @classmethod
    def _separator_separates(cls, value: str) -> str:
        if value in '"\r\n\0':
            raise ValueError("a separator is one character that is no quote and no line end, such as , ; | or a tab")
        return value

    @field_validator("parameters")
    @classmethod
    def _parameters_have_stages(cls, value: dict[str, str]) -> dict[str, str]:
        for name, column in value.items():
            stage, _, inner = name.partition(".")
            if not stage or not inner or not column:
                raise ValueError(f'{name!r}: give "stage.field" of the recipe and the name of a column')
        return value

    @property
    def columns(self) -> dict[str, str]:
        """Every column that is asked for, by what it is asked for."""
        named = {"sku": self.sku, "image": self.image, "recipe": self.recipe, "updated": self.updated}
        return {role: name for role, name in named.items() if name} | dict(self.parameters)
