"""The state of one item on its way through a recipe."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from flows.recipes import Recipe
from flows.summary import Delivered, Reason
from tasks.config import StageConfig
from tasks.stage import StageKey, StageOutcome


@dataclass
class Journey:
    """The state of one item on its way.

    Attributes:
        expected: Stages that it will go through in all.
        at: The stage it is at.
        asset: Digest of its source, once that is known.
        guardrails: Results of checks that go into the records of its files.
        charges: What was paid for it; goes there, too.
        warnings: What gates found and let pass.
    """

    item: str
    source: str
    recipe: Recipe
    out: Path
    expected: int
    at: str
    asset: str | None = None
    stages: list[StageOutcome] = field(default_factory=list)
    delivered: list[Delivered] = field(default_factory=list)
    guardrails: list[dict[str, object]] = field(default_factory=list)
    charges: list[dict[str, object]] = field(default_factory=list)
    warnings: list[Reason] = field(default_factory=list)

    @property
    def stage_configs(self) -> list[StageConfig]:
        """The recipe's stages as they were configured."""
        return [step.config for step in self.recipe.steps]

    def keys(self) -> dict[str, StageKey]:
        """The keys of the stages so far, those done in the same pass included, by their fingerprints."""
        return by_fingerprint(stage.key for stage in self.stages if stage.key is not None)


def by_fingerprint(keys: Iterable[StageKey]) -> dict[str, StageKey]:
    """Keys, those of fused stages included, by their fingerprints."""
    return {each.fingerprint: each for key in keys for each in (*key.fused, key)}
