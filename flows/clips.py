"""One clip's way through a recipe. What is delivered is asked for first: nothing before it is made if it is there."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from datasets.errors import PipelineError
from datasets.outputs import Manifest, OutputPlace, find_output
from datasets.settings import MEBIBYTE
from flows.clip_recipes import CLIP_SINKS, DECODE
from flows.journey import Journey, deliver, discard, guarded, held, repaired, result
from flows.recipes import Recipe, Step
from flows.summary import ItemResult, Reason
from model_blocks.choice import ModelRef
from tasks.chunks import Limits
from tasks.clip_encode import EncodeConfig, encode_clip, encode_key, published_clip
from tasks.clip_local import clip_stage
from tasks.clip_masks import InpaintConfig, InpaintStage, MatteConfig, MatteStage
from tasks.clip_plan import (
    StagePlan,
    announced_bytes,
    plan_decode,
    plan_encode,
    plan_pass,
    plan_pictures,
    plan_propagate,
)
from tasks.clip_thumbnails import ClipThumbnailsConfig, clip_thumbnails, published_clip_thumbnails, thumbnails_key
from tasks.config import StageConfig
from tasks.context import current_run
from tasks.decode import DecodeConfig, Probe, decode, decode_key, probe_clip
from tasks.grade import GradeConfig, prepare_grade
from tasks.intake import photo_limits
from tasks.interpolate import InterpolateConfig, InterpolateStage
from tasks.local import LocalStage, fused_key
from tasks.plan import refuse_disk
from tasks.propagate import PropagateConfig, propagate_clip, propagate_key
from tasks.stage import Picture, StageKey, StageOutcome
from tasks.upscale import UpscaleConfig, UpscaleStage

LOCAL = (UpscaleConfig, GradeConfig, InterpolateConfig, MatteConfig, InpaintConfig)


@dataclass
class Node:
    """One stage, or several fused ones, of one clip.

    Attributes:
        name: Of its last step; ``decode`` for the first.
        key: What decides its output.
        source: What it works on; None for the first.
        steps: What it does; empty for the first.
        outcome: What it came to, once that is known.
    """

    name: str
    key: StageKey
    source: "Node | None" = None
    steps: tuple[Step, ...] = ()
    outcome: StageOutcome | None = None

    @property
    def sink(self) -> bool:
        return bool(self.steps) and isinstance(self.steps[-1].config, CLIP_SINKS)

    @property
    def place(self) -> OutputPlace:
        return OutputPlace(current_run().storage, self.key.fingerprint)

    def stored(self) -> Manifest | None:
        return find_output(self.place)


@dataclass(frozen=True)
class ClipPlan:
    """What has to be computed, and the most disk that frames and segments take at one time."""

    stages: tuple[StagePlan, ...]
    disk_bytes: int


class _ClipJourney(Journey):
    """The way of one clip."""

    def __init__(self, item: str, source: str, recipe: Recipe, out: Path) -> None:
        super().__init__(item, source, recipe, out, len(grouped_clip(recipe)) + 1, DECODE)
        self.nodes: list[Node] = []


def process_clip(item: str, source: str, reading: DecodeConfig, recipe: Recipe, out: Path) -> ItemResult:
    """Take one clip through a recipe. Stored bytes that turn out to be damaged on the way are made again.

    Returns:
        What became of it; errors become reasons and are kept in the ledger.
    """

    def travel(journey: Journey) -> ItemResult:
        assert isinstance(journey, _ClipJourney)
        return guarded(journey, partial(_travel, journey, reading))

    return repaired(lambda: _ClipJourney(item, source, recipe, out), travel)


def _travel(journey: _ClipJourney, reading: DecodeConfig) -> None:
    probe = probe_clip(journey.source, reading)
    journey.asset = probe.asset
    journey.nodes = nodes_of(journey.recipe, reading, probe.asset)
    _announce(journey.item, refuse_plan(journey.nodes, probe, reading, keep=journey.recipe.keep))
    for node in journey.nodes:
        if node.sink:
            _ensure(journey, node, probe, reading)
            _deliver(journey, node)
    for node in journey.nodes:  # what was not needed is said to be there, and let go of in the end
        if node.outcome is None:
            _take_from_store(journey, node, probe, reading)
    _release(journey)


def _announce(item: str, plan: ClipPlan) -> None:
    """Say what the clip will take, where something is to be computed."""
    run = current_run()
    if plan.stages:
        memory, disk = announced_bytes(plan.stages, run.executor.workers) / MEBIBYTE, plan.disk_bytes / MEBIBYTE
        run.progress.noted(f"{item} takes up to {memory:,.0f} MiB of memory and {disk:,.0f} MiB of disk")


def plan_clip(item: str, source: str, reading: DecodeConfig, recipe: Recipe, out: Path) -> ItemResult:
    """What of a clip's way is in the store already, and which stages would be computed."""
    journey = _ClipJourney(item, source, recipe, out)
    try:
        probe = probe_clip(source, reading)
        journey.asset = probe.asset
        journey.nodes = nodes_of(recipe, reading, probe.asset)
        refuse_plan(journey.nodes, probe, reading, keep=recipe.keep)
    except PipelineError as error:
        return result(journey, "failed", Reason.of_error(error), DECODE)
    missing = ", ".join(node.key.label for node in needed(journey.nodes))
    if missing:
        reason = Reason("would_compute", f"Would be computed: {missing}.", {"stages": missing}, "plan")
        return result(journey, "planned", reason)
    return result(journey, "planned", Reason("unchanged", "Everything is in the store already.", {}, "plan"))


