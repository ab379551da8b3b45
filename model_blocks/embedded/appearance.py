"""What an object and its surroundings look like, remembered as how often each colour occurs in them."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

UInt8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]

BINS = 16  # per channel
SMOOTHING = 0.8  # bins; neighbouring colours are seen, too
UNSEEN = 0.15  # share of the surroundings that may have any colour: what comes into the picture later
EVIDENCE_LIMIT = 3.0  # log odds that a colour may weigh


def colour_shares(image: UInt8, weight: Float32) -> Float32:
    """Share of each colour, (BINS, BINS, BINS), among the weighted pixels; all alike where nothing has weight."""
    counts = np.bincount(_bins(image).ravel(), weights=weight.ravel().astype(np.float64), minlength=BINS**3)
    total = counts.sum()
    if total < 1:
        return np.full((BINS,) * 3, 1 / BINS**3, dtype=np.float32)
    smooth = ndimage.gaussian_filter(counts.reshape((BINS,) * 3), SMOOTHING, mode="nearest")
    return np.asarray(smooth / smooth.sum(), dtype=np.float32)


def colour_evidence(image: UInt8, of_object: Float32, of_ground: Float32) -> Float32:
    """Log odds (H, W) that a pixel of this colour belongs to the object, limited to +-EVIDENCE_LIMIT."""
    even = np.float32(1 / BINS**3)
    front = 0.97 * of_object + 0.03 * even
    back = (1 - UNSEEN) * of_ground + UNSEEN * even
    odds = np.log(front / back).astype(np.float32)
    return np.asarray(np.clip(odds, -EVIDENCE_LIMIT, EVIDENCE_LIMIT).ravel()[_bins(image)])


def _bins(image: UInt8) -> NDArray[np.intp]:
    coarse = (image // (256 // BINS)).astype(np.intp)
    return (coarse[..., 0] * BINS + coarse[..., 1]) * BINS + coarse[..., 2]
