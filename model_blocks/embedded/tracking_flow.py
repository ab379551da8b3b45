"""Dense motion between two pictures, and what can be done with it: carrying values along and finding what is hidden.

A flow (H, W, 2), float32, holds for each pixel of one picture how far to the right and down it lies in the other, in
pixels. The same bytes for any number of threads.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

UInt8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]
Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

LEAST_SIDE = 32  # pixels; smaller pictures are padded, since the search works on patches of 8 at a quarter of the size
SLACK = 0.7  # pixels by which going there and back may miss and still count
SLACK_SHARE = 0.1  # the same as a share of the way


def dense_flow(here: UInt8, there: UInt8) -> Float32:
    """Where each pixel of ``here`` (H, W, 3) lies in ``there``.

    Source: Kroeger, Timofte, Dai, Van Gool 2016, Fast Optical Flow using Dense Inverse Search.
    """
    height, width = here.shape[:2]
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    padded = _grey(here)
    flow = search.calc(padded, _grey(there), np.zeros((*padded.shape, 2), dtype=np.float32))
    return np.ascontiguousarray(flow[:height, :width], dtype=np.float32)


def _grey(image: UInt8) -> UInt8:
    height, width = image.shape[:2]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    bottom, right = max(0, LEAST_SIDE - height), max(0, LEAST_SIDE - width)
    return np.asarray(cv2.copyMakeBorder(grey, 0, bottom, 0, right, cv2.BORDER_REPLICATE), dtype=np.uint8)


def positions(height: int, width: int) -> Float32:
    """The place (x, y) of every pixel, (H, W, 2)."""
    y, x = np.mgrid[0:height, 0:width]
    return np.dstack([x, y]).astype(np.float32)


def sample(
    values: NDArray[np.generic], places: Float32, *, outside: float | None = None, cubic: bool = False
) -> Float32:
    """Values (H, W[, C]) at places (h, w, 2), between the pixels; outside the picture its edge, or a stated value."""
    border = cv2.BORDER_REPLICATE if outside is None else cv2.BORDER_CONSTANT
    fill = (0.0 if outside is None else outside,) * 4
    how = cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR
    x, y = np.ascontiguousarray(places[..., 0]), np.ascontiguousarray(places[..., 1])
    found = cv2.remap(values.astype(np.float32), x, y, how, borderMode=border, borderValue=fill)
    return np.asarray(found, dtype=np.float32)


def inside(places: Float32, height: int, width: int) -> Bool:
    """Which places lie within a picture, its edge pixels' centres included."""
    x, y = places[..., 0], places[..., 1]
    return np.asarray((x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1))


def agreement(there: Float32, back: Float32) -> Float32:
    """How well going along one flow and back along the other returns to each pixel: 1 well, 0 not at all.

    Where it does not, the pixel is hidden in the other picture, or one of the two flows is wrong.
    """
    height, width = there.shape[:2]
    ends = positions(height, width) + there
    missed = np.linalg.norm(there + sample(back, ends), axis=-1)
    allowed = SLACK + SLACK_SHARE * np.linalg.norm(there, axis=-1)
    certain = np.clip(2 - missed / allowed, 0, 1)
    return np.asarray(np.where(inside(ends, height, width), certain, 0), dtype=np.float32)


def moved(points: Float, matrix: Float) -> Float:
    """Points (..., 2) under an affine map (2, 3)."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])


def inverted(matrix: Float) -> Float:
    """The affine map (2, 3) that undoes another."""
    return np.asarray(cv2.invertAffineTransform(matrix), dtype=np.float64)


def chained(first: Float, then: Float) -> Float:
    """The affine map (2, 3) that does one after the other."""
    return np.hstack([then[:, :2] @ first[:, :2], then[:, :2] @ first[:, 2:] + then[:, 2:]])
