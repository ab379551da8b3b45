"""Colour planes to the size of the picture and back, with every sample where it belongs.

A colour sample stands for a group of 2 or 4 pixels and lies at ``site`` in it: 0 on the first pixel, 0.5 in the middle,
1 on the last. Growing is bilinear between samples; shrinking is the mean over one group's width around the sample.
Beyond the border the last sample is repeated. All weights are sums of powers of two, so that flat colours stay as they
are.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def around(first: int, last: int, reach: int, size: int) -> NDArray[np.intp]:
    """Numbers of the rows or columns ``first - reach`` to ``last + reach`` (not included), held inside the plane."""
    return np.clip(np.arange(first - reach, last + reach), 0, size - 1)


def grow_rows(plane: Floats, shift: int, site: float) -> Floats:
    """Rows ``(r + 2, w)`` with one neighbour on each side to ``(r << shift, w)``."""
    if shift == 0:
        return plane[1:-1]
    phases = 1 << shift
    grown = np.empty((plane.shape[0] - 2, phases, plane.shape[1]), np.float32)
    scaled = _Scaled(plane)
    for phase in range(phases):
        between = _distance(phase, phases, site)
        if between == 0:
            grown[:, phase] = plane[1:-1]
            continue
        near, neighbour = scaled.by(1 - abs(between)), scaled.by(abs(between))
        np.add(near[1:-1], neighbour[2:] if between > 0 else neighbour[:-2], out=grown[:, phase])
    return grown.reshape(-1, plane.shape[1])


def grow_columns(plane: Floats, shift: int, site: float) -> Floats:
    """Columns ``(h, w + 2)`` with one neighbour on each side to ``(h, w << shift)``."""
    if shift == 0:
        return plane[:, 1:-1]
    phases, (height, width) = 1 << shift, plane.shape
    scaled = _Scaled(plane)
    parts = []
    for phase in range(phases):
        between = _distance(phase, phases, site)
        if between == 0:
            parts.append(plane[:, 1:-1])
            continue
        near, neighbour = scaled.by(1 - abs(between)), scaled.by(abs(between))
        parts.append(np.add(near[:, 1:-1], neighbour[:, 2:] if between > 0 else neighbour[:, :-2]))
    return np.asarray(cv2.merge(parts), np.float32).reshape(height, (width - 2) * phases)


def shrink_rows(plane: Floats, shift: int, site: float) -> Floats:
    """Rows ``((r + 2) << shift, w)``, a group of neighbours on each side, to ``(r, w)``."""
    if shift == 0:
        return plane[1:-1]
    groups = plane.reshape(-1, 1 << shift, plane.shape[1])
    count = groups.shape[0] - 2
    parts = [
        (groups[1 + group : 1 + group + count, phase], weight) for group, phase, weight in _window(1 << shift, site)
    ]
    return _mean(parts)


def shrink_columns(plane: Floats, shift: int, site: float) -> Floats:
    """Columns ``(h, w)`` to ``(h, ceil(w / 2**shift))``."""
    if shift == 0:
        return plane
    phases, (height, width) = 1 << shift, plane.shape
    count = -(-width // phases)
    padded = np.empty((height, (count + 2) * phases), np.float32)
    padded[:, phases : phases + width] = plane
    padded[:, :phases], padded[:, phases + width :] = plane[:, :1], plane[:, -1:]
    planes = [np.asarray(each, np.float32) for each in cv2.split(padded.reshape(height, count + 2, phases))]
    return _mean(
        [(planes[phase][:, 1 + group : 1 + group + count], weight) for group, phase, weight in _window(phases, site)]
    )


def _distance(phase: int, phases: int, site: float) -> float:
    """How far a pixel lies behind its group's colour sample, in groups."""
    return (phase - site * (phases - 1)) / phases


class _Scaled:
    """A plane times the few weights that the phases share."""

    def __init__(self, plane: Floats) -> None:
        self._by: dict[float, Floats] = {1.0: plane}

    def by(self, weight: float) -> Floats:
        if weight not in self._by:
            self._by[weight] = self._by[1.0] * np.float32(weight)
        return self._by[weight]


def _window(phases: int, site: float) -> list[tuple[int, int, float]]:
    """(group: -1, 0 or 1, pixel in it, weight) of the pixels under one group's width around the sample."""
    centre = site * (phases - 1)
    low, high = centre - phases / 2, centre + phases / 2
    found = []
    for pixel in range(-phases, 2 * phases):
        covered = min(high, pixel + 0.5) - max(low, pixel - 0.5)
        if covered > 0:
            found.append((pixel // phases, pixel % phases, covered / phases))
    return found


def _mean(parts: list[tuple[Floats, float]]) -> Floats:
    total = parts[0][0] * np.float32(parts[0][1])
    for part, weight in parts[1:]:
        total += part * np.float32(weight)
    return total
