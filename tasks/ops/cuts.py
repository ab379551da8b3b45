"""Where one shot ends and the next begins, found while frames pass by; a few small frames are held, never the clip."""

from collections import deque
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.ops.depth import Pixels, to_float

GLANCE = (36, 64)  # rows, columns of what is compared
AROUND = 6  # frames before and after a candidate that it is held against
LEAST = 0.06  # of 0..1: a cut changes at least so much, motion taken off
STANDS_OUT = 3.0  # times the change between the frames around it
BINS = 16
FLASH = 4  # frames; what lasts longer is a shot
KEPT = 2 * AROUND + 2  # small frames that are held

Floats = NDArray[np.float32]


class CutFinder:
    """Takes frames in order and names the first frames of new shots.

    The change from frame to frame is what is left after small movements are taken off, and how far the colours'
    distribution moved. A cut is a change that stands out among its neighbours and stays: after a flash the old picture
    comes back. Source: Boreczky, Rowe 1996, Comparison of video shot boundary detection techniques (histograms and
    block matching); a threshold that adapts to a window as in Yeo, Liu 1995.
    """

    def __init__(self) -> None:
        self._glances: deque[Floats] = deque(maxlen=KEPT)
        self._changes: list[float] = []
        self._found: list[int] = []
        self._decided = 0

    @classmethod
    def resumed(cls, changes: Sequence[float], found: Sequence[int], last: Pixels) -> "CutFinder":
        """A finder that goes on behind frames that another one was given.

        Args:
            changes: What that one found to change with every frame; see ``changes``.
            found: The cuts that it was sure of; see ``found``.
            last: The last ``KEPT`` of its frames again, (T, H, W, 3|4); all of them if they were fewer.
        """
        finder = cls()
        finder._glances.extend(glanced(frame) for frame in last)
        finder._changes, finder._found = list(changes), list(found)
        finder._decided = max(0, len(changes) - AROUND)
        return finder

    @property
    def changes(self) -> list[float]:
        """How much every frame so far differs from the one before it."""
        return self._changes

    @property
    def decided(self) -> int:
        """Frames that are known to begin a shot, or not to."""
        return self._decided

    @property
    def found(self) -> tuple[int, ...]:
        """The cuts that are certain so far."""
        return tuple(self._found)

    def add(self, frames: Pixels) -> None:
        """The next frames, (T, H, W, 3|4), any size."""
        for frame in frames:
            glance = glanced(frame)
            self._changes.append(change(self._glances[-1], glance) if self._glances else 0.0)
            self._glances.append(glance)
            self._decide(len(self._changes) - AROUND)

    def cuts(self) -> tuple[int, ...]:
        """Indices of the first frames of all shots but the first; to be asked once, after the last frame."""
        self._decide(len(self._changes))
        return tuple(self._found)

    def _decide(self, end: int) -> None:
        """Decide on all frames before ``end``."""
        while self._decided < end:
            at = self._decided
            self._decided += 1
            if at and self._stands_out(at) and self._stays(at):
                self._found.append(at)

    def _stands_out(self, at: int) -> bool:
        here = self._changes[at]
        before, after = self._changes[max(1, at - AROUND) : at], self._changes[at + 1 : at + 1 + AROUND]
        usual = float(np.median(before + after)) if before + after else 0.0
        return here >= LEAST and here >= STANDS_OUT * usual and here >= max([0.0, *before[-2:], *after[:2]])

    def _stays(self, at: int) -> bool:
        """Whether no frame soon after looks like the one before, nor one shortly before like this: that is a flash."""
        newest = len(self._changes) - 1
        held = {newest - back: glance for back, glance in enumerate(reversed(self._glances))}
        pairs = [(at - 1, later) for later in range(at + 1, at + FLASH)]
        pairs += [(earlier, at) for earlier in range(at - FLASH, at - 1)]
        known = [(held[a], held[b]) for a, b in pairs if a in held and b in held]
        return all(change(a, b) >= 0.5 * self._changes[at] for a, b in known)


def glanced(frame: Pixels) -> Floats:
    """A frame (H, W, 3|4) small, (36, 64, 3) float32 of 0..1."""
    rows, columns = GLANCE
    small = cv2.resize(frame[..., :3], (columns, rows), interpolation=cv2.INTER_AREA)
    return to_float(np.asarray(small, dtype=frame.dtype)).astype(np.float32)


def change(first: Floats, second: Floats) -> float:
    """How much changes from one small frame to another, 0..1, whatever moved a little or became brighter taken off."""
    spread = _histograms(first, second)
    most = float(np.sqrt(float(np.abs(first - second).mean()) * spread))
    if most * STANDS_OUT <= LEAST:  # what moved need not be taken off: no decision depends on it
        return most
    return float(np.sqrt(_left_over(first, second) * spread))


def _left_over(first: Floats, second: Floats) -> float:
    """Mean difference after every block of 4×4 has found its best place within 3 pixels around."""
    a, b = first.mean(axis=2), second.mean(axis=2)
    padded = np.pad(a - a.mean(), 3, mode="edge")
    target = b - b.mean()
    best = np.full((9, 16), np.inf, dtype=np.float32)
    for down in range(7):
        for right in range(7):
            off = np.abs(padded[down : down + 36, right : right + 64] - target)
            best = np.minimum(best, off.reshape(9, 4, 16, 4).mean(axis=(1, 3)))
    return float(best.mean() + abs(float(a.mean() - b.mean())) / 4)


def _histograms(first: Floats, second: Floats) -> float:
    """Half the distance between the distributions of each colour, averaged: 0 for the same, 1 for nothing in common."""
    total = 0.0
    for channel in range(3):
        a, b = (
            np.histogram(each[..., channel], bins=BINS, range=(0, 1))[0] / each[..., channel].size
            for each in (first, second)
        )
        total += float(np.abs(a - b).sum()) / 2
    return total / 3
