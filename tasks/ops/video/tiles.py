"""Frames as small pictures: shrunk, in the shape in which they are seen, transparency over a checkerboard."""

from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.errors import FrameShapeError
from tasks.ops.depth import Pixels, to_uint8

Tile = NDArray[np.uint8]
Size = tuple[int, int]  # rows, columns

LONGEST_SHAPE = 4.0  # a frame longer than this, either way, gets bars: its cell would be a line
CHECK_SIDE = 8  # px
CHECKS = (204, 255)  # grey codes, as picture editors show transparency


def shrunk(frame: Pixels, side: int) -> NDArray[np.float32]:
    """A frame (H, W, 3|4), uint8 or uint16, by area to at most ``side`` px: float32, 0..255, colours times alpha.

    Raises:
        FrameShapeError: Not a frame of this shape and depth.
    """
    height, width = frame.shape[:2]
    ratio = min(1.0, side / max(height, width))
    return resized(frame, (max(1, round(height * ratio)), max(1, round(width * ratio))))


def resized(frame: Pixels, size: Size) -> NDArray[np.float32]:
    """A frame (H, W, 3|4) at another size: float32, 0..255, premultiplied. Shrunk by area, enlarged bilinearly."""
    if frame.ndim != 3 or frame.shape[2] not in {3, 4} or not frame.size or frame.dtype.name not in {"uint8", "uint16"}:
        raise FrameShapeError(
            f"expected a frame (H, W, 3|4) of uint8 or uint16, got {frame.shape} of {frame.dtype}", shape=frame.shape
        )
    if frame.shape[2] == 4:
        scale = np.float32(1 if frame.dtype == np.uint8 else 257)
        codes = frame.astype(np.float32) / scale
        codes[..., :3] *= codes[..., 3:] / 255
        return _scaled(codes, size)
    less = _scaled(frame, (min(size[0], frame.shape[0]), min(size[1], frame.shape[1])))
    return _scaled(less / np.float32(1 if frame.dtype == np.uint8 else 257), size)


def _scaled(codes: Pixels, size: Size) -> NDArray[np.float32]:
    """In two steps: OpenCV averages by area only where no direction is enlarged."""
    inner = (min(size[0], codes.shape[0]), min(size[1], codes.shape[1]))
    for wanted, method in ((inner, cv2.INTER_AREA), (size, cv2.INTER_LINEAR)):
        if codes.shape[:2] != wanted:
            codes = np.asarray(cv2.resize(codes, wanted[::-1], interpolation=method))
    return codes.astype(np.float32, copy=False)


def shape_seen(height: int, width: int, sample_aspect: Fraction = Fraction(1)) -> float:
    """Width over height of a picture as it is seen, its pixels being ``sample_aspect`` times as wide as high."""
    return float(Fraction(width, height) * sample_aspect)


def fitted(shape: float, box: Size) -> Size:
    """The largest (rows, columns) of this shape inside a box, at least one pixel each way."""
    rows, columns = box
    if shape >= columns / rows:
        return max(1, min(rows, round(columns / shape))), columns
    return rows, max(1, min(columns, round(rows * shape)))


def cell_size(shape: float, columns: int) -> Size:
    """The (rows, columns) of cells for pictures of a shape; very long shapes are bounded by ``LONGEST_SHAPE``."""
    bounded = min(max(shape, 1 / LONGEST_SHAPE), LONGEST_SHAPE)
    return max(1, round(columns / bounded)), columns


def tile(frame: Pixels, cell: Size, ground: int, sample_aspect: Fraction = Fraction(1)) -> Tile:
    """A frame in the middle of a cell of one grey: (rows, columns, 3) uint8, transparency over a checkerboard."""
    size = fitted(shape_seen(frame.shape[0], frame.shape[1], sample_aspect), cell)
    small = resized(frame, size)
    out = np.full((*cell, 3), ground, dtype=np.uint8)
    top, left = (cell[0] - size[0]) // 2, (cell[1] - size[1]) // 2
    out[top : top + size[0], left : left + size[1]] = _over_checks(small)
    return out


def _over_checks(premultiplied: NDArray[np.float32]) -> Tile:
    colours = premultiplied[..., :3]
    if premultiplied.shape[2] == 4:
        rows, columns = np.indices(premultiplied.shape[:2]) // CHECK_SIDE
        checks = np.where((rows + columns) % 2 == 0, CHECKS[1], CHECKS[0])[..., None].astype(np.float32)
        colours = np.add(colours, checks * (1 - premultiplied[..., 3:] / 255), dtype=np.float32)
    return np.asarray(np.clip(np.rint(colours), 0, 255), dtype=np.uint8)


def small_copy(frame: Pixels, size: Size) -> Tile:
    """A frame at another size, with its own alpha: (rows, columns, 3|4) uint8, straight."""
    if frame.shape[:2] == size:
        return to_uint8(frame)
    small = resized(frame, size)
    if small.shape[2] == 4:
        small[..., :3] *= 255 / np.maximum(small[..., 3:], 1 / 255)
    return np.asarray(np.clip(np.rint(small), 0, 255), dtype=np.uint8)
