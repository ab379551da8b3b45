"""A first mask from what a person points at: a box around the object, or points on it and beside it."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

WORKING_SIDE = 480  # px of the longer side
ROUNDS = 5
SEED = 0.02  # radius around a point, of the longer side
Floats = NDArray[np.float32]


def mask_from_box(image: NDArray[np.uint8], box: Sequence[float]) -> Floats:
    """The object in a box.

    Source: Rother, Kolmogorov, Blake 2004, GrabCut.

    Args:
        image: (H, W, 3) RGB.
        box: Left, top, right, bottom in pixels; parts outside of the picture are cut off.

    Returns:
        (H, W) float32 of 0 or 1.
    """
    small, ratio = _small(image)
    height, width = small.shape[:2]
    left, top, right, bottom = (value * ratio for value in box)
    x0, y0 = (int(np.clip(value, 0, extent - 1)) for value, extent in ((left, width), (top, height)))
    x1, y1 = (int(np.clip(np.ceil(value), 1, extent)) for value, extent in ((right, width), (bottom, height)))
    labels = np.full((height, width), cv2.GC_BGD, np.uint8)
    labels[y0:y1, x0:x1] = cv2.GC_PR_FGD
    return _cut(small, labels, image.shape[:2])


def mask_from_points(image: NDArray[np.uint8], points: Sequence[Sequence[float]]) -> Floats:
    """The object that points lie on.

    Args:
        image: (H, W, 3) RGB.
        points: (x, y, 1) on the object and (x, y, 0) beside it, in pixels.

    Returns:
        (H, W) float32 of 0 or 1.
    """
    small, ratio = _small(image)
    labels = np.full(small.shape[:2], cv2.GC_PR_BGD, np.uint8)
    radius = max(1, round(SEED * max(small.shape[:2])))
    for x, y, on in points:
        centre = (round(x * ratio), round(y * ratio))
        if on:
            cv2.circle(labels, centre, radius * 6, cv2.GC_PR_FGD, -1)
    for x, y, on in points:
        cv2.circle(labels, (round(x * ratio), round(y * ratio)), radius, cv2.GC_FGD if on else cv2.GC_BGD, -1)
    return _cut(small, labels, image.shape[:2])


def _small(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
    height, width = image.shape[:2]
    ratio = min(1.0, WORKING_SIDE / max(height, width))
    if ratio == 1:
        return np.ascontiguousarray(image), ratio
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), ratio


def _cut(small: NDArray[np.uint8], labels: NDArray[np.uint8], size: tuple[int, ...]) -> Floats:
    sure = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))
    if sure.any() and not sure.all():  # the cut needs some of both
        cv2.setRNGSeed(0)
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(small[..., ::-1].copy(), labels, (0, 0, 1, 1), *models, ROUNDS, cv2.GC_INIT_WITH_MASK)
        sure = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))
    height, width = size
    made = cv2.resize(sure.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return (np.asarray(made) > 0.5).astype(np.float32)
