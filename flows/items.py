"""One item's way through a recipe. Items fail apart from each other: whatever happens to one stays with it."""

from pathlib import Path

from datasets.errors import PipelineError
from flows.fallback import choose_for_size, with_fallbacks
from flows.journey import deliver, guarded, repaired, result
from flows.journey_state import Journey
from flows.recipes import INTAKE, SINKS, Recipe, Step
from flows.summary import ItemResult, Reason
from tasks.compose import ComposeConfig, compose
from tasks.context import current_run
from tasks.cutout import CutoutConfig, cutout
from tasks.ends import NotDeliveredError
from tasks.faces import FacesConfig, faces
from tasks.gate_config import GateConfig
from tasks.grade import GradeConfig, prepare_grade
from tasks.inpaint import InpaintPhotoConfig, inpaint_photo
from tasks.intake import intake, intake_asset
from tasks.local import LocalStage, local_stage
from tasks.own_stage import OwnStage, OwnStageConfig
from tasks.place_config import PlaceConfig
from tasks.publish import PublishConfig, publish, published
from tasks.restyle_config import RestyleConfig
from tasks.stage import Picture, StageOutcome, WouldComputeError, skip_stage
from tasks.thumbnails import ThumbnailsConfig, published_thumbnails, thumbnails
from tasks.upscale import UpscaleConfig, UpscaleStage
from tasks.warming import warm_up

LOCAL = (UpscaleConfig, GradeConfig, OwnStageConfig)


class _Journey(Journey):
    """The way of one photograph: a small graph of pictures."""

    def __init__(self, item: str, source: str, recipe: Recipe, out: Path, kept: str | None = None) -> None:
        super().__init__(item, source, recipe, out, stages_of(recipe), INTAKE)
        self.kept = kept
        self.pictures: dict[str, Picture] = {}
        self._gated = any(isinstance(step.config, GateConfig) for step in recipe.steps)

    def keep(self, name: str, outcome: StageOutcome) -> None:
        self.pictures[name] = outcome.picture
        self.stages.append(outcome)
        if name == INTAKE and outcome.picture.facts.get("asset"):
            self.asset = str(outcome.picture.facts["asset"])
        if self._gated and not outcome.cached and not outcome.skipped:
            warm_up()  # only now: a run that finds everything in the store has no gate to evaluate


def process_item(item: str, source: str, recipe: Recipe, out: Path, *, kept: str | None = None) -> ItemResult:
    """Take one photograph through a recipe. Stored bytes that turn out to be damaged on the way are made again.

    Args:
        source: Its path, or where it came from if it is kept as an asset.
        kept: That asset's digest.

    Returns:
        What became of it; errors become reasons and are kept in the ledger.
    """

    def travel(journey: Journey) -> ItemResult:
        assert isinstance(journey, _Journey)
        return guarded(journey, lambda: _travel(journey))

    return with_fallbacks(item, lambda: repaired(lambda: _Journey(item, source, recipe, out, kept), travel))


def _travel(journey: _Journey) -> None:
    """All steps, one after the other."""
    kept = journey.kept
    journey.keep(INTAKE, intake_asset(journey.item, kept) if kept else intake(journey.item, journey.source))
    choose_for_size(_long_side(journey))
    for group in grouped(journey.recipe):
        journey.at = group[-1].config.stage_name
        _run_group(journey, group)


def _long_side(journey: _Journey) -> int:
    facts = journey.pictures[INTAKE].facts
    return max(int(str(facts["width"])), int(str(facts["height"])))


def plan_item(item: str, source: str, recipe: Recipe, out: Path) -> ItemResult:
    """What of an item's way is in the store already, and which stages would be computed."""
    return with_fallbacks(item, lambda: _plan(item, source, recipe, out))


def _plan(item: str, source: str, recipe: Recipe, out: Path) -> ItemResult:
    journey = _Journey(item, source, recipe, out)
    groups = grouped(recipe)
    names = [INTAKE, *(name for group in groups for name in _names(group))]
    try:
        journey.keep(INTAKE, intake(item, source))
        choose_for_size(_long_side(journey))
        for group in groups:
            _run_group(journey, group)
    except WouldComputeError:
        missing = ", ".join(names[len(journey.stages) :])
        reason = Reason("would_compute", f"Would be computed: {missing}.", {"stages": missing}, "plan")
        return result(journey, "planned", reason)
    except NotDeliveredError as end:
        return result(journey, end.status, *Reason.of_end(end))
    except PipelineError as error:
        return result(journey, "failed", Reason.of_error(error), failed_at=INTAKE)
    return result(journey, "planned", Reason("unchanged", "Everything is in the store already.", {}, "plan"))


