"""Dense optical flow between two pictures, both ways, with how far each pixel's motion can be trusted."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SMALLEST = 16  # px of a side; smaller pictures have no flow to speak of
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Flows:
    """Motion in pixels, (H, W, 2) float32, x first.

    Attributes:
        forward: Where each pixel of the first picture goes.
        backward: Where each pixel of the second one came from.
    """

    forward: Floats
    backward: Floats


def luma8(picture: Floats) -> NDArray[np.uint8]:
    """(3, H, W) of 0..1 as 8-bit luma; only for the motion, colours stay as deep as they are."""
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    luma = np.tensordot(weights, picture[:3], axes=1)
    return np.clip(np.rint(luma * 255), 0, 255).astype(np.uint8)


def flows(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Flows:
    """Motion between two grey pictures by DIS (Kroeger, Timofte, Dai, Van Gool 2016, Fast Optical Flow)."""
    height, width = first.shape
    pad = ((0, max(0, SMALLEST - height)), (0, max(0, SMALLEST - width)))
    a, b = (np.pad(each, pad, mode="edge") for each in (first, second))
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    finder.setFinestScale(0 if min(height, width) < 720 else 1)
    finder.setVariationalRefinementIterations(5)
    forward, backward = finder.calc(a, b, None), finder.calc(b, a, None)  # type: ignore[call-overload]
    return Flows(_cropped(forward, height, width), _cropped(backward, height, width))


def _cropped(flow: Any, height: int, width: int) -> Floats:
    return np.ascontiguousarray(flow[:height, :width], dtype=np.float32)


def grid(height: int, width: int) -> Floats:
    """The place of every pixel, (H, W, 2), x first."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    return np.stack([columns, rows], axis=-1)


def warped(picture: Floats, places: Floats) -> Floats:
    """A picture (H, W) or (H, W, C) looked at elsewhere: bilinear, edges repeated."""
    made = cv2.remap(
        picture, places[..., 0], places[..., 1], interpolation=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(made, dtype=np.float32).reshape(picture.shape)


def disagreement(there: Floats, back: Floats) -> Floats:
    """How many pixels off one lands who goes there and back again, (H, W)."""
    height, width = there.shape[:2]
    returned = there + warped(back, grid(height, width) + there)
    return np.asarray(np.sqrt((returned**2).sum(axis=-1)), dtype=np.float32)
