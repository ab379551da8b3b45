"""Interpolate: frames at other times than those that were filmed. Nothing is mixed across a cut."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from datasets.errors import RecipeError
from datasets.frame_spec import Pixels
from model_blocks.choice import ModelRef, gpu_of
from model_blocks.finite import refuse_not_finite
from model_blocks.runtime import interpolator
from tasks.config import StageConfig
from tasks.ops.depth import to_float
from tasks.ops.geometry import Region, Shape
from tasks.ops.video.cadence import Cadence, Timing, by_factor, parse_rate, slowed, to_rate
from tasks.passes import ChunkPass
from tasks.stage import StageKey

VERSION = 1
LARGEST_FACTOR = 16


class InterpolateConfig(StageConfig):
    """More frames: to a rate, by a whole factor, or in slow motion. Without any of them twice as many."""

    stage: Literal["interpolate"] = "interpolate"
    fps: str | None = Field(default=None, description="Frames per second of the result: 60, 29.97, 60000/1001.")
    factor: int | None = Field(default=None, ge=2, le=LARGEST_FACTOR, description="Times as many frames.")
    slow: float | None = Field(
        default=None, gt=1, le=LARGEST_FACTOR, description="Times as long at the same frame rate; sound follows."
    )

    @field_validator("fps")
    @classmethod
    def _rate(cls, value: str | None) -> str | None:
        try:
            return None if value is None else str(parse_rate(value))
        except RecipeError as error:
            raise ValueError(error.message) from error

    @model_validator(mode="after")
    def _one_of_them(self) -> "InterpolateConfig":
        if sum(value is not None for value in (self.fps, self.factor, self.slow)) > 1:
            raise ValueError("give one of 'fps', 'factor' and 'slow'")
        return self

    def cadence(self, timing: Timing, cuts: tuple[int, ...]) -> Cadence:
        """The frames to make of a clip whose shots begin at ``cuts``."""
        if self.fps is not None:
            return to_rate(timing, Fraction(self.fps), cuts)
        if self.slow is not None:
            return slowed(timing, Fraction(self.slow).limit_denominator(1000), cuts)
        return by_factor(timing, self.factor or 2, cuts)

    def parameters(self) -> dict[str, object]:
        return super().parameters() | ({"factor": 2} if not (self.fps or self.slow or self.factor) else {})


@dataclass(frozen=True)
class InterpolatePass:
    """Frames of another cadence. A new frame needs the one before it and the next, and nothing else.

    Attributes:
        first: int32 (N,), index of the frame before or at every new frame.
        fraction: float32 (N,), how far it is on the way to the next.
    """

    model: ModelRef
    first: NDArray[np.int32]
    fraction: NDArray[np.float32]

    def output_shape(self, shape: Shape) -> Shape:
        return Shape(len(self.first), shape.height, shape.width, shape.channels)

    def read_region(self, region: Region, shape: Shape) -> Region:
        first, between = self.first[region.t0 : region.t1], self.fraction[region.t0 : region.t1] > 0
        return Region(int(first[0]), int((first + between).max()) + 1, 0, shape.height, 0, shape.width)

    def apply(self, frames: Pixels, *, read: Region, region: Region, shape: Shape) -> Pixels:
        first = self.first[region.t0 : region.t1] - read.t0
        fraction = self.fraction[region.t0 : region.t1]
        made = frames[first]
        for index in np.unique(first[fraction > 0]):
            wanted = np.flatnonzero((first == index) & (fraction > 0))
            made[wanted] = self._between(frames[index : index + 2], fraction[wanted])
        return np.ascontiguousarray(made[(slice(None), *region.slices[1:])])

    def _between(self, pair: Pixels, fractions: NDArray[np.float32]) -> Pixels:
        import torch

        if np.array_equal(pair[0], pair[1]):
            return np.repeat(pair[:1], len(fractions), axis=0)
        images = torch.from_numpy(to_float(pair)).permute(0, 3, 1, 2).to(self.model.device)
        with torch.inference_mode():
            between = interpolator(self.model).interpolate(images[0], images[1], [float(each) for each in fractions])
        refuse_not_finite(bool(between.sum().isfinite()), self.model.name, self.model.device)
        values = between.clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
        return np.rint(values * np.float32(np.iinfo(pair.dtype).max)).astype(pair.dtype)

    def working_bytes(self, read: Region, shape: Shape, itemsize: int) -> int:
        """One pair at a time, with the frames that lie between it."""
        values = shape.height * shape.width * shape.channels
        most = int(np.bincount(self.first - self.first.min()).max())
        return self.model.facts.working_bytes(values * (2 + most))


@dataclass(frozen=True)
class InterpolateStage:
    """The interpolation stage with its model and, once the clip's times are known, the new cadence."""

    config: InterpolateConfig
    model: ModelRef
    cadence: Cadence | None = None
    name: str = "interpolate"

    @property
    def resources(self) -> dict[str, float]:
        return gpu_of(self.model)

    def key(self, source_fingerprint: str) -> StageKey:
        inputs = (("output", source_fingerprint),)
        return StageKey("interpolate", VERSION, self.config.parameters(), inputs, (self.model,))

    def passes(self, shape: Shape) -> tuple[ChunkPass, ...]:
        if self.cadence is None:
            raise AssertionError("the cadence is worked out from the clip's times first")
        return (InterpolatePass(self.model, self.cadence.first, self.cadence.fraction),)
