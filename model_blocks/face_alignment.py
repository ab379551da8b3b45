"""Where a face has to lie for the networks that restore it: five points, a square of 512 pixels, a similarity.

Source: Karras, Laine, Aila 2019, the alignment of FFHQ, in the square that GFPGAN and CodeFormer were trained on.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 512  # px
SMALLEST_SCALE = 1e-3  # of crop to picture; a face of half a million pixels is none
TEMPLATE = ((192.98138, 239.94708), (318.90277, 240.1936), (256.63416, 314.01935), (201.26117, 371.41043),
            (313.08905, 371.15118))  # fmt: skip
"""Right eye, left eye, nose, right and left corner of the mouth, as the person sees them; x, y in the square."""

Matrix = NDArray[np.float64]


def estimate_alignment(landmarks: Sequence[tuple[float, float]]) -> Matrix | None:
    """The similarity from a picture's pixels to those of the square, by the least median of squares.

    One landmark that is far off does not move the others. The same points give the same numbers: the estimator draws
    from a generator with a fixed seed.

    Args:
        landmarks: Five points (x, y) in the order of ``TEMPLATE``.

    Returns:
        (2, 3) float64, or None where no similarity fits: points in one place, or not finite.
    """
    points = np.asarray(landmarks, dtype=np.float32)
    if not np.isfinite(points).all() or np.ptp(points, axis=0).max() < 1:
        return None
    found, _ = cv2.estimateAffinePartial2D(points, np.asarray(TEMPLATE, dtype=np.float32), method=cv2.LMEDS)
    matrix = np.asarray(found, dtype=np.float64)  # of None a single NaN
    return matrix if np.isfinite(matrix).all() and scale_of(matrix) > SMALLEST_SCALE else None


def scale_of(matrix: Matrix) -> float:
    """How many pixels of the result a pixel becomes along a side."""
    return float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
