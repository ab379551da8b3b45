"""How sharp, how noisy and how marked by compression a picture is."""

import math

import cv2
import numpy as np

from expectations.views import Bool, Floats, Views, Window

IMMERKAER = np.array([1.0, -2.0, 1.0], np.float32)  # once across, once down; blind to planes and straight edges
IMMERKAER_NORM = 6.0  # the kernel's root sum of squares
MAD_TO_SIGMA = 0.6745  # median of |x| of a normal distribution of sigma 1
MOST_SAMPLES = 1 << 16  # of which a median is taken
CLIPPED = (2.0, 253.0)  # codes outside of which noise was cut off
STRONGEST_STEP = 16.0  # codes; a block's edge is weaker, an object's stronger
FAINTEST_STEP = 0.25  # codes added to both sides of the ratio, so that flat pictures show no blocks
BLOCK = 8  # px, of JPEG and its relatives


def sharpness(views: Views) -> float | None:
    """Variance of the Laplacian (4 neighbours) of luma at the reduced scale, in squared codes.

    Of an object, over pixels whose neighbours all belong to it; None where there are none.

    Source: J. L. Pech-Pacheco et al. 2000, Diatom autofocusing in brightfield microscopy.
    """
    return laplacian_variance(views.luma, views.seen)


def laplacian_variance(luma: Floats, seen: Bool | None = None) -> float | None:
    """Variance of the Laplacian of luma (h, w) over the inner pixels of ``seen``, in squared codes."""
    laplacian = cv2.Laplacian(luma, cv2.CV_32F, borderType=cv2.BORDER_REPLICATE)
    if seen is None:
        return float(cv2.meanStdDev(laplacian)[1][0, 0] ** 2)
    inner = inside(seen)
    if not inner.any():
        return None
    return float(cv2.meanStdDev(laplacian, mask=inner.view(np.uint8))[1][0, 0] ** 2)


def inside(mask: Bool, *, radius: int = 1) -> Bool:
    """Pixels whose neighbours within ``radius`` px belong to the mask; beyond the picture it goes on."""
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    return np.asarray(cv2.erode(mask.astype(np.uint8), kernel, borderValue=1), bool)


def noise(views: Views) -> float | None:
    """Standard deviation of the noise of luma, in codes of 0..255, at the scale of the picture.

    From the median of the absolute response to Immerkaer's kernel, so that edges and texture on less than half of the
    area do not count, over pixels that are not clipped. None where there are none.

    Source: J. Immerkaer 1996, Fast Noise Variance Estimation.
    """
    samples = [each for each in (_responses(window) for window in views.windows) if each.size]
    if not samples:
        return None
    values = np.concatenate(samples)
    values = values[:: max(1, len(values) // MOST_SAMPLES)]
    return float(np.median(values)) / MAD_TO_SIGMA / IMMERKAER_NORM


def _responses(window: Window) -> Floats:
    luma, seen = window.luma, window.seen
    if min(luma.shape) < 3:
        return np.zeros(0, np.float32)
    response = cv2.sepFilter2D(luma, cv2.CV_32F, IMMERKAER, IMMERKAER)[1:-1, 1:-1]
    counted = (luma[1:-1, 1:-1] >= CLIPPED[0]) & (luma[1:-1, 1:-1] <= CLIPPED[1])
    if seen is not None:
        counted &= inside(seen)[1:-1, 1:-1]
    return np.asarray(np.abs(response[counted]), np.float32)


def blockiness(views: Views) -> float:
    """How much stronger steps are on the edges of 8 × 8 blocks than elsewhere: 1 without blocks.

    Steps between neighbouring pixels of luma, each at most 16 codes, averaged over every eighth column (row). The
    strongest of the eight is compared with the mean of the others, so a picture may have been cropped after it was
    compressed; the larger of both directions counts.
    """
    ratios = [_ratio([_steps(w.luma, axis) for w in views.windows]) for axis in (0, 1)]
    return max(ratios)


def _steps(luma: Floats, axis: int) -> Floats:
    """Mean step at each place along an axis: (n - 1,)."""
    step = np.abs(np.diff(luma, axis=axis))
    np.minimum(step, STRONGEST_STEP, out=step)
    return np.asarray(step.mean(axis=1 - axis), np.float32)


def _ratio(profiles: list[Floats]) -> float:
    """Windows begin on multiples of eight, so places of equal phase are added up over all of them."""
    sums, counts = np.zeros(BLOCK), np.zeros(BLOCK)
    for profile in profiles:
        phases = np.arange(len(profile)) % BLOCK
        sums += np.bincount(phases, weights=profile, minlength=BLOCK)
        counts += np.bincount(phases, minlength=BLOCK)
    if counts.min() < 2:  # fewer than two blocks tell nothing
        return 1.0
    means = sums / counts
    strongest = float(means.max())
    others = float(means.sum() - strongest) / (BLOCK - 1)
    return max(1.0, (strongest + FAINTEST_STEP) / (others + FAINTEST_STEP)) if math.isfinite(strongest) else 1.0
