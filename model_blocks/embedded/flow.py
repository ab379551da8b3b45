"""Dense optical flow between two pictures, both ways, and looking pictures up where it points."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SMALLEST = 32  # px of a side; smaller pictures are continued, or the flow finds no patch in them
FINEST = 1  # halvings; what half the size adds costs four times the time and was worth nothing in dB
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


def flows(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Flows:
    """Motion between two grey pictures by DIS (Kroeger, Timofte, Dai, Van Gool 2016, Fast Optical Flow)."""
    height, width = first.shape
    pad = ((0, max(0, SMALLEST - height)), (0, max(0, SMALLEST - width)))
    a, b = (np.pad(each, pad, mode="edge") for each in (first, second))
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    finder.setFinestScale(FINEST)
    finder.setVariationalRefinementIterations(5)
    forward, backward = finder.calc(a, b, None), finder.calc(b, a, None)  # type: ignore[call-overload]
    return Flows(_cropped(forward, height, width), _cropped(backward, height, width))


def _cropped(flow: Any, height: int, width: int) -> Floats:
    return np.ascontiguousarray(flow[:height, :width], dtype=np.float32)


def luma8(picture: Floats, around: float) -> NDArray[np.uint8]:
    """(H, W, 3|4) premultiplied of 0..1 as 8-bit luma over grey, shifted to the mean ``around``.

    Only the motion is sought in it; colours stay as deep as they are. What is transparent is grey, so that black things
    are seen to move too.
    """
    weights = np.array([[0.299, 0.587, 0.114, -0.5][: picture.shape[2]]], np.float32)
    luma = np.asarray(cv2.transform(picture, weights), dtype=np.float32)
    return np.asarray(np.clip(np.rint((luma - luma.mean() + around) * 255), 0, 255), dtype=np.uint8)


def grid(height: int, width: int) -> Floats:
    """The place of every pixel, (H, W, 2), x first."""
    places = np.empty((height, width, 2), np.float32)
    places[..., 0], places[..., 1] = np.arange(width), np.arange(height)[:, None]
    return places


def sampled(picture: Floats, places: Floats) -> Floats:
    """A picture (H, W, C) looked at at places (h, w, 2): bilinear, edges repeated, (h, w, C)."""
    made = cv2.remap(picture, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return np.asarray(made, dtype=np.float32)


def arriving(flow: Floats, at: float, places: Floats) -> Floats:
    """The motion of what is at each place at a moment, from the motion of what is there at the beginning."""
    found = flow
    for _ in range(3):
        found = sampled(flow, places - found * np.float32(at))
    return found
