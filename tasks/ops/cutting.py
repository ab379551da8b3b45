"""From a picture and the object's probability at working size to colours and alpha, tile by tile."""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from model_blocks.embedded.matte import alpha_from_probability, alpha_halo, band_radius
from tasks.ops.depth import Pixels, to_float, to_uint8
from tasks.ops.geometry import Region, Shape


def working_copy(image: Pixels, side: int) -> NDArray[np.float32]:
    """A copy (h, w, 3) float32 0..1 of an image (H, W, 3|4) for a model that looks at the whole of it.

    The longer side is at most ``side``, averaged by area. Transparency is laid over white.
    """
    rgb = to_uint8(image)
    if rgb.shape[2] == 4:
        alpha = rgb[..., 3:].astype(np.float32) / 255
        rgb = np.rint(rgb[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    height, width = rgb.shape[:2]
    ratio = min(1.0, side / max(height, width))
    if ratio < 1:
        size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
        rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return (rgb.astype(np.float32)) / np.float32(255)


def upsample_bilinear(small: NDArray[np.float32], region: Region, shape: Shape) -> NDArray[np.float32]:
    """A box of ``small`` (h, w) stretched over a picture of ``shape``, pixel centres aligned, edges repeated.

    Every value depends on its own position alone, so any tiling gives the same values.
    """
    rows = _interpolate(small, region.y0, region.y1, shape.height, axis=0)
    return _interpolate(rows, region.x0, region.x1, shape.width, axis=1)


def _interpolate(values: NDArray[np.float32], start: int, stop: int, extent: int, *, axis: int) -> NDArray[np.float32]:
    count = values.shape[axis]
    position = np.clip((np.arange(start, stop) + 0.5) * (count / extent) - 0.5, 0, count - 1)
    low = np.floor(position).astype(np.intp)
    high = np.minimum(low + 1, count - 1)
    weight = (position - low).astype(np.float32)
    weight = weight[:, None] if axis == 0 else weight[None, :]
    mixed: NDArray[np.float32] = np.take(values, low, axis=axis) * (1 - weight)
    mixed += np.take(values, high, axis=axis) * weight
    return mixed


def _radius(small: tuple[int, ...], shape: Shape) -> int:
    return band_radius(max(shape.height, shape.width), max(small))


def cutout_halo(small: tuple[int, ...], shape: Shape) -> int:
    """Pixels around a pixel that its alpha and colours depend on, for a probability of shape ``small``."""
    return alpha_halo(_radius(small, shape))


def cut_out(frames: Pixels, probability: NDArray[np.float32], *, read: Region, shape: Shape) -> Pixels:
    """Colours and alpha (1, h, w, 4) for a box of a picture.

    Args:
        frames: (1, h, w, 3|4), the pixels of ``read``; an alpha channel is ignored.
        probability: (h, w) float32 of the whole picture at working size; above 0.5 belongs to the object.
        read: Where in the picture the frames lie.
        shape: The whole picture.
    """
    images = torch.from_numpy(to_float(frames[..., :3])).permute(0, 3, 1, 2)
    probabilities = torch.from_numpy(upsample_bilinear(probability, read, shape))[None, None]
    with torch.inference_mode():
        alpha, foreground = alpha_from_probability(images, probabilities, radius=_radius(probability.shape, shape))
    made = torch.cat([foreground, alpha], dim=1).permute(0, 2, 3, 1).clamp(0, 1).numpy()
    peak = np.iinfo(frames.dtype).max
    return np.rint(made * np.float32(peak)).astype(frames.dtype)
