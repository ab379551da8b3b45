"""Fills a hole with pieces of the same picture: every small patch in it should look like one outside of it.

Source: Wexler, Shechtman, Irani 2007, Space-Time Completion of Video; the search after Barnes, Shechtman, Finkelstein,
Goldman 2009, PatchMatch, with all pixels at once, so that the result is the same in any process.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

UInt8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]
Places = NDArray[np.intp]  # (N, 2), row and column

REACH = 3  # pixels; patches are 7 x 7
SIDE = 320  # longest side at which is searched; beyond, the pieces found are laid at full size
CONTEXT = 1.5  # of the hole's longer side: how far around it is searched
ROUNDS = 5
COARSEST = 1.5  # pixels: how deep the hole is at the smallest size
FADING = 1.3  # how much less a patch has to say for each pixel that it lies deeper in the hole
DEEPEST = 40.0  # pixels; no fading beyond
SEED = 7


@dataclass(frozen=True)
class _Level:
    """One size of the picture: which pixels are missing and where patches may come from."""

    hole: Bool
    sources: Places
    targets: Places


def fill_with_patches(image: UInt8, hole: Bool) -> UInt8:
    """The picture (H, W, 3) with its hole (H, W) filled; all else is as it was. Black if there is nothing but hole."""
    if not hole.any():
        return image
    if hole.all():
        return np.zeros_like(image)
    box = _context(hole)
    part, missing = image[box], hole[box]
    shrink = min(1.0, SIDE / max(part.shape[:2]))
    size = max(1, round(part.shape[1] * shrink)), max(1, round(part.shape[0] * shrink))
    start = cv2.inpaint(part, missing.astype(np.uint8), 3, cv2.INPAINT_TELEA)
    small = np.asarray(cv2.resize(start, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    lacking = np.asarray(cv2.resize(missing.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0)
    filled, origin = _by_levels(small, lacking)
    if origin is not None and shrink < 1:
        filled = _at_full_size(np.asarray(start, dtype=np.uint8), missing, origin, lacking.shape)
    elif shrink < 1:
        filled = np.asarray(start, dtype=np.uint8)
    result = image.copy()
    result[box][missing] = filled[missing]
    return result


def _context(hole: Bool) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    around = int(CONTEXT * max(np.ptp(rows), np.ptp(columns))) + 8 * REACH
    return slice(max(0, rows[0] - around), rows[-1] + around + 1), slice(
        max(0, columns[0] - around), columns[-1] + around + 1
    )


def _by_levels(image: UInt8, hole: Bool) -> tuple[UInt8, Places | None]:
    """The filled picture and, for every pixel (H, W, 2), where it came from; None where no patch fits anywhere."""
    level = _level(hole)
    if len(level.sources) == 0:
        return image, None
    depth = cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 3).max()
    origin = None
    if depth > COARSEST and min(hole.shape) >= 8 * REACH:
        size = (hole.shape[1] + 1) // 2, (hole.shape[0] + 1) // 2
        half = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        lacking = np.asarray(cv2.resize(hole.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0)
        filled, coarse = _by_levels(half, lacking)
        if coarse is not None:
            origin = _enlarged(coarse, hole.shape)
            large = cv2.resize(filled, hole.shape[::-1], interpolation=cv2.INTER_LINEAR)
            image = np.where(hole[..., None], large, image).astype(np.uint8)
    return _settled(image, level, origin)


def _level(hole: Bool) -> _Level:
    square = np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8)
    touched = cv2.dilate(np.pad(hole, REACH).astype(np.uint8), square)[REACH:-REACH, REACH:-REACH] > 0
    free = ~touched
    free[:REACH], free[-REACH:], free[:, :REACH], free[:, -REACH:] = False, False, False, False
    return _Level(hole, np.argwhere(free), np.argwhere(touched))


def _enlarged(origin: Places, shape: tuple[int, ...]) -> Places:
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    parity = np.dstack([rows % 2, columns % 2])
    return np.asarray(origin[rows // 2, columns // 2] * 2 + parity, dtype=np.intp)


def _settled(image: UInt8, level: _Level, origin: Places | None) -> tuple[UInt8, Places]:
    """Searches and votes in turn until the hole looks like its surroundings."""
    random = np.random.default_rng(SEED)
    allowed = np.zeros(level.hole.shape, dtype=bool)
    allowed[tuple(level.sources.T)] = True
    shape = level.hole.shape
    found = np.zeros((*shape, 2), dtype=np.intp)
    found[:] = level.sources[random.integers(0, len(level.sources), shape)]
    if origin is not None:
        usable = allowed[np.minimum(origin[..., 0], shape[0] - 1), np.minimum(origin[..., 1], shape[1] - 1)]
        usable &= (origin[..., 0] < shape[0]) & (origin[..., 1] < shape[1])
        found = np.where(usable[..., None], origin, found)
    work = image.astype(np.float32)
    for _ in range(ROUNDS):
        patches = _patches(work)
        found, cost = _searched(patches, level, found, allowed, random)
        work = _voted(work, level, found, cost)
    return np.clip(np.rint(work), 0, 255).astype(np.uint8), found


def _patches(image: Float32) -> Float32:
    """All patches, (H, W, 3 * 49), the picture mirrored at its edges."""
    padded = np.pad(image, ((REACH, REACH), (REACH, REACH), (0, 0)), mode="symmetric")
    side = 2 * REACH + 1
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(0, 1))
    return np.ascontiguousarray(windows.reshape(*image.shape[:2], -1))


def _searched(
    patches: Float32, level: _Level, found: Places, allowed: Bool, random: np.random.Generator
) -> tuple[Places, Float32]:
    """Better sources for all targets: what suits a neighbour, shifted along, and places around one's own."""
    rows, columns = level.targets.T
    wanted = patches[rows, columns]
    best = found[rows, columns]
    cost = _distance(patches, wanted, best)
    found = found.copy()
    limits = np.array(allowed.shape) - 1
    for step in (4, 2, 1):
        for down, right in ((step, 0), (-step, 0), (0, step), (0, -step)):
            near = np.clip(level.targets - (down, right), 0, limits)
            tried = found[near[:, 0], near[:, 1]] + (level.targets - near)
            best, cost = _better(patches, wanted, best, cost, tried, allowed)
            found[rows, columns] = best
    radius = max(allowed.shape)
    while radius >= 1:
        tried = best + random.integers(-radius, radius + 1, best.shape)
        best, cost = _better(patches, wanted, best, cost, tried, allowed)
        radius //= 2
    found[rows, columns] = best
    return found, cost


