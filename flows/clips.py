"""One clip's way through a recipe. What is delivered is asked for first: nothing before it is made if it is there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from datasets.errors import PipelineError
from datasets.outputs import Manifest, OutputPlace, find_output
from flows.clip_recipes import CLIP_SINKS, DECODE
from flows.journey import Journey, deliver, discard, guarded, repaired, result
from flows.recipes import Recipe, Step
from flows.summary import ItemResult, Reason
from tasks.clip_encode import EncodeConfig, encode_key, encode_clip, published_clip
from tasks.clip_local import ClipState, clip_stage, follow
from tasks.clip_plan import ClipPlan, Work, refuse_plan
from tasks.clip_thumbnails import ClipThumbnailsConfig, clip_thumbnails, published_clip_thumbnails, thumbnails_key
from tasks.context import current_run
from tasks.decode import DecodeConfig, Probe, decode, decode_key, probe_clip
from tasks.encoding import Published
from tasks.grade import GradeConfig, prepare_grade
from tasks.interpolate import InterpolateConfig, InterpolateStage
from tasks.local import LocalStage, fused_key
from tasks.stage import Picture, StageKey, StageOutcome
from tasks.upscale import UpscaleConfig, UpscaleStage

LOCAL = (UpscaleConfig, GradeConfig, InterpolateConfig)


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
    refuse_plan(planned(journey.nodes, probe, keep=journey.recipe.keep))
    for node in journey.nodes:
        if node.sink:
            _ensure(journey, node, probe, reading)
            _deliver(journey, node)
    _close(journey, probe, reading)


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
        if previous and local and step.source == previous.name and recipe.consumers(previous.name) == 1:
            if not recipe.keep:
                groups[-1] = (*groups[-1], step)
                continue
        groups.append((step,))
    return groups
