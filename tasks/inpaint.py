"""Inpaint: what a mask covers is removed from a photograph, and what may lie behind it filled in."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from datasets.errors import RecipeError
from datasets.frame_spec import Pixels
from datasets.frames import FrameReader
from datasets.identity import digest_bytes
from datasets.outputs import FramesEntry, OutputPlace
from model_blocks.choice import ModelRef, gpu_of
from model_blocks.finite import refuse_not_finite
from model_blocks.runtime import inpainter
from tasks.config import StageConfig
from tasks.context import current_run
from tasks.executor import peak_memory_bytes
from tasks.intake import photo_limits, read_source, write_still
from tasks.ops.depth import to_float, to_uint8
from tasks.ops.photo import PhotoLimits, read_photo
from tasks.plan import refuse_disk, refuse_memory
from tasks.prefect_stage import stage_task
from tasks.stage import Picture, StageKey, StageOutcome, StageWork, open_frames, run_stage

VERSION = 1
HALF = 127  # of 255: what is lighter in a mask is removed, as in masks of clips
BYTES_PER_PIXEL = 40  # picture, float copy, result and mask beside what the model needs
Mask = NDArray[np.float32]


class InpaintPhotoConfig(StageConfig):
    """Remove something from a picture, and fill in what may lie behind it.

    With a mask what is white in it goes, with a box all that lies in it. Without either what the picture's own alpha
    shows goes, and the result is opaque.
    """

    stage: Literal["inpaint"] = "inpaint"
    mask: str | None = Field(
        default=None, description="Path of a picture of the same size: what is white in it is removed."
    )
    box: tuple[float, float, float, float] | None = Field(
        default=None, description="Left, top, right, bottom of what is removed, in pixels."
    )
    grow: int = Field(default=3, ge=0, le=64, description="Pixels by which the mask is grown before.")

    @model_validator(mode="after")
    def _one_of_them(self) -> "InpaintPhotoConfig":
        if self.mask is not None and self.box is not None:
            raise ValueError("give one of 'mask' and 'box'")
        if self.box and not (self.box[0] < self.box[2] and self.box[1] < self.box[3]):
            raise ValueError("a box is left, top, right, bottom")
        return self

    @property
    def by_alpha(self) -> bool:
        """Whether the picture's own alpha says what is removed."""
        return self.mask is None and self.box is None


@dataclass(frozen=True)
class _FillTask:
    source: OutputPlace
    place: OutputPlace
    config: InpaintPhotoConfig
    mask: bytes
    limits: PhotoLimits
    model: ModelRef


@dataclass(frozen=True)
class _Filled:
    frames: FramesEntry
    facts: dict[str, object]
    peak_bytes: int


@stage_task("inpaint")
def inpaint_photo(item: str, source: Picture, config: InpaintPhotoConfig) -> StageOutcome:
    """Remove what is masked from one picture, whole.

    Raises:
        NotFoundError, UnreadableError: The mask's file is not there, or cannot be read.
        RecipeError: The mask has another size, covers the whole picture, or there is none.
        PlanTooLargeError: The picture needs more memory than may be used.
    """
    run = current_run()
    model = run.models["inpaint"]
    limits = photo_limits(run.settings)
    mask = read_source(Path(config.mask), limits.max_bytes) if config.mask else b""
    key = inpaint_key(source.fingerprint, config, model, mask)

    def compute(place: OutputPlace) -> StageWork:
        reader = open_frames(source)
        _, height, width, channels = reader.shape
        needed = height * width * BYTES_PER_PIXEL + model.facts.working_bytes(height * width * 3)
        refuse_memory(needed, run.limits.memory_bytes, f"removing something from a picture of {width}×{height}")
        refuse_disk(run.storage, height * width * channels * reader.dtype.itemsize, run.limits.disk_reserve_bytes)
        task = _FillTask(reader.place, place, config, mask, limits, model)
        resources = gpu_of(model)
        ((_, done),) = run.executor.run(_fill, [task], resources=resources)
        return StageWork(
            frames=done.frames, facts=done.facts, chunks=len(done.frames.checksums), peak_bytes=done.peak_bytes
        )

    return run_stage(item, key, source, compute)