def needed(nodes: list[Node]) -> list[Node]:
    """What has to be computed: results that are missing, and whatever they are made of that is not there."""
    wanted: set[str] = set()
    for node in reversed(nodes):
        stored = node.stored()
        if node.sink and stored is None:
            wanted.add(node.name)
        read = any(_reads(other, node) and other.name in wanted for other in nodes)
        if not node.sink and read and (stored is None or stored.frames is None):
            wanted.add(node.name)
    return [node for node in nodes if node.name in wanted]


def _reads(node: Node, source: Node) -> bool:
    return node.source is source


def refuse_plan(nodes: list[Node], probe: Probe, reading: DecodeConfig, *, keep: bool) -> ClipPlan:
    """Work out what every stage needs.

    Raises:
        PlanTooLargeError, DiskTooSmallError: Something that has to be computed cannot fit; nothing was done yet.
    """
    run, plans = current_run(), dict[str, StagePlan]()
    missing = {node.name for node in needed(nodes)}
    if not missing:
        return ClipPlan((), 0)
    for node in nodes:
        plans[node.name] = _planned(node, plans, probe, reading, run.limits)
    disk, most = 0, 0
    done: set[str] = set()
    for node in nodes:
        if node.name in missing:
            disk += plans[node.name].disk_bytes
            most = max(most, disk)
        done.add(node.name)
        source = node.source
        if source and not keep and source.name in missing and _last_reader(nodes, source, done):
            disk -= plans[source.name].disk_bytes
    refuse_disk(run.storage, most, run.limits.disk_reserve_bytes)
    return ClipPlan(tuple(plans[name] for name in plans if name in missing), most)


def _last_reader(nodes: list[Node], source: Node, done: set[str]) -> bool:
    return all(node.name in done for node in nodes if _reads(node, source))


def _planned(
    node: Node, plans: Mapping[str, StagePlan], probe: Probe, reading: DecodeConfig, limits: Limits
) -> StagePlan:
    if node.source is None:
        return plan_decode(probe, reading, limits)
    before, config = plans[node.source.name], node.steps[-1].config
    if isinstance(config, EncodeConfig):
        return plan_encode(before, config, limits)
    if isinstance(config, ClipThumbnailsConfig):
        return plan_pictures(before, limits)
    if isinstance(config, PropagateConfig):
        return plan_propagate(before, limits)
    return plan_pass(before, _stages(node), limits)


def _stages(node: Node) -> list[LocalStage]:
    return [_local(step.config, current_run().models) for step in node.steps]


def _local(config: StageConfig, models: Mapping[str, ModelRef]) -> LocalStage:
    if isinstance(config, UpscaleConfig):
        return UpscaleStage(config, models["upscale"])
    if isinstance(config, InterpolateConfig):
        return InterpolateStage(config, models["interpolate"])
    if isinstance(config, MatteConfig):
        return MatteStage(config, models["matte"])
    if isinstance(config, InpaintConfig):
        return InpaintStage(config, models["inpaint"])
    assert isinstance(config, GradeConfig)
    return prepare_grade(config, Picture("", ""))


