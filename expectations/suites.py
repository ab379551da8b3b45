"""What must hold before any work, before a paid call and before publishing: thresholds, typed and overridable.

A recipe or a tenant writes only what it wants to be different, in JSON:
``{"intake": {"sharp": {"min": 30, "level": "stop"}}, "delivery": {"colours_kept": null}}``. ``null`` takes an
expectation out of the suite; a name that the suite does not have adds one.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from datasets.errors import RecipeError
from expectations.measures import MEASURES

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation

GateName = Literal["intake", "spend", "delivery"]
Level = Literal["warn", "stop"]


class Threshold(BaseModel):
    """One expectation on one measure of every item."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    measure: str = Field(description="Column of the measures table.")
    min: float | None = Field(default=None, allow_inf_nan=False, description="Smallest value that is right.")
    max: float | None = Field(default=None, allow_inf_nan=False, description="Largest value that is right.")
    one_of: tuple[str | int, ...] | None = Field(default=None, min_length=1, description="The values that are right.")
    not_null: bool = Field(default=False, description="Only that there is a value; a missing one is a failure.")
    level: Level = Field(default="stop", description="Whether a failure stops the item or is only told.")
    unknown: Literal["error", "skip"] = Field(
        default="error",
        description="What a missing value means: it should be there, so nothing can be said of the item; or it does "
        "not concern the item.",
    )

    @model_validator(mode="after")
    def _one_kind(self) -> "Threshold":
        if self.ranged + (self.one_of is not None) + self.not_null != 1:
            raise ValueError("give 'min' and/or 'max', or 'one_of', or 'not_null'")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"'min' {self.min:g} is above 'max' {self.max:g}")
        known = MEASURES.get(self.measure)
        if self.ranged and known is not None and known.kind == "str":
            raise ValueError(f"{self.measure!r} is text; give 'one_of'")
        return self

    @property
    def ranged(self) -> bool:
        """Whether it is about numbers."""
        return self.min is not None or self.max is not None

    @property
    def bound(self) -> dict[str, object]:
        """What was asked for, as JSON."""
        return self.model_dump(mode="json", include={"min", "max", "one_of", "not_null"}, exclude_defaults=True)

    def expectation(self, name: str) -> "Expectation":
        """The same for Great Expectations, with the name in its ``meta``."""
        from great_expectations.expectations.core import expect_column_values_to_be_between as between
        from great_expectations.expectations.core import expect_column_values_to_be_in_set as in_set
        from great_expectations.expectations.core import expect_column_values_to_not_be_null as not_null

        meta = {"name": name}
        if self.one_of is not None:
            return in_set.ExpectColumnValuesToBeInSet(column=self.measure, value_set=list(self.one_of), meta=meta)
        if self.not_null:
            return not_null.ExpectColumnValuesToNotBeNull(column=self.measure, meta=meta)
        return between.ExpectColumnValuesToBeBetween(
            column=self.measure, min_value=self.min, max_value=self.max, meta=meta
        )


