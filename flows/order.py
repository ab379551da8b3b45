"""What a run is asked to do: the parameters of its form, its command line and its schedule."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from flows.forms import own_fields_first
from flows.recipes import RecipeName
from model_blocks.registry import Purpose
from model_blocks.routing_types import Level

Approve = Literal["none", "spend"]


class Order(BaseModel, ABC):
    """What every order says besides its inputs and its recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=own_fields_first)
    flow: ClassVar[str] = "product"  # whose stages say how long models take
    out: str = Field(default="stillmotion-output", description="Folder for the results; made if it is not there.")
    models: str | dict[str, str] = Field(
        default="auto",
        description="auto, official, embedded, block:NAME for a saved choice, or a name per capability.",
    )
    weights: dict[str, str] = Field(
        default_factory=dict, description="Paths of local weight files by model name; recorded as unpublished."
    )
    purpose: Purpose = Field(default="commercial", description="What the results are for; licences are checked.")
    quality: Level = Field(
        default="balanced", description="What auto chooses by: economy (money, time), balanced, premium (quality)."
    )
    max_cost_usd: float | None = Field(
        default=None, ge=0, description="Most that a model may cost for an item, in US dollars; empty: no limit."
    )
    max_latency_s: float | None = Field(
        default=None, ge=0, description="Longest that a model may take for an item, in seconds; empty: no limit."
    )
    prefer: str | None = Field(default=None, description="Provider whose models auto takes first: embedded, official.")
    keep: bool = Field(default=False, description="Store every stage's result, also where stages could share a pass.")
    budget_usd: float | None = Field(
        default=None, ge=0, description="Most that the run may spend, in US dollars; empty: no cap of its own."
    )
    approve: Approve = Field(
        default="none",
        description="spend: before the first paid call the run pauses and asks a human; none: it goes on.",
    )
    restyle: dict[str, str | int] = Field(
        default_factory=dict, description="For the stage restyle: prompt, style, seed, adapter; the recipe's if empty."
    )
    command: str | None = Field(default=None, description="How the run was asked for, shown in the report.")

    @property
    @abstractmethod
    def sources(self) -> tuple[str, ...]:
        """The paths of its inputs."""

    @property
    def out_folder(self) -> Path:
        return Path(self.out).expanduser().absolute()


class ProductOrder(Order):
    """Photographs, a recipe, and where the results go."""

    photos: tuple[str, ...] = Field(min_length=1, description="Paths of the photographs.")
    recipe: RecipeName | str | tuple[dict[str, Any], ...] = Field(
        default=RecipeName.PACKSHOT,
        description="A recipe's name, the path of a .json file with a list of stages, or such a list.",
    )

    @property
    def sources(self) -> tuple[str, ...]:
        return self.photos
