"""What a gate said of an item."""

from dataclasses import asdict, dataclass
from typing import Literal

from expectations.suites import GateName, Level

Verdict = Literal["pass", "warn", "stop", "error"]
NOT_EVALUATED = "gate_not_evaluated"


@dataclass(frozen=True)
class ExpectationResult:
    """One expectation on one item.

    Attributes:
        expectation: Its name in the suite.
        measure: What was looked at.
        observed: The value; None if there is none.
        bound: What was asked for: ``min``, ``max``, ``one_of`` or ``not_null``.
        level: What a failure means.
        success: None: the value is not known. That is an error, unless ``skipped``.
        skipped: It does not concern this item.
    """

    expectation: str
    measure: str
    observed: float | int | str | None
    bound: dict[str, object]
    level: Level
    success: bool | None
    skipped: bool = False

    @property
    def sentence(self) -> str:
        """What was seen and what was asked for."""
        return f"{self.expectation}: {self.measure} is {_shown(self.observed)}, expected {asked_words(self.bound)}"


@dataclass(frozen=True)
class Decision:
    """What becomes of an item at a gate.

    Attributes:
        item: Its name.
        gate: Which gate.
        decision: ``pass``, ``warn`` (it goes on), ``stop`` (it is quarantined), or ``error``: no expectation stopped
            it, but one that it must meet could not be evaluated, so it must not go on either.
        measures: All values of its row that are known.
        expectations: Every expectation of the suite.
    """

    item: str
    gate: GateName
    decision: Verdict
    measures: dict[str, float | int | str]
    expectations: tuple[ExpectationResult, ...]

    @property
    def code(self) -> str | None:
        """``gate_not_evaluated`` of an error."""
        return NOT_EVALUATED if self.decision == "error" else None

    @property
    def goes_on(self) -> bool:
        return self.decision in ("pass", "warn")

    @property
    def failed(self) -> tuple[ExpectationResult, ...]:
        """The expectations that the item does not meet."""
        return tuple(each for each in self.expectations if each.success is False)

    @property
    def unknown(self) -> tuple[ExpectationResult, ...]:
        """The expectations that could not be evaluated and should have been."""
        return tuple(each for each in self.expectations if each.success is None and not each.skipped)

    @property
    def reasons(self) -> list[str]:
        """A sentence for every expectation that failed or could not be evaluated."""
        return [each.sentence for each in self.failed] + [
            f"{each.expectation}: {each.measure} is not known" for each in self.unknown
        ]

    def to_json(self) -> dict[str, object]:
        """As JSON-ready values."""
        return {
            "item": self.item,
            "gate": self.gate,
            "decision": self.decision,
            "measures": dict(self.measures),
            "expectations": [asdict(each) for each in self.expectations],
        }


def verdict(results: tuple[ExpectationResult, ...]) -> Verdict:
    """A failure that stops outweighs a value that is missing: what is known is enough to stop."""
    if any(each.success is False and each.level == "stop" for each in results):
        return "stop"
    if any(each.success is None and not each.skipped for each in results):
        return "error"
    return "warn" if any(each.success is False for each in results) else "pass"


def _shown(value: float | int | str | None) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def asked_words(bound: dict[str, object]) -> str:
    """A bound as people read it."""
    low, high = bound.get("min"), bound.get("max")
    if "one_of" in bound:
        return f"one of {bound['one_of']}"
    if low is not None and high is not None:
        return f"{low} to {high}"
    if low is not None:
        return f"at least {low}"
    return f"at most {high}" if high is not None else "a value"