def _names(group: tuple[Step, ...]) -> list[str]:
    """What a group's stages are called."""
    gate = isinstance(group[-1].config, GateConfig)
    return ["measure", "gate"] if gate else ["+".join(step.config.stage_name for step in group)]


def stages_of(recipe: Recipe) -> int:
    """How many stages an item goes through: a gate measures and decides."""
    return 1 + sum(len(_names(group)) for group in grouped(recipe))


def grouped(recipe: Recipe) -> list[tuple[Step, ...]]:
    """The steps in order, neighbouring chunk-local ones together where only the last one's picture is needed."""
    groups: list[tuple[Step, ...]] = []
    for step in recipe.steps:
        previous = groups[-1][-1] if groups else None
        if previous is not None and _fuses(recipe, previous, step):
            groups[-1] = (*groups[-1], step)
        else:
            groups.append((step,))
    return groups


def _fuses(recipe: Recipe, first: Step, second: Step) -> bool:
    """Whether the second step can work on the chunk the first one made, before anything is written."""
    chunk_local = isinstance(first.config, LOCAL) and isinstance(second.config, LOCAL)
    measured = isinstance(second.config, GradeConfig) and second.config.needs_statistics
    alone = second.source == first.name and recipe.consumers(first.name) == 1
    return chunk_local and alone and not measured and second.config.when is None and not recipe.keep


def _run_group(journey: _Journey, group: tuple[Step, ...]) -> None:
    first, last = group[0], group[-1]
    source = journey.pictures[first.source]
    reason = first.config.when.reason_to_skip(source.facts) if first.config.when else None
    if reason is not None:
        journey.keep(first.name, skip_stage(journey.item, first.config.stage_name, source, reason))
        if len(group) > 1:
            _run_group(journey, group[1:])
        return
    if isinstance(last.config, GateConfig):
        from flows.guarding import pass_gate  # with all that measures and buys; most recipes need none of it

        for outcome in pass_gate(journey, last, journey.pictures):
            journey.keep(last.name, outcome)
        return
    journey.keep(last.name, _run_steps(journey, group, source))
    if isinstance(last.config, SINKS) and not current_run().dry:
        _deliver(journey, last, journey.stages[-1])


def _run_steps(journey: _Journey, group: tuple[Step, ...], source: Picture) -> StageOutcome:
    config = group[0].config
    match config:
        case CutoutConfig():
            made = cutout(journey.item, source, config)
        case ComposeConfig():
            made = compose(journey.item, source, config)
        case PlaceConfig() | RestyleConfig():
            made = _reach_out(journey, group[0], source)
        case PublishConfig():
            made = publish(journey.item, source, config)
        case ThumbnailsConfig():
            made = thumbnails(journey.item, source, config)
        case InpaintPhotoConfig():
            made = inpaint_photo(journey.item, source, config)
        case FacesConfig():
            made = faces(journey.item, source, config)
        case _:
            made = local_stage(journey.item, source, [_local(step, source) for step in group])
    return made


def _reach_out(journey: _Journey, step: Step, source: Picture) -> StageOutcome:
    """A stage that speaks to the outside, imported with all it needs only now; most recipes have none."""
    if isinstance(step.config, RestyleConfig):
        from tasks.restyle import restyle_picture

        return restyle_picture(journey.item, source, step.config)
    from flows.guarding import place_step

    return place_step(journey, step, journey.pictures)


def _local(step: Step, source: Picture) -> LocalStage:
    if isinstance(step.config, UpscaleConfig):
        return UpscaleStage(step.config, current_run().models["upscale"])
    if isinstance(step.config, OwnStageConfig):
        return OwnStage(step.config)
    assert isinstance(step.config, GradeConfig)
    return prepare_grade(step.config, source)


def _deliver(journey: _Journey, step: Step, outcome: StageOutcome) -> None:
    if isinstance(step.config, ThumbnailsConfig):
        deliver(journey, step, published_thumbnails(outcome, step.config))
    else:
        deliver(journey, step, [published(outcome, step.role)])
