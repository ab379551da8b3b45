"""Divides superpixels into object and background: colour models on both sides, a minimum cut between them."""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array, coo_matrix, csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, maximum_flow

from model_blocks.embedded.superpixels import Superpixels

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

COLOUR_WIDTH = 6.0  # Lab units: colours this near count as one in the colour models
NEARNESS = 0.30  # share of the longer side over which a colour speaks for its surroundings
PLACE_WEIGHT = 1.0  # of where the saliency lies
COLOUR_WEIGHT = 0.7  # of which side the colour is found on
SEAM_WEIGHT = 3.0  # of neighbours staying together
PLACE_LIMIT = 3.0  # log odds beyond which the place says no more
ROUNDS = 4
ENTRANCE = 0.03  # of the longer side: half the width of an entrance that is closed to look for bays
POCKET_SHARE = 0.6  # of a piece that must lie in a bay
HULL_SHARE = 0.5  # of a piece that must lie in the convex hull
BAY_WEIGHT = 1.0  # of colour in the bays of the hull
HULL_ROUNDS = 3
SHADE_RATIO = 0.6  # of the light around; a piece brighter than this is not taken for a hard shadow
SHADE_TINT = 7.0  # Lab units by which a shadow may differ from the darkened background
SHADE_FREE = 0.35  # of a shadow's neighbours that are background
SHADE_LIMIT = 0.25  # of the object that may be taken for shadow
TIP = 0.02  # of the longer side: half the width of what counts as a leftover
UNITS = 1000  # capacities are whole numbers


def divide(pieces: Superpixels, standing_out: Float, *, threshold: float) -> Bool:
    """Which pieces are the object, (N,).

    Args:
        pieces: the superpixels.
        standing_out: (N,), 0..1, how little each piece hangs on the edge of the picture.
        threshold: value of ``standing_out`` that speaks for neither side.

    Source: Boykov, Jolly 2001 (minimum cut) and Rother et al. 2004, GrabCut (the iteration), with a Parzen estimate in
    colour and place for the colour models.
    """
    kernel = _kernel(pieces)
    seams = _seams(pieces)
    place = np.clip(np.log((standing_out + 1e-3) / (threshold + 1e-3)), -PLACE_LIMIT, PLACE_LIMIT)
    inside = _iterated(pieces, place > 0, place, kernel, seams)
    inside = _with_pockets(pieces, inside, kernel)
    for _ in range(HULL_ROUNDS):
        inside = _within_hull(pieces, inside, place, kernel, seams)
    return _without_shadow(pieces, inside)


def _iterated(pieces: Superpixels, inside: Bool, place: Float, kernel: Float, seams: Float) -> Bool:
    """Colour models and cut in turn until they agree."""
    for _ in range(ROUNDS):
        if not inside.any() or inside.all():
            break
        odds = PLACE_WEIGHT * place + COLOUR_WEIGHT * _log_odds(kernel, pieces.area * inside, pieces.area * ~inside)
        now = minimum_cut(odds, pieces.neighbours, seams)
        if (now == inside).all():
            break
        inside = now
    return inside


def _with_pockets(pieces: Superpixels, inside: Bool, kernel: Float) -> Bool:
    """Adds the bays and holes of the object that look unlike the outside."""
    mask = inside[pieces.labels]
    closed = _closed(mask)
    share = np.bincount(pieces.labels.ravel(), weights=closed.ravel()) / np.bincount(pieces.labels.ravel())
    bay = ~inside & (share > POCKET_SHARE)
    outside = ~inside & ~bay
    if not outside.any():
        return inside
    odds = _log_odds(kernel, pieces.area * inside, pieces.area * outside)
    groups, count = _regions(pieces, bay)
    total = np.bincount(groups[bay], weights=(odds * pieces.area)[bay], minlength=count)
    return np.asarray(inside | (bay & (total[groups] > 0)))


