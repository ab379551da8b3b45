"""A hash of what a picture shows, that stays nearly the same when it is encoded again or resized."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from expectations.views import BEHIND, Floats, shrunk, to_luma

SIDE = 32  # px of the copy that is transformed
BLOCK = 8  # lowest frequencies in each direction
BITS = BLOCK * BLOCK
FAINTEST = 4.0  # largest coefficient of a picture that shows nothing; a code of contrast gives about 16


def perceptual_hash(rgb: Floats, alpha: Floats | None = None) -> str | None:
    """Hash (pHash) of a picture as 16 hexadecimal digits; None of one that is a single colour.

    The luma is shrunk to 32 × 32 px by area, on middle grey where it is transparent; a bit says whether a coefficient
    of its DCT (II, orthonormal; the lowest 8 × 8 frequencies, the mean left out and (8, 0) in its place) is above
    their median.

    Args:
        rgb: (h, w, 3), codes 0..255.
        alpha: (h, w), 0..1.

    Source: C. Zauner 2010, Implementation and Benchmarking of Perceptual Image Hash Functions.
    """
    luma = to_luma(rgb)
    if alpha is not None:
        luma = luma * alpha + np.float32(BEHIND) * (1 - alpha)
    small = _to_square(luma)
    basis = dct_basis(SIDE)[: BLOCK + 1]
    spectrum = basis @ small.astype(np.float64) @ basis.T
    lowest = spectrum[:BLOCK, :BLOCK].ravel().copy()
    lowest[0] = spectrum[BLOCK, 0]
    if np.abs(lowest).max() < FAINTEST:
        return None
    bits = lowest > np.median(lowest)
    return np.packbits(bits).tobytes().hex()


@lru_cache(maxsize=4)
def dct_basis(size: int) -> NDArray[np.float64]:
    """Rows are the orthonormal DCT-II basis functions of ``size`` samples."""
    frequency, sample = np.mgrid[0:size, 0:size]
    basis = np.cos(np.pi * (2 * sample + 1) * frequency / (2 * size)) * np.sqrt(2 / size)
    basis[0] /= np.sqrt(2)
    return np.asarray(basis, np.float64)


def _to_square(luma: Floats) -> Floats:
    """32 × 32 px by area; a picture with fewer is repeated pixel by pixel first."""
    height, width = luma.shape
    down, across = (-(-SIDE // extent) for extent in (height, width))
    return shrunk(luma.repeat(down, axis=0).repeat(across, axis=1), SIDE, SIDE)
