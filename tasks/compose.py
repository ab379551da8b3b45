"""Compose: the product on a canvas, centred on itself, blended in linear light, with a contact shadow if asked for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from datasets.assets import get_asset, put_asset
from datasets.errors import RecipeError
from datasets.frame_spec import Pixels
from datasets.frames import FrameReader
from datasets.identity import digest_bytes
from datasets.notices import Notice
from datasets.outputs import FramesEntry, OutputPlace
from tasks.config import StageConfig
from tasks.context import current_run
from tasks.executor import peak_memory_bytes
from tasks.intake import photo_limits, read_source, write_still
from tasks.ops.compose import ComposeConfig as ComposeSettings
from tasks.ops.compose import ComposeResult, compose_image
from tasks.ops.depth import to_uint8
from tasks.ops.photo import PhotoLimits, read_photo
from tasks.plan import refuse_disk, refuse_memory
from tasks.prefect_stage import stage_task
from tasks.stage import Picture, StageKey, StageOutcome, StageWork, run_stage

VERSION = 1
MEMORY_FACTOR = 16  # bytes per canvas value: bands in float32 beside the finished canvas
ENLARGED_TOO_MUCH = 2.0  # times; above it the user is told that the photograph is small for its canvas


class ComposeConfig(ComposeSettings, StageConfig):
    """Set the product on a canvas: marketplace white, transparent, a colour, a gradient or a picture."""

    stage: Literal["compose"] = "compose"

    @property
    def role(self) -> str:
        return "packshot" if self.preset == "marketplace" else "composed"


@dataclass(frozen=True)
class _ComposeTask:
    source: OutputPlace
    place: OutputPlace
    config: ComposeConfig
    background: str | None
    limits: PhotoLimits


@dataclass(frozen=True)
class _Composed:
    frames: FramesEntry
    facts: dict[str, object]
    peak_bytes: int


@stage_task("compose")
def compose(item: str, source: Picture, config: ComposeConfig) -> StageOutcome:
    """Compose one picture. One without an object is fitted onto the canvas whole."""
    run = current_run()
    background = _background_asset(config)
    parameters = {name: value for name, value in config.parameters().items() if name != "picture"}
    inputs = (("output", source.fingerprint), *((("asset", background),) if background else ()))
    key = StageKey("compose", VERSION, parameters, inputs)

    def compute(place: OutputPlace) -> StageWork:
        task = _ComposeTask(
            OutputPlace(run.storage, source.frames), place, config, background, photo_limits(run.settings)
        )
        _refuse_too_large(task, run.limits.memory_bytes)
        refuse_disk(run.storage, config.width * config.height * 4, run.limits.disk_reserve_bytes)
        ((_, done),) = run.executor.run(_compose, [task])
        return StageWork(
            frames=done.frames,
            facts=done.facts,
            notices=_notices(source, done.facts),
            chunks=len(done.frames.checksums),
            peak_bytes=done.peak_bytes,
        )

    return run_stage(item, key, source, compute)


def _background_asset(config: ComposeConfig) -> str | None:
    """Keep the background picture as an asset: what counts is its content, not its path."""
    if config.preset != "picture":
        return None
    if config.picture is None:
        raise RecipeError("the preset 'picture' needs 'picture': the path of the picture behind the product")
    run = current_run()
    data = read_source(Path(config.picture), photo_limits(run.settings).max_bytes)
    return digest_bytes(data) if run.dry else put_asset(run.storage, data)


def _refuse_too_large(task: _ComposeTask, limit_bytes: int) -> None:
    _, height, width, channels = FrameReader(task.source).shape
    needed = (height * width * channels + task.config.width * task.config.height * 4) * MEMORY_FACTOR
    refuse_memory(needed, limit_bytes, f"composing {width}×{height} on {task.config.width}×{task.config.height}")


def _compose(task: _ComposeTask) -> _Composed:
    """Read, place, write. Runs on a worker."""
    image: Pixels = FrameReader(task.source).read()[0]
    result = compose_image(image, task.config, _background(task))
    pixels = np.ascontiguousarray(result.pixels)
    height, width, channels = pixels.shape
    facts: dict[str, object] = {"width": width, "height": height, "alpha": channels == 4, **_placed(result)}
    return _Composed(write_still(task.place, pixels), facts, peak_memory_bytes())


def _placed(result: ComposeResult) -> dict[str, object]:
    placement = result.placement
    return {
        "object_fill": round(result.object_fill, 4),
        "enlarged_by": round(result.enlarged_by, 4),
        "limited_by": placement.limited_by if placement else None,
    }


def _background(task: _ComposeTask) -> NDArray[np.uint8] | None:
    if task.background is None:
        return None
    return to_uint8(read_photo(get_asset(task.place.storage, task.background), task.limits).pixels[..., :3])


def _notices(source: Picture, facts: dict[str, object]) -> tuple[Notice, ...]:
    before, here = source.facts.get("enlarged"), facts.get("enlarged_by")
    enlarged = (before if isinstance(before, float) else 1.0) * (here if isinstance(here, float) else 1.0)
    if enlarged <= ENLARGED_TOO_MUCH:
        return ()
    message = (
        f"The photograph is small: the product was enlarged {enlarged:.1f} times for the canvas and may look soft."
    )
    return (Notice("object_enlarged", message, {"enlarged_by": round(enlarged, 2)}),)
