"""Pictures cut out along an alpha that a model found by itself, and the backgrounds that some of them compare with."""

import cv2
import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

from model_blocks.embedded.matte import band_radius, own_colours, own_colours_halo
from tasks.ops.depth import Pixels, full_scale, to_float
from tasks.ops.geometry import Region, Shape

ROWS = 64  # of a background that are worked out at a time
GROWN = 5  # pixels by which a mask is grown before it keeps pixels out of a background


def over_white(frames: Pixels) -> NDArray[np.float32]:
    """(T, H, W, 3|4) to (T, H, W, 3), float32, 0..1; transparency is laid over white."""
    values = to_float(frames)
    if values.shape[-1] == 3:
        return values
    alpha = values[..., 3:]
    laid: NDArray[np.float32] = values[..., :3] * alpha + (1 - alpha)
    return laid


def stretched_by_area(small: NDArray[np.float32], region: Region, shape: Shape) -> NDArray[np.float32]:
    """A box of ``small`` (h, w) stretched or shrunk to a picture of ``shape``: the mean of all it lies on.

    Every value depends on its own position alone, so any tiling gives the same values.
    Source: the adaptive average of torch, which its ``area`` interpolation is.
    """
    sums = np.zeros((small.shape[0] + 1, small.shape[1] + 1), np.float64)
    sums[1:, 1:] = small.astype(np.float64).cumsum(axis=0).cumsum(axis=1)
    top, bottom = _spans(region.y0, region.y1, small.shape[0], shape.height)
    left, right = _spans(region.x0, region.x1, small.shape[1], shape.width)
    total = (
        sums[np.ix_(bottom, right)] - sums[np.ix_(top, right)] - sums[np.ix_(bottom, left)] + sums[np.ix_(top, left)]
    )
    area = (bottom - top)[:, None] * (right - left)[None]
    return np.clip(total / area, 0, 1).astype(np.float32)


def _spans(start: int, stop: int, count: int, extent: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and one past the last of the ``count`` values that lie under the positions start..stop of ``extent``."""
    positions = np.arange(start, stop, dtype=np.int64)
    return positions * count // extent, -(-(positions + 1) * count // extent)


def found_alpha_halo(small: tuple[int, ...], shape: Shape) -> int:
    """Pixels around a pixel that its colours depend on, for an alpha of shape ``small``."""
    return own_colours_halo(_radius(small, shape))


def _radius(small: tuple[int, ...], shape: Shape) -> int:
    return band_radius(max(shape.height, shape.width), max(small))


def cut_by_alpha(frames: Pixels, small: NDArray[np.float32], *, read: Region, shape: Shape) -> Pixels:
    """Colours and alpha (1, h, w, 4) for a box of a picture.

    Args:
        frames: (1, h, w, 3|4), the pixels of ``read``; an alpha channel is ignored.
        small: (h, w) float32, the alpha of the whole picture at the size the model worked at.
        read: Where in the picture the frames lie.
        shape: The whole picture.
    """
    images = torch.from_numpy(to_float(frames[..., :3])).permute(0, 3, 1, 2)
    alpha = torch.from_numpy(stretched_by_area(small, read, shape))[None, None]
    with torch.inference_mode():
        colours = own_colours(images, alpha, radius=_radius(small.shape, shape))
    return joined(colours, alpha, frames.dtype)


def joined(colours: torch.Tensor, alpha: torch.Tensor, dtype: DTypeLike) -> Pixels:
    """Colours (N, 3, H, W) and alpha (N, 1, H, W), 0..1, as pixels (N, H, W, 4)."""
    values = torch.cat([colours, alpha], dim=1).permute(0, 2, 3, 1).clamp(0, 1).cpu().numpy()
    made: Pixels = np.rint(values * np.float32(full_scale(dtype))).astype(dtype)
    return made


def spread_over(start: int, stop: int, most: int) -> list[int]:
    """At most so many of the numbers start..stop, evenly spread, the first and the last among them."""
    count = min(most, stop - start)
    if count == 1:
        return [start]
    return [start + (stop - 1 - start) * number // (count - 1) for number in range(count)]


def median_background(frames: Pixels, outside: NDArray[np.bool_] | None = None) -> Pixels:
    """What most frames show at every pixel, channel by channel; of an even number the darker of the middle two.

    Args:
        frames: (T, H, W, 3), unsigned integers.
        outside: (T, H, W), where a frame shows background; where none does, all frames count. None: everywhere.

    Returns:
        (H, W, 3), the same dtype.
    """
    made = np.empty(frames.shape[1:], frames.dtype)
    for row in range(0, frames.shape[1], ROWS):
        rows = slice(row, row + ROWS)
        made[rows] = _median(frames[:, rows], None if outside is None else outside[:, rows])
    return made


def _median(frames: Pixels, outside: NDArray[np.bool_] | None) -> Pixels:
    if outside is None:
        return np.asarray(np.sort(frames, axis=0)[(len(frames) - 1) // 2])
    counts = outside.sum(axis=0)
    kept = outside | (counts == 0)
    last = np.iinfo(np.uint32).max  # beyond every value, so that what does not count is sorted to the end
    ordered = np.sort(np.where(kept[..., None], frames.astype(np.uint32), np.uint32(last)), axis=0)
    middle = (kept.sum(axis=0) - 1) // 2
    made: Pixels = np.take_along_axis(ordered, middle[None, ..., None], axis=0)[0].astype(frames.dtype)
    return made


def outside_mask(masks: Pixels) -> NDArray[np.bool_]:
    """Where masks (T, H, W), of a shot's object, surely say background: they are grown a little before."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * GROWN + 1, 2 * GROWN + 1))
    half = np.iinfo(masks.dtype).max // 2
    return np.stack([cv2.dilate((mask > half).astype(np.uint8), kernel) == 0 for mask in masks])
