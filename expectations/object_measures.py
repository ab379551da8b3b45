"""What the mask of an object looks like: how large, in how many pieces, with which holes, cut off where, how soft."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from expectations.views import SOLID, Bool, Floats

SPECK = 1e-3  # of the picture's area; smaller pieces and holes do not count
BAND = 8  # px at the reduced scale on both sides of the edge
HARD = 0.02  # alpha this near to 0 or 1 is not soft


@dataclass(frozen=True)
class ObjectMeasures:
    """Numbers of one mask; the object is where alpha is at least one half, at the reduced scale.

    Attributes:
        coverage: Share of the picture, 0..1.
        pieces: Parts of the object (8-connected) above 0.1 % of the picture.
        largest_piece: Share of the object that is its largest part, 0..1.
        holes: Parts of the background (4-connected) above 0.1 % of the picture that do not reach the border.
        border_top, border_right, border_bottom, border_left: Share of that side's pixels that are the object's, 0..1.
        border: The largest of these four.
        softness: Share of pixels within 8 px of the object's edge that are neither clear nor opaque, 0..1. A hard edge
            that was reduced has some 0.06.
    """

    coverage: float
    pieces: int
    largest_piece: float
    holes: int
    border_top: float
    border_right: float
    border_bottom: float
    border_left: float
    border: float
    softness: float


def measure_object(alpha: Floats) -> ObjectMeasures:
    """Measure the object of an alpha (h, w), 0..1."""
    mask = np.asarray(alpha >= SOLID)
    top, right, bottom, left = (float(side.mean()) for side in (mask[0], mask[:, -1], mask[-1], mask[:, 0]))
    pieces, largest = count_pieces(mask)
    return ObjectMeasures(
        float(np.count_nonzero(mask)) / mask.size,
        pieces,
        largest,
        count_holes(mask),
        top,
        right,
        bottom,
        left,
        max(top, right, bottom, left),
        softness(alpha, mask),
    )


def count_pieces(mask: Bool) -> tuple[int, float]:
    """Parts of a mask (h, w) above a speck, and the largest one's share of the mask."""
    areas = _areas(_cropped(mask), connectivity=8)[0]
    if not len(areas):
        return 0, 0.0
    return int(np.count_nonzero(areas > SPECK * mask.size)), float(areas.max() / areas.sum())


def count_holes(mask: Bool) -> int:
    """Parts of what is not the mask (h, w), above a speck, that the mask encloses."""
    if not mask.any():
        return 0
    around = _cropped(mask)  # holes never reach its edge, and what does is no hole
    areas, enclosed = _areas(~around, connectivity=4)
    return int(np.count_nonzero(enclosed & (areas > SPECK * mask.size)))


def softness(alpha: Floats, mask: Bool) -> float:
    """Share of soft pixels around the edge of the mask; 0 without an edge."""
    kernel = np.ones((2 * BAND + 1, 2 * BAND + 1), np.uint8)
    values = mask.view(np.uint8)
    band = cv2.dilate(values, kernel, borderValue=0) != cv2.erode(values, kernel, borderValue=1)
    count = np.count_nonzero(band)
    soft = band & (alpha > HARD) & (alpha < 1 - HARD)
    return np.count_nonzero(soft) / count if count else 0.0


def _cropped(mask: Bool) -> Bool:
    """The box of a mask that is not empty; an empty one as it is."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    return np.ascontiguousarray(mask[top : top + height, left : left + width]) if width else mask


def _areas(mask: Bool, *, connectivity: int) -> tuple[NDArray[np.int64], Bool]:
    """Areas (n,) of all parts in px, and which of them do not reach the edge.

    Counting labels takes a fifth of the time that OpenCV's own statistics take.
    """
    count, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=connectivity)
    inner = np.ones(count, bool)
    for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        inner[side] = False
    return np.bincount(labels.ravel(), minlength=count)[1:], inner[1:]
