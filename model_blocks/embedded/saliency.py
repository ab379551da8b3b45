"""Which pieces of a picture stand out from what lies along its edges."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from model_blocks.embedded.superpixels import Superpixels, slic

Float = NDArray[np.float64]

COLOUR_SIGMA = 10.0  # Lab units; the published value
LOWER_EDGE = 0.4  # how much touching the lower edge counts, the others being 1
PIECES = (200, 300, 450, 600)  # superpixels a picture is taken apart into


def standing_out(lab: NDArray[np.float32]) -> Float:
    """How little each pixel of a Lab picture (H, W, 3) hangs on the picture's edge, (H, W), 0..1.

    The mean over several sizes of superpixels, since each size finds other things.
    """
    wide = lab.astype(np.float64)
    total = np.zeros(lab.shape[:2])
    for count in PIECES:
        pieces = slic(wide, count=count)
        total += (1 - background_weight(pieces))[pieces.labels]
    return total / len(PIECES)


def background_weight(pieces: Superpixels) -> Float:
    """How firmly each piece hangs on the edge of the picture, (N,), 0..1 (boundary connectivity).

    Source: Zhu, Liang, Wei, Sun 2014, Saliency Optimization from Robust Background Detection.
    """
    colour = _distances(pieces.lab)
    geodesic = _geodesic(pieces, colour)
    near = np.exp(-(geodesic**2) / (2 * COLOUR_SIGMA**2))
    count = len(pieces.area)
    span = (near * pieces.area[None, :] * count).sum(axis=1)
    along = (near * _edge_weight(pieces)[None, :]).sum(axis=1)
    return np.asarray(1 - np.exp(-((along / np.sqrt(span)) ** 2) / 2), dtype=np.float64)


def _edge_weight(pieces: Superpixels) -> Float:
    """What stands on the lower edge only is often the object itself, cut off by the frame."""
    weight = pieces.border.astype(np.float64)
    lower = np.zeros_like(pieces.border)
    lower[pieces.labels[-1]] = True
    for edge in (pieces.labels[0], pieces.labels[:, 0], pieces.labels[:, -1]):
        lower[edge] = False
    weight[lower] = LOWER_EDGE
    return weight


def _distances(points: Float) -> Float:
    return np.asarray(np.sqrt(((points[:, None, :] - points[None, :, :]) ** 2).sum(axis=2)), dtype=np.float64)


def _geodesic(pieces: Superpixels, colour: Float) -> Float:
    a, b = pieces.neighbours.T
    rim = np.flatnonzero(pieces.border)
    a, b = np.concatenate([a, np.repeat(rim, len(rim))]), np.concatenate([b, np.tile(rim, len(rim))])
    a, b = a[a != b], b[a != b]
    steps = colour[a, b]
    small = _small_step(pieces, colour)
    steps = np.maximum(steps - small, 0) + 1e-6  # the tiny floor keeps an edge of zero weight an edge
    count = len(pieces.area)
    steps_matrix = coo_matrix((steps, (a, b)), shape=(count, count)).tocsr()
    twice = coo_matrix((np.ones(len(a)), (a, b)), shape=(count, count)).tocsr()
    steps_matrix.data /= twice.data  # a pair that came twice was summed
    return np.asarray(dijkstra(steps_matrix, directed=False), dtype=np.float64)


def _small_step(pieces: Superpixels, colour: Float) -> float:
    """The colour step that neighbours of the same thing make: noise and texture, not an edge."""
    count = len(pieces.area)
    nearest = np.full(count, np.inf)
    a, b = pieces.neighbours.T
    np.minimum.at(nearest, a, colour[a, b])
    np.minimum.at(nearest, b, colour[a, b])
    known = nearest[np.isfinite(nearest)]
    return float(known.mean()) if len(known) else 0.0
