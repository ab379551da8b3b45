"""How the background of a clip moves from frame to frame, seen only where nothing is to be removed."""

import cv2
import numpy as np
from numpy.typing import NDArray

from model_blocks.embedded.smooth_fill import fill_smoothly
from model_blocks.embedded.tracking_flow import agreement, dense_flow, inside, positions, sample

UInt8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]
Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

SIDE = 480  # longest side at which the motion between two frames is looked for
MOST_POINTS = 4000
FEWEST_POINTS = 40
MISS = 1.0  # pixels of that size by which a point may miss the common motion
SHARE = 0.3  # of the points that must agree on it
FARTHEST = 6.0  # pixels that the true motion may lie off the common one


def common_motion(here: UInt8, there: UInt8, hole_here: Bool, hole_there: Bool) -> Float:
    """The homography (3, 3) from one frame to the next that most of the background follows; at rest if none does."""
    height, width = hole_here.shape
    shrink = min(1.0, SIDE / max(height, width))
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    first, second = (
        np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8) for image in (here, there)
    )
    away, back = dense_flow(first, second), dense_flow(second, first)
    free, free_there = (
        1 - np.asarray(cv2.resize(hole.astype(np.float32), size, interpolation=cv2.INTER_LINEAR), np.float32)
        for hole in (hole_here, hole_there)
    )
    places = positions(size[1], size[0])
    use = (free > 0.99) & (sample(free_there, places + away) > 0.99) & (agreement(away, back) > 0.5)
    matrix = _homography(places[use], (places + away)[use])
    scale = np.diag([size[0] / width, size[1] / height, 1.0])
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])  # pixel centres keep their places under scaling
    scale = np.linalg.inv(half) @ scale @ half
    return np.asarray(np.linalg.inv(scale) @ matrix @ scale)


def _homography(starts: Float32, ends: Float32) -> Float:
    if len(starts) < FEWEST_POINTS:
        return np.eye(3)
    step = -(-len(starts) // MOST_POINTS)
    before, after = np.ascontiguousarray(starts[::step]), np.ascontiguousarray(ends[::step])
    matrix, kept = cv2.findHomography(before, after, cv2.RANSAC, MISS, maxIters=500, confidence=0.995)
    if matrix is None or not np.isfinite(matrix).all() or kept.mean() < SHARE:
        return np.eye(3)
    return np.asarray(matrix, dtype=np.float64)


def places_under(matrix: Float, places: Float32) -> Float32:
    """Places (H, W, 2) under a homography (3, 3)."""
    height, width = places.shape[:2]
    carried = cv2.perspectiveTransform(places.reshape(1, -1, 2).astype(np.float64), matrix)
    return np.asarray(carried.reshape(height, width, 2), dtype=np.float32)


def refined_places(
    image: UInt8, hole: Bool, other: UInt8, other_hole: Bool, matrix: Float, origin: tuple[int, int]
) -> Float32:
    """Where each pixel of a piece of one frame lies in another frame, also inside of the hole.

    The common motion is bettered by what remains around the hole, hung into it like a membrane.

    Args:
        image: (h, w, 3), the piece.
        hole: (h, w), what of it is unknown.
        other: (H, W, 3), the other frame.
        other_hole: (H, W), what of that is unknown.
        matrix: (3, 3), the common motion of the whole frames.
        origin: Row and column of the piece in its frame.
    """
    places = positions(*hole.shape)
    full = places + np.array(origin[::-1], dtype=np.float32)
    there = places_under(matrix, full)
    seen = sample(other, there)
    usable = inside(there, *other_hole.shape) & (sample(other_hole.astype(np.float32), there) < 0.01)
    compared = np.where(usable[..., None], np.rint(seen), image).astype(np.uint8)
    own = np.where(hole[..., None], compared, image).astype(np.uint8)
    off, back = dense_flow(own, compared), dense_flow(compared, own)
    trusted = usable & ~hole & (agreement(off, back) > 0.5) & (np.linalg.norm(off, axis=-1) < FARTHEST)
    return places_under(matrix, full + fill_smoothly(off, trusted))