class Suite(BaseModel):
    """The expectations of one gate, by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    gate: GateName
    thresholds: dict[str, Threshold]

    def overridden(self, changes: Mapping[str, Mapping[str, object] | None]) -> "Suite":
        """The suite with some thresholds changed, added or (None) taken out.

        Raises:
            RecipeError: A change is not valid; the message names the expectation.
        """
        made = dict(self.thresholds)
        for name, change in changes.items():
            if change is None:
                if made.pop(name, None) is None:
                    raise RecipeError(
                        f"the {self.gate} gate has no expectation {name!r}; it has: {', '.join(self.thresholds)}"
                    )
                continue
            made[name] = self._changed(name, change)
        return Suite(gate=self.gate, thresholds=made)

    def _changed(self, name: str, change: Mapping[str, object]) -> Threshold:
        have = self.thresholds.get(name)
        before = have.model_dump(exclude_defaults=True) if have else {}
        try:
            made = Threshold.model_validate(before | dict(change))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise RecipeError(
                f"expectation {name!r} of the {self.gate} gate: {where + ': ' if where else ''}{first['msg']}",
                gate=self.gate,
                expectation=name,
            ) from error
        if made.measure not in MEASURES:
            raise RecipeError(
                f"expectation {name!r} of the {self.gate} gate asks for the unknown measure {made.measure!r}; known: "
                f"{', '.join(MEASURES)}",
                gate=self.gate,
                expectation=name,
            )
        return made


def _suite(gate: GateName, **thresholds: Threshold) -> Suite:
    return Suite(gate=gate, thresholds=thresholds)


def _warn(measure: str, **bounds: float) -> Threshold:
    return Threshold(measure=measure, level="warn", unknown="skip", **bounds)


# Before any work: what no stage can make good. Sharp product photographs have a sharpness of 100 and more, those
# blurred by 3 px at 1024 px less than 5.
INTAKE = _suite(
    "intake",
    large_enough=Threshold(measure="short_side", min=64),
    aspect=Threshold(measure="aspect", min=1 / 8, max=8),
    not_black=Threshold(measure="luma_mean", min=8),
    shows_something=Threshold(measure="luma_std", min=2),
    sharp=Threshold(measure="sharpness", min=8, level="warn"),
    not_dark=_warn("luma_mean", min=40),
    not_blown_out=_warn("clipped_white", max=0.97),
    not_crushed=_warn("clipped_black", max=0.9),
    low_noise=_warn("noise", max=12),
    lightly_compressed=_warn("blockiness", max=2.5),
    neutral=_warn("cast", max=12),
)

# Before a paid call: a cutout that is worth the money. Of two products side by side the larger one has half of what
# was cut out and more; at three quarters the second is a third as large. A bottle with its cap beside it passes.
SPEND = _suite(
    "spend",
    large_enough=Threshold(measure="short_side", min=200),
    sharp=Threshold(measure="sharpness", min=8, unknown="skip"),
    object_found=Threshold(measure="coverage", min=0.005),
    not_everything=Threshold(measure="coverage", max=0.98),
    one_piece=Threshold(measure="largest_piece", min=0.75),
    few_pieces=Threshold(measure="pieces", max=6, level="warn"),
    few_holes=Threshold(measure="holes", max=8, level="warn"),
    not_cut_off=Threshold(measure="border", max=0.1),
    edge=_warn("softness", max=0.7),
    not_black=Threshold(measure="luma_mean", min=8, unknown="skip"),
    not_dark=_warn("luma_mean", min=30),
)

# Before publishing: a picture that shows the product as it is. Where nothing was placed, fidelity does not apply.
DELIVERY = _suite(
    "delivery",
    large_enough=Threshold(measure="short_side", min=64),
    shows_something=Threshold(measure="luma_std", min=1, unknown="skip"),
    product_kept=Threshold(measure="fidelity_ssim", min=0.8, unknown="skip"),
    parts_kept=Threshold(measure="fidelity_ssim_low", min=0.5, unknown="skip"),
    colours_kept=Threshold(measure="fidelity_delta_e", max=6, unknown="skip"),
    part_colours_kept=Threshold(measure="fidelity_delta_e_high", max=9, unknown="skip"),
    hues_kept=Threshold(measure="fidelity_delta_c", max=3.5, unknown="skip"),
    detail_kept=Threshold(measure="fidelity_detail", min=0.3, max=8, unknown="skip"),  # sharp resampling leaves 5
    whole=Threshold(measure="fidelity_visible", min=0.98, unknown="skip"),
    size_kept=Threshold(measure="fidelity_scale", min=0.96, max=1.04, unknown="skip"),
    in_place=Threshold(measure="fidelity_shift", max=0.05, unknown="skip"),
    upright=Threshold(measure="fidelity_rotation", min=-2, max=2, unknown="skip"),
    neutral=_warn("cast", max=15),
)
SUITES: dict[GateName, Suite] = {"intake": INTAKE, "spend": SPEND, "delivery": DELIVERY}


def suite(gate: GateName, *overrides: Mapping[str, Mapping[str, Mapping[str, object] | None]]) -> Suite:
    """A gate's suite with what tenants and recipes want different, the last one having the last word.

    Args:
        gate: Which one.
        overrides: Changes by gate and expectation, as in the module's example.

    Raises:
        RecipeError: A gate that is none, or a change that is not valid.
    """
    made = SUITES[gate]
    for override in overrides:
        unknown = sorted(set(override) - set(SUITES))
        if unknown:
            raise RecipeError(f"there is no gate {unknown[0]!r}; there are: {', '.join(SUITES)}")
        made = made.overridden(override.get(gate, {}))
    return made
