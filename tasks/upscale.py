"""Upscale: a larger picture by a factor or to a size, tiled with a halo, alpha enlarged apart from the colours."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from datasets.errors import RecipeError, UsageError
from datasets.frame_spec import Pixels
from model_blocks.capabilities import Upscaler
from model_blocks.choice import ModelRef, gpu_of
from model_blocks.finite import refuse_not_finite
from model_blocks.oom import Work, halvings, with_smaller_plans
from model_blocks.runtime import upscaler
from tasks.config import StageConfig
from tasks.context import current_run
from tasks.ops.depth import to_float
from tasks.ops.geometry import Region, Shape
from tasks.passes import ChunkPass, LocalPass, ResamplePass
from tasks.stage import StageKey

VERSION = 2  # blocks of chunks at a time
LARGEST_FACTOR = 8
SMALLEST_PART = 64  # input pixels; halos would be most of what smaller ones compute
CUDA_TILE = 1024  # input pixels; libraries there choose by size how they round, so the sizes are always the same


class UpscaleConfig(StageConfig):
    """Enlarge by a factor, or until the longer side has a length, or both: to the length, at most by the factor.

    A picture that is large enough stays as it is. Without either it becomes twice as large.

    ``denoise`` is 1 unless it is said otherwise, although the model's authors blend half and half: 1 needs one file of
    weights, whose digest they publish, and no result changes because a second file was fetched.
    """

    stage: Literal["upscale"] = "upscale"
    factor: float | None = Field(default=None, ge=1, le=LARGEST_FACTOR, description="Times as large along each side.")
    long_side: int | None = Field(default=None, ge=1, le=32768, description="Length of the longer side, in pixels.")
    denoise: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="How much noise the model takes away; below 1 it keeps texture and needs a second file of weights.",
    )

    def target(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the result; never smaller than the source, at most eight times as large."""
        if self.long_side is None:
            ratio = self.factor or 2.0
        else:
            ratio = max(1.0, self.long_side / max(height, width))
            ratio = min(ratio, self.factor or ratio)
        if ratio > LARGEST_FACTOR:
            raise RecipeError(
                f"{width}×{height} would have to grow {ratio:.1f} times and {LARGEST_FACTOR} times is the most; "
                "ask for a smaller size or give a larger picture",
                width=width,
                height=height,
                factor=ratio,
            )
        return max(1, round(height * ratio)), max(1, round(width * ratio))


class _Plan(NamedTuple):
    """How much is enlarged at once: so many frames, in parts of so many input pixels a side; None: whole."""

    frames: int
    tile: int | None = None


@dataclass(frozen=True)
class _Enlarge:
    """The array function: (T, H, W, 3|4) to (T, s*H, s*W, same), same dtype."""

    model: ModelRef
    scale: int
    blend: ModelRef | None = None
    denoise: float = 1.0

    def __call__(self, frames: Pixels) -> Pixels:
        network = upscaler(self.model, self.scale, self.blend, self.denoise)
        plans = self._plans(frames.shape, network.halo)
        work = Work(self.model.name, self.model.device, frames.shape)
        return with_smaller_plans(partial(self._by_plan, network, frames), plans, work)

    def _plans(self, shape: tuple[int, ...], halo: int) -> list["_Plan"]:
        """All frames at once, then fewer; then parts of a frame, where those make the same up to float32's rounding."""
        count, side = shape[0], max(shape[1:3])
        plans = [_Plan(frames) for frames in halvings(count)]
        facts = self.model.facts
        seen = facts.receptive_radius or halo
        if self.model.device == "cpu" and facts.tile_pixels is None and halo >= seen and side > SMALLEST_PART:
            plans += [_Plan(1, part) for part in halvings(side, SMALLEST_PART)[1:]]
        return plans

    def _by_plan(self, network: Upscaler, frames: Pixels, plan: "_Plan") -> Pixels:
        if plan == _Plan(len(frames)):
            return self._enlarged(network, frames)  # without a second copy
        height, width, channels = frames.shape[1:]
        made = np.empty((len(frames), height * self.scale, width * self.scale, channels), frames.dtype)
        tiling = LocalPass(partial(self._enlarged, network), halo_pixels=network.halo, scale=self.scale, tile=plan.tile)
        for first in range(0, len(frames), plan.frames):
            some = frames[first : first + plan.frames]
            whole = Region(0, len(some), 0, height, 0, width)
            large = Region(0, len(some), 0, made.shape[1], 0, made.shape[2])
            shape = Shape(len(some), height, width, channels)
            made[first : first + plan.frames] = tiling.apply(some, read=whole, region=large, shape=shape)
        return made

    def _enlarged(self, network: Upscaler, frames: Pixels) -> Pixels:
        import torch

        images = torch.from_numpy(to_float(frames)).permute(0, 3, 1, 2).to(self.model.device)
        with torch.inference_mode():
            made = [network.upscale(images[:, :3])]
            if images.shape[1] == 4:
                made.append(network.upscale(images[:, 3:]))  # apart, as a grey picture
            values = torch.cat(made, dim=1)
            refuse_not_finite(bool(values.sum().isfinite()), self.model.name, self.model.device)
        shown = values.clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
        return np.rint(shown * np.float32(np.iinfo(frames.dtype).max)).astype(frames.dtype)