def _closed(mask: Bool) -> Bool:
    """The mask with narrow entrances shut and all behind them filled; the frame's lower edge counts as shut."""
    width = max(1, round(ENTRANCE * max(mask.shape)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    framed = np.pad(mask, ((width, 1), (width, width))).astype(np.uint8)
    framed[-1, np.flatnonzero(framed[-2])[:1].min(initial=0) : np.flatnonzero(framed[-2]).max(initial=-1) + 1] = 1
    shut = cv2.morphologyEx(framed, cv2.MORPH_CLOSE, disc)
    return np.asarray(ndimage.binary_fill_holes(shut)[width:-1, width:-width])


def _within_hull(pieces: Superpixels, inside: Bool, place: Float, kernel: Float, seams: Float) -> Bool:
    """Cuts once more: in the bays of the convex hull colour alone decides, measured against what lies outside."""
    hull = _convex_hull(_main_part(inside[pieces.labels]))
    share = np.bincount(pieces.labels.ravel(), weights=hull.ravel()) / np.bincount(pieces.labels.ravel())
    outside = ~inside & (share < HULL_SHARE)
    if not inside.any() or not outside.any():
        return inside
    odds = _log_odds(kernel, pieces.area * inside, pieces.area * outside)
    bay = ~inside & ~outside
    total = np.where(bay, BAY_WEIGHT * odds, COLOUR_WEIGHT * odds + np.where(inside, np.maximum(place, 0.5), place))
    return minimum_cut(total, pieces.neighbours, seams)


def _main_part(mask: Bool) -> Bool:
    """The largest connected part and whatever is at least a tenth of it and does not reach in from the frame."""
    labels = np.asarray(ndimage.label(mask)[0])
    area = np.bincount(labels.ravel())
    area[0] = 0
    keep = area >= np.maximum(0.1 * area.max(), 1)
    keep[np.unique(np.concatenate([labels[0], labels[:, 0], labels[:, -1]]))] = False
    keep[area.argmax()] = True
    keep[0] = False
    return np.asarray(keep[labels])


def _without_shadow(pieces: Superpixels, inside: Bool) -> Bool:
    """Drops pieces at the rim whose colour is that of the background nearby with most of its light gone.

    An object that is itself so dark that this would cost it a good part is left alone.
    """
    near = kernel_of(pieces.centre, NEARNESS) * (pieces.area * ~inside)[None, :]
    total = np.maximum(near.sum(axis=1, keepdims=True), 1e-9)
    light = (near[:, :, None] * linear_rgb(pieces.lab)[None, :, :]).sum(axis=1) / total
    own = linear_rgb(pieces.lab)
    ratio = own.sum(axis=1) / np.maximum(light.sum(axis=1), 1e-6)
    shaded = lab_of(light * ratio[:, None])
    off = np.sqrt(((shaded - pieces.lab) ** 2).sum(axis=1))
    like = inside & (ratio < SHADE_RATIO) & (off < SHADE_TINT)
    skirt = inside & ~like & _beside(pieces, ~inside)
    groups, count = _regions(pieces, like)
    free = _seam_count(pieces, groups, count, like, ~inside | skirt)
    free += np.bincount(groups[like & pieces.border], minlength=count)
    held = _seam_count(pieces, groups, count, like, inside & ~like & ~skirt)
    shadow = like & (free > SHADE_FREE * (free + held))[groups]
    shadow |= skirt & _beside(pieces, shadow) & (ratio < 1) & (off < 2 * SHADE_TINT)
    if pieces.area[shadow].sum() >= SHADE_LIMIT * pieces.area[inside].sum():
        return inside
    return _without_tips(pieces, inside & ~shadow, shadow, (ratio < SHADE_RATIO) & (off < 2 * SHADE_TINT))


def _without_tips(pieces: Superpixels, inside: Bool, shadow: Bool, dim: Bool) -> Bool:
    """Drops the thin and dim leftovers where a shadow that was removed had run out."""
    mask = inside[pieces.labels]
    width = max(1, round(TIP * max(mask.shape)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    solid = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, disc)
    share = np.bincount(pieces.labels.ravel(), weights=solid.ravel()) / np.bincount(pieces.labels.ravel())
    for _ in range(3):
        shadow = shadow | (inside & _beside(pieces, shadow) & dim & (share < 0.5))
    return inside & ~shadow


def _beside(pieces: Superpixels, mask: Bool) -> Bool:
    """Pieces with a neighbour in the mask."""
    a, b = pieces.neighbours.T
    touched = np.zeros_like(mask)
    touched[a[mask[b]]] = True
    touched[b[mask[a]]] = True
    return touched


def _seam_count(pieces: Superpixels, groups: NDArray[np.int32], count: int, of: Bool, to: Bool) -> NDArray[np.int64]:
    """How many neighbours in ``to`` each group of the pieces in ``of`` has."""
    a, b = np.concatenate([pieces.neighbours, pieces.neighbours[:, ::-1]]).T
    return np.bincount(groups[a][of[a] & to[b]], minlength=count)


def linear_rgb(lab: Float) -> Float:
    """Linear RGB (N, 3) of Lab colours (N, 3)."""
    return np.asarray(cv2.cvtColor(lab[None].astype(np.float32), cv2.COLOR_Lab2LRGB)[0], dtype=np.float64)


def lab_of(linear: Float) -> Float:
    """Lab colours (N, 3) of linear RGB (N, 3)."""
    clipped = np.clip(linear, 0, 1)[None].astype(np.float32)
    return np.asarray(cv2.cvtColor(clipped, cv2.COLOR_LRGB2Lab)[0], dtype=np.float64)


def _convex_hull(mask: Bool) -> Bool:
    hull = np.zeros(mask.shape, np.uint8)
    points = cv2.findNonZero(mask.astype(np.uint8))
    if points is not None:
        cv2.fillConvexPoly(hull, cv2.convexHull(points), 1)
    return hull > 0


def _regions(pieces: Superpixels, mask: Bool) -> tuple[NDArray[np.int32], int]:
    """Numbers the connected groups of pieces inside a mask."""
    a, b = pieces.neighbours[mask[pieces.neighbours].all(axis=1)].T
    size = len(mask)
    count, labels = connected_components(coo_matrix((np.ones(len(a)), (a, b)), shape=(size, size)), directed=False)
    return labels, int(count)


def _kernel(pieces: Superpixels) -> Float:
    return kernel_of(pieces.lab, COLOUR_WIDTH) * kernel_of(pieces.centre, NEARNESS)


def kernel_of(points: Float, width: float) -> Float:
    """Gaussian affinity (N, N) of points (N, D)."""
    scaled = (points / width).astype(np.float32)
    distance2 = np.zeros((len(points), len(points)), np.float32)
    for channel in scaled.T:
        distance2 += np.square(channel[:, None] - channel[None, :])
    return np.exp(-distance2 / 2).astype(np.float64)


def _log_odds(kernel: Float, front: Float, back: Float) -> Float:
    """Log odds of each piece's colour between two weightings of the pieces."""
    ahead = (kernel * front[None, :]).sum(axis=1)
    behind = (kernel * back[None, :]).sum(axis=1)
    return np.asarray(np.clip(np.log((ahead + 1e-5) / (behind + 1e-5)), -3, 3), dtype=np.float64)


def _seams(pieces: Superpixels) -> Float:
    a, b = pieces.neighbours.T
    distance2 = ((pieces.lab[a] - pieces.lab[b]) ** 2).sum(axis=1)
    typical = max(float(distance2.mean()), 1.0) if len(distance2) else 1.0
    return np.asarray(SEAM_WEIGHT * (np.exp(-distance2 / (0.5 * typical)) * 0.95 + 0.05), dtype=np.float64)


def minimum_cut(odds: Float, pairs: NDArray[np.int64], seams: Float) -> Bool:
    """Labels (N,) that minimise the sum of ``-odds`` over the object and of ``seams`` over the cut pairs (E, 2)."""
    count = len(odds)
    source, sink = count, count + 1
    nodes = np.arange(count)
    capacity = np.round(np.concatenate([np.maximum(odds, 0), np.maximum(-odds, 0), seams, seams]) * UNITS)
    starts = np.concatenate([np.full(count, source), nodes, pairs[:, 0], pairs[:, 1]])
    ends = np.concatenate([nodes, np.full(count, sink), pairs[:, 1], pairs[:, 0]])
    graph = csr_array(coo_array((capacity.astype(np.int32), (starts, ends)), shape=(count + 2, count + 2)))
    left = csr_array(graph - maximum_flow(graph, source, sink).flow)
    left.data = np.maximum(left.data, 0)
    left.eliminate_zeros()
    reached = breadth_first_order(left, source, return_predecessors=False)
    inside = np.zeros(count + 2, bool)
    inside[reached] = True
    return inside[:count]
