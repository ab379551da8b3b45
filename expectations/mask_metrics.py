"""How far masks that follow an object through a clip are from the truth: the measures of video object segmentation.

Masks are bool, (H, W). Source: Perazzi, Pont-Tuset, McWilliams, Van Gool, Gross, Sorkine-Hornung 2016, A Benchmark
Dataset and Evaluation Methodology for Video Object Segmentation (DAVIS).
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Bool = NDArray[np.bool_]

BOUNDARY_TOLERANCE = 0.008  # of the picture's diagonal; the published value


def region_similarity(mask: Bool, truth: Bool) -> float:
    """J: intersection over union, 0..1. Two empty masks agree: 1."""
    union = np.count_nonzero(mask | truth)
    return np.count_nonzero(mask & truth) / union if union else 1.0


def contour_accuracy(mask: Bool, truth: Bool, *, tolerance: float = BOUNDARY_TOLERANCE) -> float:
    """F: harmonic mean of how much of each contour lies near the other's, 0..1. Two masks without contours agree: 1.

    Args:
        mask: What was found.
        truth: What there is, of the same shape.
        tolerance: What counts as near, as a share of the picture's diagonal, rounded up to whole pixels.
    """
    found, wanted = contour(mask), contour(truth)
    if not found.any() and not wanted.any():
        return 1.0
    if not found.any() or not wanted.any():
        return 0.0
    radius = math.ceil(tolerance * math.hypot(*truth.shape))
    precision = np.count_nonzero(found & _within(wanted, radius)) / np.count_nonzero(found)
    recall = np.count_nonzero(wanted & _within(found, radius)) / np.count_nonzero(wanted)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def contour(mask: Bool) -> Bool:
    """The pixels that differ from the one to the right, the one below or the one diagonally below."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    here, right, below, across = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    return np.asarray((here != right) | (here != below) | (here != across))


def mean_similarity(masks: Bool, truths: Bool) -> tuple[float, float]:
    """J and F, each as its mean over the frames of (T, H, W)."""
    pairs = list(zip(masks, truths, strict=True))
    regions = [region_similarity(mask, truth) for mask, truth in pairs]
    contours = [contour_accuracy(mask, truth) for mask, truth in pairs]
    return float(np.mean(regions)), float(np.mean(contours))


def _within(line: Bool, radius: int) -> Bool:
    return np.asarray(ndimage.distance_transform_edt(~line) <= radius)
