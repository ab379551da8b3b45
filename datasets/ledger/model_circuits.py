"""When a model that keeps failing is taken out of use, and when it is tried again: arithmetic on a row, nothing else.

Source: Nygard, Release It!, 2nd edition 2018, "Circuit Breaker". Failures are counted in a row and not in a window, as
for services: a model that was not asked for did not recover.
"""

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from datasets.errors import UsageError

CircuitState = Literal["closed", "open", "half_open"]


@dataclass(frozen=True)
class ModelCircuitLimits:
    """When a model's circuit opens, and for how long.

    Attributes:
        failures: So many in a row open it.
        open_s: How long it stays open at first; doubled after every try that fails, up to ``longest_s``.
        try_s: How long the one try may take before another may be made.
    """

    failures: int = 3
    open_s: float = 300.0
    longest_s: float = 3600.0
    try_s: float = 1800.0

    def __post_init__(self) -> None:
        if self.failures < 1 or min(self.open_s, self.longest_s, self.try_s) <= 0:
            raise UsageError(f"a circuit needs at least one failure and periods above 0 s, got {self}")


DEFAULT_LIMITS = ModelCircuitLimits()


@dataclass(frozen=True)
class ModelCircuit:
    """How a model fares.

    Attributes:
        circuit: ``closed``: it is used. ``open``: it is not, until ``retry_at``; after that it may be tried.
            ``half_open``: somebody is trying it.
        failures: In a row.
        trips: How often it opened since it last worked.
    """

    circuit: CircuitState = "closed"
    failures: int = 0
    last_reason: str | None = None
    failed_at: datetime | None = None
    trips: int = 0
    retry_at: datetime | None = None
    try_ends_at: datetime | None = None

    def is_left_alone(self, at: datetime) -> bool:
        """Whether the model must not be chosen now."""
        end = self.try_ends_at if self.circuit == "half_open" else self.retry_at
        return self.circuit != "closed" and end is not None and end > at

    def failed(self, reason: str, at: datetime, limits: ModelCircuitLimits) -> "ModelCircuit":
        """After a failure of the model itself; one of work that began before it opened changes nothing but words."""
        told = replace(self, failures=self.failures + 1, last_reason=reason, failed_at=at)
        if self.circuit == "open" and self.is_left_alone(at):
            return told
        if self.circuit == "closed" and told.failures < limits.failures:
            return told
        period_s = min(math.ldexp(limits.open_s, min(self.trips, 64)), limits.longest_s)
        retry_at = at + timedelta(seconds=period_s)
        return replace(told, circuit="open", trips=self.trips + 1, retry_at=retry_at, try_ends_at=None)

    def worked(self, at: datetime) -> "ModelCircuit":
        """After the model did its work; an open circuit waits for its try all the same."""
        if self.circuit == "open" and self.is_left_alone(at):
            return self
        return ModelCircuit(last_reason=self.last_reason, failed_at=self.failed_at)

    def tried(self, at: datetime, limits: ModelCircuitLimits) -> "ModelCircuit":
        """Somebody uses the model now: where its time has come, that is the one try."""
        if self.circuit == "closed" or self.is_left_alone(at):
            return self
        return replace(self, circuit="half_open", try_ends_at=at + timedelta(seconds=limits.try_s))