def _better(
    patches: Float32, wanted: Float32, best: Places, cost: Float32, tried: Places, allowed: Bool
) -> tuple[Places, Float32]:
    tried = np.clip(tried, 0, np.array(allowed.shape) - 1)
    use = np.flatnonzero(allowed[tried[:, 0], tried[:, 1]] & (tried != best).any(axis=1))
    costs = _distance(patches, wanted[use], tried[use])
    wins = costs < cost[use]
    best, cost = best.copy(), cost.copy()
    best[use[wins]], cost[use[wins]] = tried[use[wins]], costs[wins]
    return best, cost


def _distance(patches: Float32, wanted: Float32, places: Places) -> Float32:
    away = patches[places[:, 0], places[:, 1]] - wanted
    return np.asarray(np.einsum("ij,ij->i", away, away), dtype=np.float32)


def _voted(image: Float32, level: _Level, found: Places, cost: Float32) -> Float32:
    """Every missing pixel as the mean of what the patches over it say, the fitting ones first."""
    height, width = level.hole.shape
    depth = cv2.distanceTransform(level.hole.astype(np.uint8), cv2.DIST_L2, 5)[tuple(level.targets.T)]
    weight = np.exp(-cost / (2 * max(float(np.percentile(cost, 50)), 1.0))) * FADING ** -np.minimum(depth, DEEPEST)
    sums, total = np.zeros((height * width, 3)), np.zeros(height * width)
    source = found[tuple(level.targets.T)]
    for shift in np.ndindex(2 * REACH + 1, 2 * REACH + 1):
        move = np.array(shift) - REACH
        to = level.targets + move
        use = ((to >= 0) & (to < (height, width))).all(axis=1)
        index = to[use, 0] * width + to[use, 1]
        colours = image[tuple((source[use] + move).T)]
        total += np.bincount(index, weight[use], height * width)
        for channel in range(3):
            sums[:, channel] += np.bincount(index, weight[use] * colours[:, channel], height * width)
    voted = (sums / np.maximum(total, 1e-12)[:, None]).reshape(height, width, 3)
    return np.where(level.hole[..., None], voted, image).astype(np.float32)


def _at_full_size(image: UInt8, hole: Bool, origin: Places, shape: tuple[int, ...]) -> UInt8:
    """The pieces found at the searched size, laid at the picture's own."""
    scale = np.array(hole.shape) / shape[:2]
    rows, columns = np.nonzero(hole)
    full = np.column_stack([rows, columns])
    small = np.minimum((full / scale).astype(np.intp), np.array(shape[:2]) - 1)
    away = np.rint((origin[small[:, 0], small[:, 1]] - small) * scale).astype(np.intp)
    source = np.clip(full + away, 0, np.array(hole.shape) - 1)
    good = ~hole[source[:, 0], source[:, 1]]
    result = image.copy()
    result[rows[good], columns[good]] = image[source[good, 0], source[good, 1]]
    return result
