"""Recipes for clips: which stages a clip goes through, as data, checked before anything runs."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import Field, TypeAdapter

from datasets.errors import RecipeError
from flows.recipes import Recipe, Step, asked, read_stages, resolve
from model_blocks.registry import Capability
from tasks.clip_masks import InpaintConfig, MatteConfig
from tasks.clip_target import EncodeConfig
from tasks.clip_thumbnails import ClipThumbnailsConfig
from tasks.config import StageConfig
from tasks.decode import DecodeConfig
from tasks.faces import FacesConfig
from tasks.grade import GradeConfig
from tasks.interpolate import InterpolateConfig
from tasks.propagate import PropagateConfig
from tasks.restyle_config import RestyleConfig
from tasks.upscale import UpscaleConfig

ClipStageSpec = Annotated[
    DecodeConfig
    | PropagateConfig
    | MatteConfig
    | InpaintConfig
    | UpscaleConfig
    | GradeConfig
    | InterpolateConfig
    | EncodeConfig
    | ClipThumbnailsConfig
    | FacesConfig
    | RestyleConfig,
    Field(discriminator="stage"),
]
ClipStageList = TypeAdapter(tuple[ClipStageSpec, ...])

DECODE = "decode"
CLIP_SINKS = (EncodeConfig, ClipThumbnailsConfig)
_NEEDS: dict[type[StageConfig], tuple[Capability, ...]] = {
    UpscaleConfig: ("upscale",),
    InterpolateConfig: ("interpolate",),
    PropagateConfig: ("segment", "propagate"),
    MatteConfig: ("matte",),
    InpaintConfig: ("inpaint",),
    FacesConfig: ("detect_faces", "restore_faces"),
}


class ClipRecipeName(StrEnum):
    """The recipes for clips that come with the house."""

    UPSCALE = "upscale"
    SMOOTH = "smooth"
    CUTOUT = "cutout"
    REMOVE = "remove"
    PASSTHROUGH = "passthrough"
    RESTYLE = "restyle"


CLIP_RECIPES: dict[ClipRecipeName, tuple[StageConfig, ...]] = {
    ClipRecipeName.UPSCALE: (UpscaleConfig(factor=2), EncodeConfig(), ClipThumbnailsConfig()),
    ClipRecipeName.SMOOTH: (InterpolateConfig(factor=2), EncodeConfig(), ClipThumbnailsConfig()),
    ClipRecipeName.CUTOUT: (PropagateConfig(), MatteConfig(), EncodeConfig(), ClipThumbnailsConfig()),
    ClipRecipeName.REMOVE: (PropagateConfig(), InpaintConfig(), EncodeConfig(), ClipThumbnailsConfig()),
    ClipRecipeName.PASSTHROUGH: (EncodeConfig(codec="ffv1", container="mkv"),),
    ClipRecipeName.RESTYLE: (RestyleConfig(), EncodeConfig(), ClipThumbnailsConfig()),
}


def parse_clip_recipe(
    value: str | Sequence[object], *, mask: str | None = None, restyle: Mapping[str, object] | None = None
) -> tuple[DecodeConfig, Recipe]:
    """A recipe for clips from its name, the path of a JSON file with a list of stages, or such a list itself.

    Args:
        mask: Path of a mask for its stage ``propagate``.
        restyle: Fields for its stage ``restyle``.

    Returns:
        How clips are read, and the stages after that.

    Raises:
        RecipeError: No such recipe, or the list does not hold; the message names stage and field.
    """
    if isinstance(value, str) and value in list(ClipRecipeName):
        return check_clip_recipe(value, asked(_masked(CLIP_RECIPES[ClipRecipeName(value)], mask), restyle))
    stages = read_stages(value, ClipStageList, list(ClipRecipeName))
    return check_clip_recipe("own", asked(_masked(stages, mask), restyle))


def _masked(stages: Sequence[StageConfig], mask: str | None) -> Sequence[StageConfig]:
    """The stages with a mask given to the first one that takes it.

    Raises:
        RecipeError: None takes it.
    """
    if mask is None:
        return stages
    takers = [number for number, config in enumerate(stages) if isinstance(config, PropagateConfig)]
    if not takers:
        raise RecipeError("a mask is given and no stage 'propagate' takes it; use the recipe cutout or remove")
    at = takers[0]
    return (*stages[:at], stages[at].model_copy(update={"mask": mask, "box": None, "points": ()}), *stages[at + 1 :])


def check_clip_recipe(title: str, stages: Sequence[StageConfig]) -> tuple[DecodeConfig, Recipe]:
    """Resolve the inputs of a list of stages for clips and check that it delivers something.

    Raises:
        RecipeError: A stage is not possible on clips, a name is given twice, an input is not known, or nothing is
            delivered.
    """
    reading = DecodeConfig()
    if stages and isinstance(stages[0], DecodeConfig):
        reading, stages = stages[0], stages[1:]
    for config in stages:
        _check_possible(config)
    return reading, resolve(title, stages, first=DECODE, sinks=CLIP_SINKS, role=_role, needs=_needs)


def _check_possible(config: StageConfig) -> None:
    if isinstance(config, DecodeConfig):
        raise RecipeError("'decode' says how a clip is read; it can only be the first stage")
    if config.when is not None:
        raise RecipeError("stages on clips have no condition 'when'; sizes are bounded by 'long_side'")
    if isinstance(config, GradeConfig) and config.needs_statistics:
        raise RecipeError("a clip is graded by fixed values only: what is measured would change from frame to frame")


def _role(config: StageConfig, source: str, steps: Mapping[str, Step]) -> str:  # noqa: ARG001 - one of a kind
    return (
        "clip" if isinstance(config, EncodeConfig) else "pictures" if isinstance(config, ClipThumbnailsConfig) else ""
    )


def _needs(config: StageConfig) -> tuple[Capability, ...]:
    if isinstance(config, UpscaleConfig) and config.denoise < 1:
        return ("upscale", "upscale_blend")
    return _NEEDS.get(type(config), ())
