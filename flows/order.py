"""What a run of the product flow is asked to do: the parameters of its form, its command line and its schedule."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from flows.recipes import RecipeName
from model_blocks.registry import Purpose


class ProductOrder(BaseModel):
    """Photographs, a recipe, and where the results go."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    photos: tuple[str, ...] = Field(min_length=1, description="Paths of the photographs.")
    recipe: RecipeName | str | tuple[dict[str, Any], ...] = Field(
        default=RecipeName.PACKSHOT,
        description="A recipe's name, the path of a .json file with a list of stages, or such a list.",
    )
    out: str = Field(default="stillmotion-output", description="Folder for the results; made if it is not there.")
    models: str | dict[str, str] = Field(
        default="auto",
        description="auto, official, embedded, block:NAME for a saved choice, or a name per capability.",
    )
    weights: dict[str, str] = Field(
        default_factory=dict, description="Paths of local weight files by model name; recorded as unpublished."
    )
    purpose: Purpose = Field(default="commercial", description="What the pictures are for; licences are checked.")
    keep: bool = Field(default=False, description="Store every stage's picture, also where stages could share a pass.")
    budget_usd: float | None = Field(default=None, ge=0, description="Most that may be spent; no stage here costs any.")
    command: str | None = Field(default=None, description="How the run was asked for, shown in the report.")

    @property
    def out_folder(self) -> Path:
        return Path(self.out).expanduser().absolute()
