"""Sums of money as they are shown."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Money:
    """Sums in US dollars.

    Attributes:
        avoided: By reason, before anything was taken back.
        held: Held for what is on its way; ``unknown`` for what may have been charged.
    """

    spent: float = 0.0
    avoided_net: float = 0.0
    avoided: dict[str, float] = field(default_factory=dict)
    reversed: float = 0.0
    guard_cost: float = 0.0
    held: float = 0.0
    unknown: float = 0.0

    def to_json(self) -> dict[str, object]:
        return {
            "spent_usd": self.spent,
            "avoided_usd": self.avoided_net,
            "avoided": self.avoided,
            "reversed_usd": self.reversed,
            "guard_cost_usd": self.guard_cost,
            "held_usd": self.held,
            "unknown_usd": self.unknown,
        }