def _ensure(journey: _ClipJourney, node: Node, probe: Probe, reading: DecodeConfig, *, frames: bool = False) -> None:
    """Have a stage's result, its frames included where they are to be read."""
    if node.outcome is not None:
        return
    stored = node.stored()
    if stored is not None and frames and stored.frames is None:  # they were let go of; all of it is made anew
        discard(node.key.fingerprint)
        stored = None
    if node.source is not None and stored is None:
        _ensure(journey, node.source, probe, reading, frames=True)
    journey.at = node.key.label
    node.outcome = _run(journey, node, probe, reading)
    journey.stages.append(node.outcome)
    _release(journey)


def _take_from_store(journey: _ClipJourney, node: Node, probe: Probe, reading: DecodeConfig) -> None:
    """Note a stage whose result stands for it; one that left nothing behind is passed over."""
    if node.stored() is not None:
        node.outcome = _run(journey, node, probe, reading)
        journey.stages.append(node.outcome)


def _run(journey: _ClipJourney, node: Node, probe: Probe, reading: DecodeConfig) -> StageOutcome:
    if node.source is None:
        return decode(journey.item, journey.source, probe, reading)
    digest = node.source.key.fingerprint
    source = node.source.outcome.picture if node.source.outcome else Picture(digest, digest)
    config = node.steps[-1].config
    if isinstance(config, EncodeConfig):
        return encode_clip(journey.item, source, config, probe.asset)
    if isinstance(config, ClipThumbnailsConfig):
        return clip_thumbnails(journey.item, source, config)
    if isinstance(config, PropagateConfig):
        return propagate_clip(journey.item, source, config)
    return clip_stage(journey.item, source, _stages(node))


def _deliver(journey: _ClipJourney, node: Node) -> None:
    assert node.outcome is not None
    if isinstance(node.steps[-1].config, ClipThumbnailsConfig):
        deliver(journey, node.steps[-1], list(published_clip_thumbnails(node.outcome)))
    else:
        deliver(journey, node.steps[-1], [published_clip(node.outcome)])


def _release(journey: _ClipJourney) -> None:
    """Let go of frames that nobody on this way will read any more, unless they are to be kept."""
    if journey.recipe.keep:
        return
    done = {node.name for node in journey.nodes if node.outcome is not None}
    for node in journey.nodes:
        if node.sink or node.outcome is None or not _last_reader(journey.nodes, node, done):
            continue
        with held(node.key.fingerprint) as ours:
            stored = node.stored() if ours else None
            if stored is not None and stored.frames is not None:
                node.place.release_frames()


def nodes_of(recipe: Recipe, reading: DecodeConfig, asset: str) -> list[Node]:
    """The graph of a clip's stages, every one after what it works on."""
    run = current_run()
    nodes = {DECODE: Node(DECODE, decode_key(asset, reading))}
    for group in grouped_clip(recipe):
        source = nodes[group[0].source]
        config = group[-1].config
        digest = source.key.fingerprint
        if isinstance(config, EncodeConfig):
            key = encode_key(digest, config)
        elif isinstance(config, ClipThumbnailsConfig):
            key = thumbnails_key(digest, config)
        elif isinstance(config, PropagateConfig):
            models = (run.models["segment"], run.models["propagate"])
            key = propagate_key(digest, config, models, photo_limits(run.settings).max_bytes)
        else:
            key = fused_key(digest, [_local(step.config, run.models) for step in group])
        nodes[group[-1].name] = Node(group[-1].name, key, source, group)
    return list(nodes.values())


def grouped_clip(recipe: Recipe) -> list[tuple[Step, ...]]:
    """The steps in order, neighbouring chunk-local ones together where only the last one's frames are needed."""
    groups: list[tuple[Step, ...]] = []
    for step in recipe.steps:
        previous = groups[-1][-1] if groups else None
        local = previous is not None and isinstance(previous.config, LOCAL) and isinstance(step.config, LOCAL)
        alone = previous is not None and step.source == previous.name and recipe.consumers(previous.name) == 1
        if local and alone and not recipe.keep:
            groups[-1] = (*groups[-1], step)
        else:
            groups.append((step,))
    return groups
