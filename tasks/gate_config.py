"""How a gate stands in a recipe."""

from typing import Any, Literal

from pydantic import Field

from expectations.suites import GateName
from tasks.config import StageConfig, StageId


class GateConfig(StageConfig):
    """Measure the picture and stop it if it is not good enough for what comes next."""

    stage: Literal["gate"] = "gate"
    gate: GateName = Field(description="Which suite decides: intake, spend (before a paid stage), delivery.")
    thresholds: dict[str, dict[str, Any] | None] = Field(
        default_factory=dict,
        description="What this recipe wants different, by expectation: {'sharp': {'min': 30}}; null takes one out.",
    )
    cutout: StageId | None = Field(
        default=None,
        description="Stage whose picture the product is compared with at the delivery gate; empty: what was placed.",
    )
