"""How long things are kept that nothing holds on to any more: a number of days for every kind."""

from pydantic import BaseModel, ConfigDict, Field

LONGEST_DAYS = 36_500  # a century


class RetentionRules(BaseModel):
    """Days by kind; empty keeps a kind for ever. What is still held on to is kept however old it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames_days: int | None = Field(
        default=14,
        ge=1,
        le=LONGEST_DAYS,
        description="Pixels of steps on the way, since they were last used; facts and files of the step stay.",
    )
    steps_days: int | None = Field(
        default=30,
        ge=1,
        le=LONGEST_DAYS,
        description="Steps that led to nothing delivered (failed, stopped, interrupted), since they were last used.",
    )
    outputs_days: int | None = Field(
        default=365,
        ge=1,
        le=LONGEST_DAYS,
        description="How long a run holds on to what it delivered, after its end; live catalogue rows do for ever.",
    )
    originals_days: int | None = Field(
        default=90, ge=1, le=LONGEST_DAYS, description="Photographs and clips that nothing was kept of."
    )
    assets_days: int | None = Field(
        default=90, ge=1, le=LONGEST_DAYS, description="Other files that nothing kept was made with: masks, LUTs, ..."
    )
    quarantine_days: int | None = Field(
        default=30,
        ge=1,
        le=LONGEST_DAYS,
        description="What a guardrail stopped, after somebody released it; until then it is always kept.",
    )
    events_days: int | None = Field(
        default=90, ge=1, le=LONGEST_DAYS, description="Events about runs that their sink has taken."
    )
    reports_days: int | None = Field(
        default=90, ge=1, le=LONGEST_DAYS, description="Pictures and tables of runs shown in the Prefect UI."
    )
    grace_hours: int = Field(
        default=24, ge=1, le=8760, description="What was written or used within this time is never removed."
    )
