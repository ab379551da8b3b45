"""How alike two pictures of the same thing are, pixel by pixel and in structure."""

import cv2
import numpy as np

from expectations.views import Bool, Floats

WINDOW_SIGMA = 1.5  # px; the published value
WINDOW_RADIUS = 5  # px; 11 × 11, the published value
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2  # the published values for codes 0..255


def ssim_map(first: Floats, second: Floats) -> Floats:
    """Structural similarity (h, w), -1..1, of two lumas (h, w) in codes 0..255, with an 11 × 11 Gaussian window.

    Source: Wang, Bovik, Sheikh, Simoncelli 2004, Image Quality Assessment: From Error Visibility to Structural
    Similarity.
    """
    a, b = first.astype(np.float64), second.astype(np.float64)
    mean_a, mean_b = _blurred(a), _blurred(b)
    variance_a = _blurred(a * a) - mean_a**2
    variance_b = _blurred(b * b) - mean_b**2
    covariance = _blurred(a * b) - mean_a * mean_b
    above = (2 * mean_a * mean_b + C1) * (2 * covariance + C2)
    below = (mean_a**2 + mean_b**2 + C1) * (variance_a + variance_b + C2)
    return np.asarray(above / below, np.float32)


def masked_mean(values: Floats, mask: Bool) -> float:
    """Mean over the pixels of a mask that is not empty."""
    return float(values[mask].mean(dtype=np.float64))


def worst_part(values: Floats, mask: Bool, *, side: int, highest: bool = False) -> float:
    """The lowest (or highest) mean over a square window of ``side`` px, of those at least half within the mask.

    Where no window is, the mean over the whole mask.
    """
    weight = mask.astype(np.float32)
    share = cv2.boxFilter(weight, cv2.CV_32F, (side, side), borderType=cv2.BORDER_CONSTANT)
    total = cv2.boxFilter(np.asarray(values * weight), cv2.CV_32F, (side, side), borderType=cv2.BORDER_CONSTANT)
    filled = (share >= 0.5) & mask
    if not filled.any():
        return masked_mean(values, mask)
    means = total[filled] / share[filled]
    return float(means.max() if highest else means.min())


def _blurred(
    values: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    size = 2 * WINDOW_RADIUS + 1
    return np.asarray(cv2.GaussianBlur(values, (size, size), WINDOW_SIGMA, borderType=cv2.BORDER_REFLECT), np.float64)
