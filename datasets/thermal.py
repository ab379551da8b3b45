"""How ready a model is to be kept: the words that ledger, workers and commands share."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

from datasets.errors import UsageError

Thermal = Literal["off", "cold", "warm", "hot", "automatic"]
THERMAL: tuple[Thermal, ...] = get_args(Thermal)


@dataclass(frozen=True)
class Wanted:
    """What somebody wants of a model.

    Attributes:
        thermal: ``off``: not used at all. ``cold``: loaded when it is asked for, let go soon after, and before others.
            ``warm``: loaded when a worker starts and kept until a time, then ``automatic``. ``hot``: the same for
            good. ``automatic``: kept while it is asked for.
        warm_until: When ``warm`` ends.
    """

    thermal: Thermal = "automatic"
    warm_until: datetime | None = None

    def __post_init__(self) -> None:
        if self.thermal not in THERMAL:
            raise UsageError(f"a model is {', '.join(THERMAL)}, not {self.thermal!r}")
        if (self.thermal == "warm") != (self.warm_until is not None):
            raise UsageError("a model is warm until a time, and no other state has one")

    def at(self, moment: float) -> Thermal:
        """The state at a moment, in seconds since the epoch: what was warm is automatic once its time is over."""
        if self.warm_until is not None and self.warm_until.timestamp() <= moment:
            return "automatic"
        return self.thermal

    def now(self) -> Thermal:
        return self.at(datetime.now(UTC).timestamp())


AUTOMATIC = Wanted()