def _same(frames: Pixels) -> Pixels:
    return frames


@dataclass(frozen=True)
class UpscaleStage:
    """The upscale stage with its models: what the chunk engine and the cache need to know.

    Attributes:
        blend: The weakly denoising model where ``denoise`` asks for a blend; None: the one chosen for the run.
    """

    config: UpscaleConfig
    model: ModelRef
    name: str = "upscale"
    blend: ModelRef | None = None

    @property
    def resources(self) -> dict[str, float]:
        return gpu_of(self.model)

    @property
    def weak_model(self) -> ModelRef | None:
        """The model to blend with; None where nothing is to be blended.

        Raises:
            UsageError: A denoise strength was asked for and this model has none.
        """
        if self.config.denoise == 1:
            return None
        if self.model.facts.blend is None:
            raise UsageError(
                f"{self.model.name} has no denoise strength; leave 'denoise' out of the recipe, or choose a model that "
                "has one with --models upscale=realesr-general-x4v3",
                model=self.model.name,
            )
        return self.blend or current_run().models["upscale_blend"]

    @property
    def tile(self) -> int | None:
        """Side in input pixels of the fixed tiles, where tiles decide pixels."""
        on_cuda = CUDA_TILE if self.model.device == "cuda" else None
        return self.model.facts.tile_pixels or on_cuda

    def key(self, source_fingerprint: str) -> StageKey:
        parameters = self.config.parameters()
        weak = self.weak_model
        if weak is None:
            del parameters["denoise"]
        if self.tile is not None:
            parameters |= {"tile": self.tile, "halo": self.model.facts.halo_pixels}
        models = (self.model,) if weak is None else (self.model, weak)
        return StageKey("upscale", VERSION, parameters, (("output", source_fingerprint),), models)

    def passes(self, shape: Shape) -> tuple[ChunkPass, ...]:
        """Enlarge by the model's whole factor, then resample to the exact size if that is another."""
        height, width = self.config.target(shape.height, shape.width)
        if (height, width) == (shape.height, shape.width):
            return (LocalPass(_same, memory_factor=0),)
        facts = self.model.facts
        scale = facts.scale or max(1, math.ceil(max(height / shape.height, width / shape.width) - 1e-9))
        enlarge = LocalPass(
            _Enlarge(self.model, scale, self.weak_model, self.config.denoise),
            halo_pixels=facts.halo_pixels if facts.halo_pixels is not None else upscaler(self.model, scale).halo,
            scale=scale,
            memory_factor=facts.memory_factor,
            fixed_bytes=facts.fixed_bytes,
            tile=self.tile,
        )
        if (shape.height * scale, shape.width * scale) == (height, width):
            return (enlarge,)
        return (enlarge, ResamplePass(height, width))