def inpaint_key(source_fingerprint: str, config: InpaintPhotoConfig, model: ModelRef, mask: bytes) -> StageKey:
    """The key; a given mask counts by its content, not by its path."""
    inputs = [("output", source_fingerprint)]
    if config.mask is not None:
        inputs.append(("mask", digest_bytes(mask)))
    parameters = {name: value for name, value in config.parameters().items() if name != "mask"}
    return StageKey("inpaint", VERSION, parameters, tuple(inputs), (model,))


def _fill(task: _FillTask) -> _Filled:
    """Read, fill, write. Runs on a worker."""
    image = FrameReader(task.source).read()[0]
    mask = grown(covered(image, task.config, task.mask, task.limits), task.config.grow)
    if mask.all():
        raise RecipeError(
            "the mask covers the whole picture, so there is nothing to fill it from; white is what is removed, black "
            "stays"
        )
    made = filled(image, mask, task.model)
    if task.config.by_alpha:
        made = np.ascontiguousarray(made[..., :3])
    facts = {"alpha": made.shape[2] == 4, "removed": round(float(mask.mean()), 6)}
    return _Filled(write_still(task.place, made), facts, peak_memory_bytes())


def covered(image: Pixels, config: InpaintPhotoConfig, mask: bytes, limits: PhotoLimits) -> Mask:
    """What is to be removed from a picture (H, W, 3|4), (H, W) float32 of 0 and 1.

    Raises:
        RecipeError: The mask has another size, the box lies beside the picture, or the picture has no alpha.
    """
    height, width = image.shape[:2]
    if config.box is not None:
        return _boxed(height, width, config.box)
    if config.by_alpha:
        if image.shape[2] != 4:
            raise RecipeError(
                "nothing says what is to be removed: give 'mask' or 'box', or a picture whose alpha shows it"
            )
        return np.asarray(image[..., 3] > 0, dtype=np.float32)
    picture = to_uint8(read_photo(mask, limits).pixels)
    if picture.shape[:2] != (height, width):
        raise RecipeError(
            f"the mask is {picture.shape[1]}×{picture.shape[0]} and the picture {width}×{height}; make the mask of the "
            "picture as it is at this stage",
            width=width,
            height=height,
        )
    return np.asarray(picture[..., :3].mean(axis=-1) > HALF, dtype=np.float32)


def _boxed(height: int, width: int, box: tuple[float, float, float, float]) -> Mask:
    left, right = (min(max(round(edge), 0), width) for edge in (box[0], box[2]))
    top, bottom = (min(max(round(edge), 0), height) for edge in (box[1], box[3]))
    if left >= right or top >= bottom:
        raise RecipeError(f"the box {box} holds no pixel of a picture of {width}×{height}", width=width, height=height)
    mask = np.zeros((height, width), np.float32)
    mask[top:bottom, left:right] = 1
    return mask


def grown(mask: Mask, pixels: int) -> Mask:
    """A mask (H, W) spread by so many pixels to all sides."""
    if pixels == 0:
        return mask
    side = 2 * pixels + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return np.asarray(cv2.dilate(mask, kernel), dtype=np.float32)


def filled(image: Pixels, mask: Mask, model: ModelRef) -> Pixels:
    """A picture (H, W, 3|4) without what the mask (H, W) covers; alpha stays, and so does every pixel beside it."""
    import torch

    if not mask.any():
        return image
    colours = np.ascontiguousarray(image[..., :3])
    images = torch.from_numpy(to_float(colours)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        made = inpainter(model).inpaint(images, torch.from_numpy(mask)[None, None], slice(0, 1))
    refuse_not_finite(bool(made.sum().isfinite()), model.name, model.device)
    values = made[0].clamp(0, 1).permute(1, 2, 0).cpu().numpy()
    inside = np.rint(values * np.float32(np.iinfo(image.dtype).max)).astype(image.dtype)
    result = image.copy()
    result[..., :3] = np.where(mask[..., None] > 0, inside, colours)
    return result
