"""The check flow: a gate alone on photographs. It says what it would let pass, and keeps nothing back."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field

from datasets.lineage.outbox import draining
from datasets.settings import Settings, read_settings
from expectations.data_docs import check_docs_folder, write_data_docs
from expectations.decisions import Decision, Verdict
from expectations.suites import GateName, Suite, suite
from flows.artifacts import publish_artifacts
from flows.bookkeeping import alive, begin_run, close_cancelled, close_crashed, close_failed, end_run
from flows.guarding import reason_of, write_down
from flows.journey import guarded, repaired
from flows.journey_state import Journey
from flows.opening import open_run, progress_of_caller
from flows.order import Order
from flows.recipes import INTAKE, Recipe, Step
from flows.summary import ItemResult, Reason, RunSummary, overall_status
from flows.working import process_all, run_id_here
from tasks.context import RunContext, within_run
from tasks.cutout import CutoutConfig, cutout
from tasks.ends import StoppedError
from tasks.gate import decide, decision_of, measure, measures_of
from tasks.gate_config import GateConfig
from tasks.gate_keeper import GateKeeper
from tasks.intake import intake
from tasks.ops.names import safe_item_names
from tasks.stage import StageOutcome
from tasks.warming import warm_up

SHOWN = ("expectation", "measure", "observed", "bound", "level", "success")
ROWS = 8  # photographs on their way at once: while some are validated together, the next are measured


class CheckOrder(Order):
    """Photographs and the gate that looks at them."""

    photos: tuple[str, ...] = Field(min_length=1, description="Paths of the photographs.")
    gate: GateName = Field(default="intake", description="intake, spend (of the cutout) or delivery.")
    thresholds: dict[str, dict[str, dict[str, Any] | None]] = Field(
        default_factory=dict,
        description="What this check wants different, by gate and expectation: {'intake': {'sharp': {'min': 30}}}.",
    )
    docs: str | None = Field(default=None, description="Folder for Great Expectations' Data Docs; empty: none.")

    @property
    def sources(self) -> tuple[str, ...]:
        return self.photos


@dataclass(frozen=True)
class Checked:
    """What a gate says of one photograph.

    Attributes:
        decision: ``pass``, ``warn``, ``stop``, or ``error``: it could not be read or evaluated, see ``reasons``.
        measures: All values that are known.
        expectations: ``{expectation, measure, observed, bound, level, success}`` each; a success of None: the value is
            not known and does not concern this photograph.
    """

    item: str
    decision: Verdict
    measures: dict[str, Any]
    expectations: tuple[dict[str, Any], ...] = ()
    reasons: tuple[Reason, ...] = ()

    @classmethod
    def of(cls, decision: Decision) -> "Checked":
        entries = tuple({name: getattr(each, name) for name in SHOWN} for each in decision.expectations)
        return cls(decision.item, decision.decision, dict(decision.measures), entries)

    @property
    def failed(self) -> tuple[dict[str, Any], ...]:
        return tuple(each for each in self.expectations if each["success"] is False)

    def to_json(self) -> dict[str, object]:
        told = {"reasons": [reason.to_json() for reason in self.reasons]} if self.decision == "error" else {}
        return {
            "item": self.item,
            "decision": self.decision,
            "measures": self.measures,
            "expectations": list(self.expectations),
            **told,
        }


@dataclass(frozen=True)
class CheckSummary:
    """A whole check. ``run`` has its status: checked, partial (something was stopped), failed, unreadable."""

    run: RunSummary
    gate: GateName
    items: tuple[Checked, ...]
    docs: str | None = None

    @property
    def exit_status(self) -> int:
        return self.run.exit_status

    def to_json(self) -> dict[str, object]:
        return {
            "run_id": self.run.run_id,
            "status": self.run.status,
            "gate": self.gate,
            "seconds": round(self.run.seconds, 3),
            "items": [item.to_json() for item in self.items],
            "data_docs": self.docs,
        }


@flow(
    name="check",
    retries=0,
    persist_result=False,
    on_failure=[close_failed],
    on_crashed=[close_crashed],
    on_cancellation=[close_cancelled],
)
def check(order: CheckOrder) -> State[Any]:
    """Measure photographs and say what a gate makes of them. Nothing goes into quarantine, nothing is delivered.

    Returns:
        A state that holds the ``CheckSummary``: failed when a photograph could not be read or evaluated.
    """
    summary = run_check(order, read_settings())
    if summary.exit_status in (1, 2):
        return Failed(message="not every photograph could be checked", data=summary)
    return Completed(message=f"{len(summary.items)} photographs checked", data=summary)


def run_check(order: CheckOrder, settings: Settings) -> CheckSummary:
    """The flow's body.

    Raises:
        RecipeError: The thresholds do not hold.
        UsageError: The folder for Data Docs holds something else.
    """
    begun = time.perf_counter()
    asked = suite(order.gate, settings.gates, order.thresholds)
    if order.docs is not None:
        check_docs_folder(Path(order.docs))
    with _opened(order, settings) as (run, recipe, names):
        ways = list(zip(names, order.sources, strict=True))
        checks = {item: _Check(item, source, recipe, order.out_folder, asked) for item, source in ways}
        with alive(run):
            at_once = max(ROWS, run.executor.workers)
            results = process_all(run, lambda item, _: checks[item].run(), ways, at_once)
        found = tuple(checks[result.item].found(result) for result in results)
        docs = _write_docs(order, asked, found)
        summary = RunSummary(run.run_id, recipe.title, results, time.perf_counter() - begun, status=_status(results))
        end_run(run, summary)
        with draining(run.ledger, run.storage, settings):
            publish_artifacts(run, summary)
    return CheckSummary(summary, order.gate, found, docs)


def check_recipe_of(gate: GateName) -> Recipe:
    """The way of a photograph to a gate alone: the gate before a paid stage sees the cutout."""
    if gate != "spend":
        return Recipe(f"check {gate}", (Step("gate", GateConfig(gate=gate), INTAKE),))
    steps = (Step("cutout", CutoutConfig(), INTAKE), Step("gate", GateConfig(gate=gate), "cutout"))
    return Recipe(f"check {gate}", steps, ("segment", "matte"))


@contextmanager
def _opened(order: CheckOrder, settings: Settings) -> Iterator[tuple[RunContext, Recipe, list[str]]]:
    """The means of a check, its books begun."""
    recipe, names = check_recipe_of(order.gate), safe_item_names(order.sources)
    at_once = min(ROWS, len(names))
    with (
        open_run(run_id_here(), settings, order, recipe, progress_of_caller()) as opened,
        closing(GateKeeper(at_once)) as gates,
        within_run(replace(opened, gates=gates)) as run,
    ):
        begin_run(run, "check", order, recipe, names)
        run.progress.expect(len(names) * (len(recipe.steps) + 2))
        yield run, recipe, list(names)


class _Check:
    """The way of one photograph to its decision."""

    def __init__(self, item: str, source: str, recipe: Recipe, out: Path, asked: Suite) -> None:
        self._begin = lambda: Journey(item, source, recipe, out, len(recipe.steps) + 2, INTAKE)
        self._asked = asked
        self._decision: Decision | None = None
        self._measures: dict[str, Any] = {}

    def run(self) -> ItemResult:
        """Go there; whatever happens stays with the photograph."""
        result = repaired(self._begin, lambda journey: guarded(journey, lambda: self._travel(journey)))
        return replace(result, status="passed") if result.status == "delivered" else result

    def found(self, result: ItemResult) -> Checked:
        """What the gate said; where it said nothing, why."""
        if self._decision is not None and result.status in ("passed", "stopped"):
            return Checked.of(self._decision)
        return Checked(result.item, "error", self._measures, reasons=result.reasons)

    def _travel(self, journey: Journey) -> None:
        *before, gate = journey.recipe.steps
        picture = self._keep(journey, intake(journey.item, journey.source)).picture
        journey.asset = str(picture.facts["asset"])
        for step in before:
            journey.at = step.config.stage_name
            assert isinstance(step.config, CutoutConfig)
            picture = self._keep(journey, cutout(journey.item, picture, step.config)).picture
        journey.at = gate.config.stage_name
        measured = self._keep(journey, measure(journey.item, picture))
        self._measures = {name: value for name, value in measures_of(measured).items() if value is not None}
        decision = decision_of(journey.item, self._keep(journey, decide(journey.item, measured, self._asked)))
        self._decision = decision
        write_down(journey, gate, picture, decision, released=False)
        reasons = [reason_of(decision.gate, each) for each in decision.failed]
        if decision.decision == "stop":
            words = "; ".join(reason.message for reason in reasons)
            raise StoppedError(
                f"the {decision.gate} gate would stop it: {words}",
                gate=decision.gate,
                reasons=[reason.to_json() for reason in reasons],
            )
        journey.warnings += reasons

    @staticmethod
    def _keep(journey: Journey, outcome: StageOutcome) -> StageOutcome:
        journey.stages.append(outcome)
        if not outcome.cached:
            warm_up()
        return outcome


def _status(results: tuple[ItemResult, ...]) -> str:
    """As of any run; where nothing was stopped and nothing failed, everything was checked."""
    passed = tuple(replace(each, status="delivered") if each.status == "passed" else each for each in results)
    status = overall_status(passed)
    return "checked" if status == "delivered" else status


def _write_docs(order: CheckOrder, asked: Suite, found: tuple[Checked, ...]) -> str | None:
    if order.docs is None:
        return None
    rows = [{**each.measures, "item": each.item} for each in found if each.measures]
    return str(write_data_docs(Path(order.docs), asked, rows)) if rows else None
