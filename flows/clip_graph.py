"""The graph of a clip's stages, and the plan of those that have to be computed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from datasets.outputs import Manifest, OutputPlace, find_output
from flows.clip_recipes import CLIP_SINKS, DECODE
from flows.recipes import Recipe, Step
from model_blocks.choice import ModelRef
from tasks.clip_encode import encode_key
from tasks.clip_masks import InpaintConfig, InpaintStage, MatteConfig, MatteStage
from tasks.clip_target import EncodeConfig
from tasks.clip_thumbnails import ClipThumbnailsConfig, thumbnails_key
from tasks.config import StageConfig
from tasks.context import current_run
from tasks.decode import DecodeConfig, decode_key
from tasks.faces import FacesConfig, FacesStage
from tasks.grade import GradeConfig, prepare_grade
from tasks.intake import photo_limits
from tasks.interpolate import InterpolateConfig, InterpolateStage
from tasks.local import LocalStage, fused_key
from tasks.own_stage import OwnStage, OwnStageConfig
from tasks.propagate import PropagateConfig, propagate_key
from tasks.restyle_config import RestyleConfig, restyle_key
from tasks.stage import Picture, StageKey, StageOutcome
from tasks.upscale import UpscaleConfig, UpscaleStage

LOCAL = (UpscaleConfig, GradeConfig, InterpolateConfig, MatteConfig, InpaintConfig, FacesConfig, OwnStageConfig)


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

    @property
    def local_stages(self) -> list[LocalStage]:
        """What a pass over the frames does."""
        return [_local(step.config, current_run().models) for step in self.steps]

    def stored(self) -> Manifest | None:
        return find_output(self.place)


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
        elif isinstance(config, RestyleConfig):
            key = restyle_key(digest, config)
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
        if local and alone and not recipe.keep and not _may_look_at_all(step.config):
            groups[-1] = (*groups[-1], step)
        else:
            groups.append((step,))
    return groups


def _may_look_at_all(config: StageConfig) -> bool:
    """Whether a stage may work out the background from all frames before its first one, so that they must be stored."""
    return isinstance(config, MatteConfig) and config.background is None


def needed(nodes: list[Node]) -> list[Node]:
    """What has to be computed: results that are missing, and whatever they are made of that is not there."""
    wanted: set[str] = set()
    for node in reversed(nodes):
        stored = node.stored()
        if node.sink and stored is None:
            wanted.add(node.name)
        read = any(other.source is node and other.name in wanted for other in nodes)
        if not node.sink and read and (stored is None or stored.frames is None):
            wanted.add(node.name)
    return [node for node in nodes if node.name in wanted]


def _local(config: StageConfig, models: Mapping[str, ModelRef]) -> LocalStage:
    made: LocalStage
    match config:
        case UpscaleConfig():
            made = UpscaleStage(config, models["upscale"])
        case InterpolateConfig():
            made = InterpolateStage(config, models["interpolate"])
        case MatteConfig():
            made = MatteStage(config, models["matte"])
        case InpaintConfig():
            made = InpaintStage(config, models["inpaint"])
        case FacesConfig():
            made = FacesStage(config, models["detect_faces"], models["restore_faces"])
        case OwnStageConfig():
            made = OwnStage(config)
        case _:
            assert isinstance(config, GradeConfig)
            made = prepare_grade(config, Picture("", ""))
    return made


def last_reader(nodes: Sequence[Node], source: Node, done: set[str]) -> bool:
    """Whether all stages that read a stage's frames are done."""
    return all(node.name in done for node in nodes if node.source is source)
