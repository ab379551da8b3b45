"""Upscale: a larger picture by a factor or to a size, tiled with a halo, alpha enlarged apart from the colours."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from datasets.errors import RecipeError
from datasets.frames import Pixels
from model_blocks.choice import ModelRef
from model_blocks.runtime import upscaler
from tasks.config import StageConfig
from tasks.ops.depth import to_float
from tasks.ops.geometry import Shape
from tasks.passes import ChunkPass, LocalPass, ResamplePass
from tasks.stage import StageKey

VERSION = 2  # blocks of chunks at a time
LARGEST_FACTOR = 8


class UpscaleConfig(StageConfig):
    """Enlarge by a factor, or until the longer side has a length, or both: to the length, at most by the factor.

    A picture that is large enough stays as it is. Without either it becomes twice as large.
    """

    stage: Literal["upscale"] = "upscale"
    factor: float | None = Field(default=None, ge=1, le=LARGEST_FACTOR, description="Times as large along each side.")
    long_side: int | None = Field(default=None, ge=1, le=32768, description="Length of the longer side, in pixels.")

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


@dataclass(frozen=True)
class _Enlarge:
    """The array function: (T, H, W, 3|4) to (T, s*H, s*W, same), same dtype."""

    model: ModelRef
    scale: int

    def __call__(self, frames: Pixels) -> Pixels:
        network = upscaler(self.model, self.scale)
        images = torch.from_numpy(to_float(frames)).permute(0, 3, 1, 2).to(self.model.device)
        with torch.inference_mode():
            made = [network.upscale(images[:, :3])]
            if images.shape[1] == 4:
                made.append(network.upscale(images[:, 3:]))  # apart, as a grey picture
        values = torch.cat(made, dim=1).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
        return np.rint(values * np.float32(np.iinfo(frames.dtype).max)).astype(frames.dtype)


def _same(frames: Pixels) -> Pixels:
    return frames


@dataclass(frozen=True)
class UpscaleStage:
    """The upscale stage with its model: what the chunk engine and the cache need to know."""

    config: UpscaleConfig
    model: ModelRef
    name: str = "upscale"

    @property
    def resources(self) -> dict[str, float]:
        return {"GPU": 1} if self.model.device == "cuda" else {}

    def key(self, source_fingerprint: str) -> StageKey:
        parameters = self.config.parameters()
        facts = self.model.facts
        if facts.halo_error:  # tiled is not equal to whole, so the tiles are part of what decides the pixels
            parameters |= {"tile": facts.tile_pixels, "halo": facts.halo_pixels}
        return StageKey("upscale", VERSION, parameters, (("output", source_fingerprint),), (self.model,))

    def passes(self, shape: Shape) -> tuple[ChunkPass, ...]:
        """Enlarge by the model's whole factor, then resample to the exact size if that is another."""
        height, width = self.config.target(shape.height, shape.width)
        if (height, width) == (shape.height, shape.width):
            return (LocalPass(_same, memory_factor=0),)
        scale = self.model.facts.scale or max(1, math.ceil(max(height / shape.height, width / shape.width) - 1e-9))
        made = Shape(shape.frames, shape.height * scale, shape.width * scale, shape.channels)
        enlarge = LocalPass(
            _Enlarge(self.model, scale),
            halo_pixels=upscaler(self.model, scale).halo,
            scale=scale,
            memory_factor=self.model.facts.memory_factor,
            tile=self.model.facts.tile_pixels,
        )
        if (made.height, made.width) == (height, width):
            return (enlarge,)
        return (enlarge, ResamplePass(height, width))
