"""What is done with a mask that frames carry as their alpha: refined to a cutout, or what it covers removed."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import cv2
import numpy as np
from pydantic import Field

from datasets.errors import RecipeError
from datasets.frame_spec import Pixels
from datasets.outputs import OutputPlace
from model_blocks.choice import ModelRef, gpu_of
from model_blocks.finite import refuse_not_finite
from model_blocks.runtime import inpainter
from tasks.backgrounds import Backgrounds, background_input, estimated_backgrounds, given_background
from tasks.clip_measures import shots
from tasks.config import StageConfig
from tasks.found_alpha import FoundMattePass
from tasks.ops.cutting import cut_out
from tasks.ops.depth import to_float
from tasks.ops.geometry import Region, Shape
from tasks.passes import ChunkPass
from tasks.stage import StageKey
from tasks.view import open_view

MATTE_VERSION = 1
INPAINT_VERSION = 1
MASK_SIDE = 480  # px of the longer side at which the mask is taken for the object's probability


class MatteConfig(StageConfig):
    """Refine the mask of every frame to a soft alpha, and give edges the object's own colours."""

    stage: Literal["matte"] = "matte"
    background: str | None = Field(
        default=None,
        description="Path of the same view without the object, for models that compare with it; otherwise it is worked "
        "out from the frames of each shot.",
    )


class InpaintConfig(StageConfig):
    """Remove what the mask covers, and fill in what is behind it."""

    stage: Literal["inpaint"] = "inpaint"
    grow: int = Field(default=3, ge=0, le=64, description="Pixels by which the mask is grown before.")


@dataclass(frozen=True)
class MattePass:
    """Frames with a mask to frames with an alpha. Frame by frame, whole."""

    model: ModelRef

    def output_shape(self, shape: Shape) -> Shape:
        return Shape(shape.frames, shape.height, shape.width, 4)

    def read_region(self, region: Region, shape: Shape) -> Region:
        return _whole(region.t0, region.t1, shape)

    def apply(self, frames: Pixels, *, read: Region, region: Region, shape: Shape) -> Pixels:
        made = np.empty_like(frames)
        for number, frame in enumerate(frames):
            made[number] = self._matted(frame, shape)
        return made[region.inside(read)]

    def _matted(self, frame: Pixels, shape: Shape) -> Pixels:
        mask = to_float(frame[..., 3:])[..., 0]
        if mask.min() == mask.max():  # nothing, or all of it
            return frame
        ratio = min(1.0, MASK_SIDE / max(shape.height, shape.width))
        size = (max(1, round(shape.width * ratio)), max(1, round(shape.height * ratio)))
        small = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
        one = Region(0, 1, 0, shape.height, 0, shape.width)
        made: Pixels = cut_out(frame[None], small, read=one, shape=Shape(1, shape.height, shape.width, 4))[0]
        return made

    def working_bytes(self, read: Region, shape: Shape, itemsize: int) -> int:
        return self.model.facts.working_bytes(read.height * read.width * 3)


