"""Another model takes over for an item where the chosen one fails by its own fault: each once, with a warning.

Models that the user named do not: who names one wants that one. Nor is anything tried again once something was bought
for the item: its purchase was made from what the first models had made.
"""

from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

from datasets.errors import PipelineError
from flows.choosing import Routing, choices_of, routing_of_run
from flows.journey_state import Journey
from flows.summary import ItemResult, Reason
from model_blocks.choice import ModelRef
from model_blocks.model_errors import FAULTS
from model_blocks.routing_types import Decision
from tasks.context import change_models, current_run, within_run

PAID = "place"


class TakenOverError(Exception):
    """The item begins again with another model."""


@dataclass
class _Way:
    """The models of one item.

    Attributes:
        failed: Those that failed for it, by capability.
        warnings: What is said of that.
    """

    routing: Routing
    item: str
    decisions: dict[str, Decision]
    failed: dict[str, list[str]] = field(default_factory=dict)
    warnings: list[Reason] = field(default_factory=list)

    def left(self, capability: str) -> list[str]:
        """The chosen model and those behind it, without what failed."""
        decision, failed = self.decisions[capability], self.failed.get(capability, [])
        return [name for name in (decision.chosen, *decision.fallbacks) if name not in failed]

    @property
    def models(self) -> dict[str, ModelRef]:
        return {capability: self.routing.ref(self.left(capability)[0]) for capability in self.decisions}


_WAY: ContextVar[_Way | None] = ContextVar("stillmotion_models_of_item", default=None)


def with_fallbacks(item: str, take: Callable[[], ItemResult]) -> ItemResult:
    """Take an item through its recipe, again where another model takes over."""
    routing = routing_of_run()
    if routing is None:
        return take()
    token = _WAY.set(way := _Way(routing, item, routing.decisions))
    try:
        while True:
            with within_run(replace(current_run(), models=way.models)):
                try:
                    return take()
                except TakenOverError:
                    continue
    finally:
        _WAY.reset(token)


def taken_over() -> Sequence[Reason]:
    """Warnings about models that failed on the current item's way."""
    way = _WAY.get()
    return way.warnings if way else ()


def decisions_of_item() -> dict[str, Decision]:
    """Why the current item's models were chosen."""
    way = _WAY.get()
    return way.decisions if way else {}


def choose_for_size(long_side: int) -> None:
    """From here on the current item's models are those that the rules want for its size."""
    way = _WAY.get()
    if way is None or not way.routing.asks_for_size:
        return
    before, way.decisions = way.routing.decisions, way.routing.sized(long_side)
    change_models(way.models)
    run = current_run()
    other = {name: each for name, each in way.decisions.items() if each.chosen != before[name].chosen}
    if other and not run.dry:
        with run.ledger.session(run.storage.tenant) as session:
            for choice in choices_of(other, run.run_id, way.item):
                session.record_choice(choice)


def hand_over(journey: Journey, error: PipelineError) -> None:
    """Let the next model take over, if it was the model's own fault and there is one.

    Raises:
        TakenOverError: The item is to begin again.
    """
    way = _WAY.get()
    bought = any(stage.stage == PAID for stage in journey.stages)
    if way is None or bought or not isinstance(error, FAULTS):
        return
    for capability, name in _blamed(error):
        if len(way.left(capability)) > 1:
            _take_over(way, capability, name, error)
            current_run().progress.again(journey.item, len(journey.stages))
            raise TakenOverError from error


def _blamed(error: PipelineError) -> Iterator[tuple[str, str]]:
    """Capability and name of the models that may have failed: the one the error names, else those with weights."""
    models = current_run().models
    ran = error.facts.get("models")
    names = ran if isinstance(ran, list) else []
    named = {error.facts.get(fact) for fact in ("model", "name", "path")} - {None}
    told = [(each, ref) for each, ref in models.items() if ref.name in named or (ref.path and ref.path in named)]
    others = [(each, ref) for each, ref in models.items() if ref.name in names]
    for capability, ref in told or sorted(others, key=lambda found: found[1].facts.embedded):
        yield capability, ref.name


def _take_over(way: _Way, capability: str, name: str, error: PipelineError) -> None:
    """Strike the model out for this item, and those behind it whose weights are gone; say and keep what took over."""
    run, failed = current_run(), way.failed.setdefault(capability, [])
    failed.append(name)
    while len(way.left(capability)) > 1:
        try:
            way.routing.ref(way.left(capability)[0])
            break
        except FAULTS:
            failed.append(way.left(capability)[0])
    taking = way.left(capability)[0]
    message = f"{name} failed to {capability}: {error.message}; {taking} took over"
    facts: dict[str, object] = {"capability": capability, "failed": list(failed), "code": error.code, "model": taking}
    way.warnings.append(Reason("model_fallback", message, facts, "warning"))
    decision = {capability: way.decisions[capability]}
    with run.ledger.session(run.storage.tenant) as session:
        for choice in choices_of(decision, run.run_id, way.item, len(failed), taking):
            session.record_choice(choice)
