"""How far an alpha matte is from the truth: the measures matting is compared by.

Alphas are (H, W), 0..1. ``unknown`` (H, W, bool) restricts a measure to the pixels that were to be found, as published
comparisons do; without it every pixel counts. SAD, gradient and connectivity errors are sums divided by 1000, the mean
squared error is a plain mean: the scales of the published tables.

Source: Rhemann, Rother, Wang, Gelautz, Kohli, Rott 2009, A Perceptually Motivated Online Benchmark for Image Matting.
"""

import itertools

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Alpha = NDArray[np.float64]
Bool = NDArray[np.bool_]

THOUSAND = 1000.0
GRADIENT_SIGMA = 1.4  # pixels; the published value
GRADIENT_POWER = 2
CONNECTIVITY_STEP = 0.1  # alpha levels at which connectedness is looked at; the published value
CONNECTIVITY_FLOOR = 0.15  # a smaller loss of connectedness is not seen; the published value


def sum_of_absolute_differences(alpha: Alpha, truth: Alpha, unknown: Bool | None = None) -> float:
    """SAD / 1000."""
    return float(np.abs(alpha - truth)[_where(truth, unknown)].sum() / THOUSAND)


def mean_squared_error(alpha: Alpha, truth: Alpha, unknown: Bool | None = None) -> float:
    """MSE, 0..1. Zero where nothing was to be found."""
    return _mean(((alpha - truth) ** 2)[_where(truth, unknown)])


def mean_absolute_error(alpha: Alpha, truth: Alpha, where: Bool | None = None) -> float:
    """Mean absolute difference, 0..1, over the pixels of ``where``. Zero where there are none."""
    return _mean(np.abs(alpha - truth)[_where(truth, where)])


def gradient_error(alpha: Alpha, truth: Alpha, unknown: Bool | None = None) -> float:
    """Squared difference of the Gaussian gradient magnitudes, summed, / 1000."""
    difference = np.abs(gradient_magnitude(alpha) - gradient_magnitude(truth)) ** GRADIENT_POWER
    return float(difference[_where(truth, unknown)].sum() / THOUSAND)


def gradient_magnitude(alpha: Alpha) -> Alpha:
    """Length of the first derivatives of a Gaussian, in alpha per pixel."""
    down = ndimage.gaussian_filter(alpha, GRADIENT_SIGMA, order=(1, 0), mode="nearest")
    right = ndimage.gaussian_filter(alpha, GRADIENT_SIGMA, order=(0, 1), mode="nearest")
    return np.asarray(np.hypot(down, right), dtype=np.float64)


def connectivity_error(alpha: Alpha, truth: Alpha, unknown: Bool | None = None) -> float:
    """Difference in how firmly each pixel hangs on the common object, summed, / 1000."""
    levels = connected_level(alpha, truth)
    difference = np.abs(_connectedness(alpha, levels) - _connectedness(truth, levels))
    return float(difference[_where(truth, unknown)].sum() / THOUSAND)


def connected_level(alpha: Alpha, truth: Alpha) -> Alpha:
    """The highest level at which each pixel is still joined to the largest region that is solid in both mattes."""
    steps = np.round(np.arange(0, 1 + CONNECTIVITY_STEP, CONNECTIVITY_STEP), 10)
    level = np.full(alpha.shape, -1.0)
    for before, step in itertools.pairwise(steps):
        joined = _largest((alpha >= step) & (truth >= step))
        level[(level == -1) & ~joined] = before
    level[level == -1] = 1.0
    return level


def intersection_over_union(mask: Bool, truth: Bool, where: Bool | None = None) -> float:
    """IoU of two masks (H, W), 0..1, over the pixels of ``where``. Two empty masks agree: 1."""
    considered = np.ones(truth.shape, bool) if where is None else where
    union = int(((mask | truth) & considered).sum())
    return int((mask & truth & considered).sum()) / union if union else 1.0


def _connectedness(alpha: Alpha, levels: Alpha) -> Alpha:
    loss = alpha - levels
    return np.asarray(1 - loss * (loss >= CONNECTIVITY_FLOOR), dtype=np.float64)


def _largest(mask: Bool) -> Bool:
    labels = np.asarray(ndimage.label(mask)[0])
    if not labels.any():
        return np.zeros_like(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == int(sizes.argmax()))


def _where(truth: Alpha, unknown: Bool | None) -> Bool:
    return np.ones(truth.shape, bool) if unknown is None else unknown


def _mean(values: Alpha) -> float:
    return float(values.mean()) if values.size else 0.0