@dataclass(frozen=True)
class InpaintPass:
    """Frames with a mask to whole frames in RGB. Looks at neighbouring frames of the same shot.

    Attributes:
        cuts: Indices of the first frames of all shots but the first.
        grow: Pixels by which the mask is grown.
    """

    model: ModelRef
    cuts: tuple[int, ...]
    grow: int

    @property
    def reach(self) -> int:
        return inpainter(self.model).reach

    def output_shape(self, shape: Shape) -> Shape:
        return Shape(shape.frames, shape.height, shape.width, 3)

    def read_region(self, region: Region, shape: Shape) -> Region:
        return _whole(max(0, region.t0 - self.reach), min(shape.frames, region.t1 + self.reach), shape)

    def apply(self, frames: Pixels, *, read: Region, region: Region, shape: Shape) -> Pixels:
        parts = [self._filled(frames, read, *part) for part in self._shots(region, shape)]
        return np.concatenate(parts)[(slice(None), *region.slices[1:])]

    def _shots(self, region: Region, shape: Shape) -> Iterator[tuple[int, int, int, int]]:
        """The wanted frames shot by shot, and the shots they lie in."""
        edges = [0, *self.cuts, shape.frames]
        for begin, end in pairwise(edges):
            start, stop = max(begin, region.t0), min(end, region.t1)
            if start < stop:
                yield start, stop, begin, end

    def _filled(self, frames: Pixels, read: Region, start: int, stop: int, begin: int, end: int) -> Pixels:
        import torch

        model = inpainter(self.model)
        low, high = max(begin, start - model.reach), min(end, stop + model.reach)
        seen = frames[low - read.t0 : high - read.t0]
        wanted = slice(start - low, stop - low)
        masks = np.stack([self._grown(frame) for frame in seen])
        if not masks[wanted].any():
            return np.ascontiguousarray(seen[wanted][..., :3])
        images = torch.from_numpy(to_float(seen[..., :3])).permute(0, 3, 1, 2)
        with torch.inference_mode():
            made = model.inpaint(images, torch.from_numpy(masks)[:, None], wanted)
        refuse_not_finite(bool(made.sum().isfinite()), self.model.name, self.model.device)
        values = made.clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
        filled = np.rint(values * np.float32(np.iinfo(frames.dtype).max)).astype(frames.dtype)
        untouched = masks[wanted][..., None] == 0
        return np.where(untouched, seen[wanted][..., :3], filled)

    def _grown(self, frame: Pixels) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        mask = np.ascontiguousarray(to_float(frame[..., 3:])[..., 0])
        if self.grow == 0:
            return mask
        side = 2 * self.grow + 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        return np.asarray(cv2.dilate(mask, kernel), dtype=np.float32)

    def working_bytes(self, read: Region, shape: Shape, itemsize: int) -> int:
        pixels = read.height * read.width
        return read.frames * pixels * 16 + self.model.facts.working_bytes(pixels * 3)


def _whole(t0: int, t1: int, shape: Shape) -> Region:
    return Region(t0, t1, 0, shape.height, 0, shape.width)


@dataclass(frozen=True)
class MatteStage:
    """The matte stage with its model."""

    config: MatteConfig
    model: ModelRef
    name: str = "matte"
    backgrounds: Backgrounds | None = None

    @property
    def resources(self) -> dict[str, float]:
        return gpu_of(self.model)

    @property
    def needs_background(self) -> bool:
        """Whether it compares with what is behind the object, so that it cannot begin on the first frames."""
        return self.model.facts.needs_background

    def with_background(self, source: OutputPlace, place: OutputPlace, cuts: tuple[int, ...]) -> "MatteStage":
        """The stage with what is behind the object, which is worked out here unless it is given.

        Args:
            source: The frames it works on.
            place: Its output.
            cuts: Indices of the first frames of all shots but the first.
        """
        if not self.needs_background:
            return self
        if self.config.background is not None:
            return replace(self, backgrounds=given_background(self.config.background))
        total = open_view(source).shape[0]
        return replace(self, backgrounds=estimated_backgrounds(source, place, shots(cuts, total)))

    def key(self, source_fingerprint: str) -> StageKey:
        """The key; a background that is worked out follows from the source."""
        inputs = (("output", source_fingerprint), *background_input(self.config.background, self.model))
        parameters = {name: value for name, value in self.config.parameters().items() if name != "background"}
        return StageKey("matte", MATTE_VERSION, parameters, inputs, (self.model,))

    def passes(self, shape: Shape) -> tuple[ChunkPass, ...]:
        if self.model.facts.finds_alpha:
            return (FoundMattePass(self.model, self.backgrounds),)
        _refuse_no_mask(shape, "matte")
        return (MattePass(self.model),)


@dataclass(frozen=True)
class InpaintStage:
    """The inpainting stage with its model and, once the clip's shots are known, where they begin."""

    config: InpaintConfig
    model: ModelRef
    cuts: tuple[int, ...] = ()
    name: str = "inpaint"

    @property
    def resources(self) -> dict[str, float]:
        return gpu_of(self.model)

    def key(self, source_fingerprint: str) -> StageKey:
        inputs = (("output", source_fingerprint),)
        return StageKey("inpaint", INPAINT_VERSION, self.config.parameters(), inputs, (self.model,))

    def passes(self, shape: Shape) -> tuple[ChunkPass, ...]:
        _refuse_no_mask(shape, "inpaint")
        return (InpaintPass(self.model, self.cuts, self.config.grow),)


def _refuse_no_mask(shape: Shape, stage: str) -> None:
    """Raise if frames carry no mask."""
    if shape.channels != 4:
        raise RecipeError(f"'{stage}' needs frames with a mask; put a stage 'propagate' before it", stage=stage)
