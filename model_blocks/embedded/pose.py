"""Where a remembered object lies: shifted, turned and scaled from the picture it was shown in."""

import cv2
import numpy as np
from numpy.typing import NDArray

from model_blocks.embedded.tracking_flow import chained, dense_flow, moved, positions, sample

UInt8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]
Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

MOST_POINTS = 4000  # of a fit; more make it slower, not better
FEWEST_POINTS = 24
MISS = 1.5  # pixels by which a point may miss a fit
STILL = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
MATCHED = 40.0  # of 255: a pixel farther from the remembered colour shows something else
ROUNDS = 2


def fit_similarity(starts: Float, ends: Float) -> tuple[Float, float] | None:
    """Shift, turn and scale (2, 3) that carries most starts (N, 2) to their ends, and the share that it does carry.

    None where there are too few points to tell. The same points give the same answer.
    """
    if len(starts) < FEWEST_POINTS:
        return None
    step = -(-len(starts) // MOST_POINTS)
    before, after = (np.ascontiguousarray(points[::step], dtype=np.float32) for points in (starts, ends))
    matrix, kept = cv2.estimateAffinePartial2D(
        before, after, method=cv2.RANSAC, ransacReprojThreshold=MISS, maxIters=500, confidence=0.995
    )
    if matrix is None or not np.isfinite(matrix).all():
        return None
    return np.asarray(matrix, dtype=np.float64), float(np.mean(kept))


def scale_of(matrix: Float) -> float:
    """How much a similarity enlarges."""
    return float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))


def posed(values: NDArray[np.generic], matrix: Float, size: tuple[int, int], outside: float = 0.0) -> Float32:
    """Values (H, W[, C]) of the remembered picture, laid where they are now, (h, w[, C])."""
    found = cv2.warpAffine(
        values.astype(np.float32), matrix, size[::-1], flags=cv2.INTER_LINEAR, borderValue=(outside,) * 4
    )
    return np.asarray(found, dtype=np.float32)


def aligned(image: UInt8, reference: UInt8, mask: Float32, pose: Float, gain: Float) -> tuple[Float, float]:
    """A better pose, and the share of the object that supports it (0: the given one is returned).

    Args:
        image: (H, W, 3), where the object is to be found.
        reference: (h, w, 3), where it was shown.
        mask: (h, w), 0..1, what of that was the object.
        pose: (2, 3), about where it is.
        gain: (3,), brightness now over brightness then.
    """
    share = 0.0
    for _ in range(ROUNDS):
        found = _aligned_once(image, reference, mask, pose, gain)
        if found is None:
            break
        pose, share = found
    return pose, share


def _aligned_once(
    image: UInt8, reference: UInt8, mask: Float32, pose: Float, gain: Float
) -> tuple[Float, float] | None:
    size = image.shape[:2]
    cover = posed(mask, pose, size)
    colours = (posed(reference, pose, size) * gain).astype(np.float32)
    flow = residual_flow(image, colours, cover)
    places = positions(*size)
    remembered = sample(colours, places + flow)
    fits = np.abs(remembered - image).max(axis=-1) < MATCHED
    solid = sample(cover, places + flow) > 0.5
    use = fits & solid
    ends = places[use].astype(np.float64)
    fit = fit_similarity(ends + flow[use], ends)
    if fit is None:
        return None
    return chained(pose, fit[0]), fit[1] * float(use.sum()) / max(1.0, float(solid.sum()))


def residual_flow(image: UInt8, colours: Float32, cover: Float32) -> Float32:
    """From each pixel of ``image`` to where it lies among ``colours``, which are the object's where ``cover`` is 1."""
    blend = cover[..., None]
    put = np.clip(np.rint(colours * blend + image * (1 - blend)), 0, 255).astype(np.uint8)
    return dense_flow(image, put)


def carried(points: Bool, flow: Float32, trusted: Float32) -> tuple[Float, Float]:
    """Starts and ends (N, 2) of the points (H, W) whose motion can be trusted."""
    use = points & (trusted > 0.5)
    starts = positions(*points.shape)[use].astype(np.float64)
    return starts, starts + flow[use]


def centre_of(mask: Float32, pose: Float) -> Float:
    """Where the middle of a remembered mask (h, w) lies under a pose, (x, y)."""
    weight = mask.astype(np.float64)
    total = max(float(weight.sum()), 1e-9)
    y, x = np.mgrid[0 : mask.shape[0], 0 : mask.shape[1]]
    return moved(np.array([(x * weight).sum() / total, (y * weight).sum() / total]), pose)
