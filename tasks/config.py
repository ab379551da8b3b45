"""What every stage configuration has in common: a name, an input, and a condition that may skip it."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

StageId = str
Fact = Literal["width", "height", "short_side", "long_side", "megapixels", "alpha", "object_found", "coverage"]


class Condition(BaseModel):
    """Run a stage only if a fact of its input holds; otherwise the picture passes unchanged and the report says why."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    fact: Fact = Field(description="What is looked at: a size in pixels, megapixels, or yes/no facts as 1 and 0.")
    below: float | None = Field(default=None, description="Run only if the fact is below this.")
    at_least: float | None = Field(default=None, description="Run only if the fact is at least this.")

    @model_validator(mode="after")
    def _one_bound(self) -> "Condition":
        if self.below is None and self.at_least is None:
            raise ValueError("give 'below', 'at_least' or both")
        return self

    def reason_to_skip(self, facts: Mapping[str, object]) -> str | None:
        """Why the stage is skipped for a picture with these facts, or None if it is to run."""
        value = fact_value(self.fact, facts)
        if value is None:
            return f"{self.fact} is not known here"
        if self.below is not None and not value < self.below:
            return f"{self.fact} is {value:g}, not below {self.below:g}"
        if self.at_least is not None and not value >= self.at_least:
            return f"{self.fact} is {value:g}, less than {self.at_least:g}"
        return None


def fact_value(name: Fact, facts: Mapping[str, object]) -> float | None:
    """A fact as a number; derived sizes are worked out from width and height."""
    width, height = _number(facts.get("width")), _number(facts.get("height"))
    if name in ("short_side", "long_side", "megapixels"):
        if width is None or height is None:
            return None
        return {
            "short_side": min(width, height),
            "long_side": max(width, height),
            "megapixels": width * height / 1e6,
        }[name]
    return _number(facts.get(name))


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, bool | int | float) else None


class StageConfig(BaseModel):
    """Base of every stage's configuration. Unknown fields are refused at the door."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: StageId | None = Field(default=None, pattern=r"^[a-z][a-z0-9_]{0,31}$", description="Name for later stages.")
    input: StageId | None = Field(
        default=None, description="Stage whose picture this one takes; the previous one if empty."
    )
    when: Condition | None = Field(default=None, description="Skip the stage unless this holds.")

    @property
    def stage_name(self) -> str:
        """The value of the field ``stage``, which tells the configurations apart."""
        return str(getattr(self, "stage", type(self).__name__))

    def parameters(self) -> dict[str, object]:
        """The fields that decide pixels, as plain values."""
        return self.model_dump(mode="json", exclude={"stage", "id", "input", "when", "role", "keep"})
