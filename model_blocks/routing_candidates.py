"""Candidates for routing, from the registry, the quality table, and what the ledger knows of the last days."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from model_blocks.facts import Capability, ModelFacts
from model_blocks.quality import standing
from model_blocks.registry import known_models
from model_blocks.routing_types import Candidate, History, Level, Rule

PROVIDERS = ("embedded", "official")
Histories = Callable[[str], Mapping[str, History]]


def no_history(_: str) -> Mapping[str, History]:
    """Nothing was ever computed."""
    return {}


@dataclass(frozen=True)
class Wishes:
    """What a run wants of its models beside what they can do: limits, level, tenant's rules, what is known of them.

    Attributes:
        quality: ``economy``, ``balanced`` or ``premium``.
        max_cost_micro_usd: Most that an item may cost, for each capability.
        max_latency_s: Longest that an item may take, for each capability.
        prefer: A provider whose models come first.
        recipe: The recipe's title, for rules.
        long_side: Pixels of an item's longer side, for rules; None: not known yet.
        rules: The tenant's.
        histories: What the ledger knows of models on a device; asked only where there is a choice.
        out_of_service: Models that nobody may choose at the moment.
    """

    quality: Level = "balanced"
    max_cost_micro_usd: int | None = None
    max_latency_s: float | None = None
    prefer: str | None = None
    recipe: str = ""
    long_side: int | None = None
    rules: tuple[Rule, ...] = ()
    histories: Histories = no_history
    out_of_service: frozenset[str] = frozenset()

    def sized(self, long_side: int) -> "Wishes":
        """The same for an item of a size."""
        return replace(self, long_side=long_side)


def candidate(
    facts: ModelFacts, *, device: str, available: bool = True, given: bool = False, remedy: str = ""
) -> Candidate:
    """A registered model as a candidate; models that run here cost nothing."""
    known = standing(facts)
    return Candidate(
        name=facts.name,
        capability=facts.capability,
        provider="embedded" if facts.embedded else "official",
        licence=facts.licence,
        purposes=facts.purposes,
        quality=known.quality,
        measured=known.measured,
        prior_s=known.seconds_on(device),
        available=available,
        remedy=remedy,
        given=given,
        auto_on=facts.auto_on,
    )


def candidates_for(
    capability: Capability,
    *,
    device: str,
    available: Callable[[ModelFacts], bool],
    given: Collection[str],
    remedy: Callable[[ModelFacts], str],
    wishes: Wishes,
) -> list[Candidate]:
    """All registered models of a capability, official ones first: of equal scores, they have it."""
    known = sorted(known_models(capability), key=lambda facts: facts.embedded)
    found = [
        candidate(
            facts,
            device="cpu" if facts.embedded else device,
            available=facts.embedded or available(facts),
            given=facts.name in given,
            remedy="" if facts.embedded else remedy(facts),
        )
        for facts in known
    ]
    if sum(each.available for each in found) > 1:
        found = [_with_history(each, device, wishes.histories) for each in found]
    return [each.model_copy(update={"out_of_service": each.name in wishes.out_of_service}) for each in found]


def _with_history(found: Candidate, device: str, histories: Histories) -> Candidate:
    """Embedded models run on the CPU; a stage in which another ran on the device counts for the device."""
    known = histories(device).get(found.name)
    if known is None and found.provider == "embedded":
        known = histories("cpu").get(found.name)
    return found.model_copy(update={"history": known})
