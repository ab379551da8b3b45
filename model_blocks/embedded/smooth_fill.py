"""Values where nothing is known, as smoothly as what is known around allows."""

import cv2
import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

ROUNDS = 4  # of relaxation per level


def fill_smoothly(values: Float32, known: Bool) -> Float32:
    """Values (H, W, C) as they are where known (H, W), elsewhere a membrane hung between them; zero if nothing is.

    Halves the picture until everything is known, then refines: Gortler et al. 1996, The Lumigraph (pull, push), with
    steps towards Laplace's equation at each size.
    """
    weight = known.astype(np.float32)
    filled = _filled(np.asarray(values * weight[..., None], dtype=np.float32), weight)
    return np.where(known[..., None], values, filled).astype(np.float32)


def _filled(summed: Float32, weight: Float32) -> Float32:
    """``summed`` holds values times their weights."""
    known = weight > 0
    own = summed / np.maximum(weight, 1e-6)[..., None]
    if known.all() or not known.any() or min(weight.shape) < 2:
        mean = summed.sum(axis=(0, 1)) / max(float(weight.sum()), 1e-6)
        return np.asarray(np.where(known[..., None], own, mean), dtype=np.float32)
    coarse = _filled(_halved(summed), _halved(weight[..., None])[..., 0])
    size = weight.shape[1], weight.shape[0]
    large = cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR).reshape(own.shape)
    filled = np.where(known[..., None], own, large).astype(np.float32)
    kernel = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=np.float32) / 4
    for _ in range(ROUNDS):
        mean4 = cv2.filter2D(filled, -1, kernel, borderType=cv2.BORDER_REPLICATE).reshape(own.shape)
        filled = np.where(known[..., None], own, mean4).astype(np.float32)
    return filled


def _halved(values: Float32) -> Float32:
    height, width = values.shape[:2]
    padded = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)))
    return np.asarray(padded[::2, ::2] + padded[1::2, ::2] + padded[::2, 1::2] + padded[1::2, 1::2], dtype=np.float32)
