"""The models of a run: chosen once, with the reasons, and again for items whose size a tenant's rules ask for."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property

from datasets.errors import UsageError
from datasets.ledger import ChosenModel, Ledger, ModelTimes
from datasets.settings import Settings
from flows.order import Order
from flows.recipes import Recipe
from model_blocks.choice import ModelRef, Selection, decide_model, ref_of
from model_blocks.model_errors import FAULT_CODES
from model_blocks.registry import Capability, ModelFacts, find_model
from model_blocks.routing_candidates import PROVIDERS, Wishes
from model_blocks.routing_rules import read_rules
from model_blocks.routing_types import Decision, History
from model_blocks.weight_files import find_weights, look

HISTORY = timedelta(days=7)
MICRO_USD = 1_000_000


class Routing:
    """What a run's models are chosen by, and what came of it.

    Args:
        ledger: Where the history is; None: nothing is known.
        out_of_service: Models that nobody may choose at the moment.

    Raises:
        ModelUnknownError: A capability has no model that may be used.
        SettingsError: The tenant's rules do not hold.
        UsageError: The preferred provider is not known.
    """

    def __init__(
        self,
        settings: Settings,
        order: Order,
        recipe: Recipe,
        ledger: Ledger | None = None,
        out_of_service: frozenset[str] = frozenset(),
    ) -> None:
        if order.prefer not in (None, *PROVIDERS):
            raise UsageError(f"unknown provider {order.prefer!r}; known: {', '.join(PROVIDERS)}", provider=order.prefer)
        self._settings, self._order, self._ledger = settings, order, ledger
        self._selection = _selection(order.models)
        cost = order.max_cost_usd
        self._wishes = Wishes(
            quality=order.quality,
            max_cost_micro_usd=None if cost is None else round(cost * MICRO_USD),
            max_latency_s=order.max_latency_s,
            prefer=order.prefer,
            recipe=recipe.title,
            rules=read_rules(settings.routing),
            histories=self._histories,
            out_of_service=out_of_service,
        )
        self._refs: dict[str, ModelRef] = {}
        self.decisions: dict[str, Decision] = {each: self._decide(each, self._wishes) for each in recipe.capabilities}

    @property
    def asks_for_size(self) -> bool:
        """Whether a rule depends on how large an item is."""
        return any(rule.when.ask_for_size for rule in self._wishes.rules)

    def sized(self, long_side: int) -> dict[str, Decision]:
        """The decisions for an item of a size."""
        wishes = self._wishes.sized(long_side)
        return {name: self._decide(each.request.capability, wishes) for name, each in self.decisions.items()}

    def ref(self, name: str) -> ModelRef:
        """A model with its weights found.

        Raises:
            WeightsMissingError, WeightsDamagedError: They are not there, or cannot be read.
        """
        if name not in self._refs:
            ref = ref_of(name, self._settings.device)
            self._refs[name] = ref if ref.facts.embedded else self._with_weights(ref)
        return self._refs[name]

    def _with_weights(self, ref: ModelRef) -> ModelRef:
        weights_dir, given = self._settings.weights_dir, self._order.weights
        found = find_weights(ref.facts, weights_dir=weights_dir, overrides=given)
        return replace(ref, weights=found.sha256, path=str(found.path), published=found.published)

    def _decide(self, capability: Capability, wishes: Wishes) -> Decision:
        return decide_model(
            capability,
            self._selection,
            device=self._settings.device,
            purpose=self._order.purpose,
            available=self._available,
            given=self._order.weights,
            wishes=wishes,
        )

    def _available(self, facts: ModelFacts) -> bool:
        given = facts.name in self._order.weights
        return given or look(facts, weights_dir=self._settings.weights_dir).presence == "present"

    @cached_property
    def _times(self) -> Mapping[tuple[str, str], ModelTimes]:
        if self._ledger is None:
            return {}
        since = datetime.now(UTC) - HISTORY
        with self._ledger.session(self._settings.tenant, read_only=True) as session:
            return session.model_times(flow=self._order.flow, since=since, faults=FAULT_CODES)

    def _histories(self, device: str) -> dict[str, History]:
        """Of models on a device; what needs no weights runs on the CPU, also where others of its stage do not."""
        found = {name: times for (name, where), times in self._times.items() if where == device}
        return {
            name: History(
                successes=len(times.seconds), failures=times.failures, median_s=times.median_s, p95_s=times.p95_s
            )
            for name, times in found.items()
        }


_ROUTING: ContextVar[Routing | None] = ContextVar("stillmotion_routing", default=None)


def routing_of_run() -> Routing | None:
    """What the current run's models are chosen by."""
    return _ROUTING.get()


@contextmanager
def routed_by(routing: Routing) -> Iterator[None]:
    """Items worked on inside find this routing."""
    token = _ROUTING.set(routing)
    try:
        yield
    finally:
        _ROUTING.reset(token)


def choices_of(
    decisions: Mapping[str, Decision], run_id: str, item: str = "", position: int = 0, model: str | None = None
) -> list[ChosenModel]:
    """Decisions as rows of the ledger.

    Args:
        item: Whom they are for; empty: all items of the run.
        position: How many models had failed before.
        model: The one that took over; None: the one that was chosen.
    """
    now = datetime.now(UTC)
    return [
        ChosenModel(
            run_id=run_id,
            item=item,
            capability=capability,
            position=position,
            model=model or decision.chosen,
            licence=find_model(model or decision.chosen).licence,
            purpose=decision.request.purpose,
            reason=reason_for(decision, model or decision.chosen),
            record=decision.model_dump(mode="json"),
            at=now,
        )
        for capability, decision in decisions.items()
    ]


def reason_for(decision: Decision | None, model: str) -> str:
    """Why a model was used: it was chosen, or took over; empty where nothing is known of it."""
    if decision is None:
        return ""
    if model == decision.chosen:
        return decision.reason
    return f"{decision.chosen} failed" if model in decision.fallbacks else ""


def _selection(models: str | dict[str, str]) -> Selection:
    if isinstance(models, str) and models.startswith("block:"):
        from model_blocks.blocks import load_selection

        return load_selection(models.removeprefix("block:"))
    return models
