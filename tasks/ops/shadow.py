"""A soft contact shadow on the ground under an object, made from the object's own outline."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from tasks.ops.resample import Axis, resample_image, resize_image

WORK_SIDE = 384  # pixels of the object's longer side while the shadow is made; it is soft, so more shows nothing
CORE = (0.35, 0.6)  # the dark core where object and ground touch: its blur and its opacity, relative to the soft part
GAP = 0.08  # of the object's height: so far above the ground a part throws a third of the shadow
REACH = 3.0  # sigmas after which a Gaussian counts as ended


class ShadowConfig(BaseModel):
    """A contact shadow. Lengths are relative to the longer side of the object's box."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(default=False, description="Whether a shadow is drawn.")
    opacity: float = Field(default=0.45, ge=0, le=1, description="Share of light that the darkest part takes away.")
    blur: float = Field(default=0.02, ge=0.002, le=0.2, description="Softness: sigma, relative to the object.")
    offset: float = Field(default=0.0, ge=-0.2, le=0.5, description="How far below the object's foot it lies.")
    squash: float = Field(default=0.08, ge=0.01, le=0.5, description="Depth on the ground, relative to the height.")


@dataclass(frozen=True)
class Shadow:
    """A shadow at working size and where it lies on the canvas.

    Attributes:
        density: (h, w, 1) float32, share of light taken away, 0..1.
        x: canvas column of its left edge.
        y: canvas row of its upper edge.
        step: shadow pixels per canvas pixel.
    """

    density: NDArray[np.float32]
    x: float
    y: float
    step: float

    @property
    def window(self) -> tuple[int, int, int, int]:
        """The canvas pixels (y0, y1, x0, x1) that it can touch; may lie beyond the canvas."""
        height, width = self.density.shape[:2]
        x1, y1 = self.x + width / self.step, self.y + height / self.step
        return (int(np.floor(self.y)), int(np.ceil(y1)), int(np.floor(self.x)), int(np.ceil(x1)))

    def render(self, window: tuple[int, int, int, int]) -> NDArray[np.float32]:
        """Black with the shadow's density as alpha (H, W, 4), premultiplied, on the canvas pixels (y0, y1, x0, x1)."""
        height, width = self.density.shape[:2]
        rows = Axis(height, self.step, -self.y * self.step, "bicubic")
        columns = Axis(width, self.step, -self.x * self.step, "bicubic")
        layer = np.zeros((window[1] - window[0], window[3] - window[2], 4), dtype=np.float32)
        layer[..., 3:] = np.clip(resample_image(self.density, rows, columns, window), 0.0, 1.0)
        return layer


def contact_shadow(alpha: NDArray[np.float32], *, x: float, y: float, width: float, config: ShadowConfig) -> Shadow:
    """The shadow of an object whose box lies at (x, y) on the canvas and is ``width`` canvas pixels wide.

    Each column of the object counts by how near it comes to the ground, so that a foot throws a dark shadow and a
    handle in the air hardly any. This profile, half of it before and half behind the ground line, is blurred twice: a
    wide soft part and a narrow core where the object touches the ground.

    Args:
        alpha: (H, W), 0..1, of the object's box.
        x: canvas column of the box's left edge.
        y: canvas row of the box's upper edge.
        width: of the box on the canvas.
        config: opacity and lengths.
    """
    step = min(1.0, WORK_SIDE / (max(alpha.shape) / alpha.shape[1] * width))
    columns = max(1, round(width * step))
    rows = max(1, round(columns * alpha.shape[0] / alpha.shape[1]))
    side = max(rows, columns)
    flat = max(2, round(rows * config.squash))
    small = resize_image(np.ascontiguousarray(alpha[..., None]), columns, rows, kernel="area")[..., 0]
    outline = np.tile(_nearness_to_ground(small), (flat, 1))
    sigma = config.blur * side
    margin = int(np.ceil(REACH * sigma)) + 1
    ground = np.pad(outline, margin)
    density = config.opacity * np.maximum(_blurred(ground, sigma), CORE[1] * _blurred(ground, sigma * CORE[0]))
    foot = y + rows / step + config.offset * side / step
    top = foot - (flat / 2 + margin) / step
    return Shadow(np.ascontiguousarray(density[..., None], dtype=np.float32), x - margin / step, top, step)


def _nearness_to_ground(alpha: NDArray[np.float32]) -> NDArray[np.float32]:
    """For each column (W,) of (H, W): 1 where it is opaque down to the last row, falling off with the gap below it."""
    height = alpha.shape[0]
    gap = (height - 1 - np.arange(height)) / (height * GAP)
    nearness: NDArray[np.float32] = (alpha * np.exp(-gap)[:, None]).max(axis=0).astype(np.float32)
    return nearness


def _blurred(plane: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    taps = 2 * int(np.ceil(REACH * sigma)) + 1
    blurred = cv2.GaussianBlur(plane, (taps, taps), sigma, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(blurred, dtype=np.float32)
