"""What upkeep is asked to do: the parameters of its form, its command line and its schedule."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from datasets.retention import RetentionRules


class UpkeepPart(StrEnum):
    """One thing that upkeep does. They are done in this order."""

    RUNS = "runs"  # close those whose process is gone, in the ledger and in Prefect
    PARTS = "parts"  # files that killed processes left half-written
    SWEEP = "sweep"  # purchases of processes that are gone
    DRAIN = "drain"  # tell waiting events
    LOOK_UP = "look-up"  # ask what may have been charged
    RECONCILE = "reconcile"  # hold the books against a provider's list
    DUE = "due"  # warn of credentials that end
    MODELS = "models"  # cool models that were to be warm for a while
    RETENTION = "retention"  # remove what nothing holds on to any more


class UpkeepOrder(BaseModel):
    """Which parts are done, and how long what nothing holds on to is kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parts: tuple[UpkeepPart, ...] = Field(
        default=tuple(UpkeepPart),
        min_length=1,
        description="What is done; whichever is named, the order stays. One that fails does not stop the others.",
    )
    dry_run: bool = Field(
        default=False, description="Change nothing; only say what retention would remove and how many bytes that is."
    )
    retention: RetentionRules = Field(
        default=RetentionRules(), description="Days that things of each kind are kept; empty keeps them for ever."
    )
    usage_export: str | None = Field(
        default=None,
        description="Path of a provider's usage export (.csv, .json) for the part reconcile; empty: that part is idle.",
    )
