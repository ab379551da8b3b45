"""Finds an object that was out of sight, by what it looked like, anywhere in a picture."""

import itertools

import cv2
import numpy as np
from numpy.typing import NDArray

from model_blocks.embedded.pose import STILL, centre_of, posed, scale_of
from model_blocks.embedded.tracking_flow import chained, moved

UInt8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]
Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

POINTS = 160  # pixels of the shrunk object that are looked for
TRIED = 64  # of them that are compared everywhere
FEWEST = 40  # the same, however large the picture
POSITIONS = 6000  # of the shrunk picture, where the object is large enough
TURNS = (-30.0, -15.0, 0.0, 15.0, 30.0)  # degrees from the last known pose
ZOOMS = (0.8, 1.0, 1.25)
ALIKE = 30.0  # of 255: largest difference of a colour that still matches
ENOUGH = 0.55  # share of the telling pixels that must match


def find_again(
    image: UInt8, reference: UInt8, mask: Float32, telling: Float32, pose: Float, gain: Float
) -> Float | None:
    """The pose (2, 3) at which most of the remembered object is seen, or None where it is nowhere.

    Every position is tried with a few turns and sizes around the last pose. Hidden pixels cost what they would have
    told, no more.

    Args:
        image: (H, W, 3), where to look.
        reference: (h, w, 3), the picture in which the object was shown.
        mask: (h, w), 0..1, the object in it.
        telling: (h, w), >= 0, how much each pixel's colour sets the object apart from its surroundings.
        pose: (2, 3), where it was last.
        gain: (3,), brightness now over brightness then.
    """
    area = float(mask.sum()) * scale_of(pose) ** 2
    shrink = min(POINTS / max(area, 1.0), max(POSITIONS / image[..., 0].size, FEWEST / max(area, 1.0)), 1.0) ** 0.5
    small = _shrunk(image.astype(np.float32), shrink)
    remembered = np.dstack([reference * gain, (mask > 0.5) * (telling + 0.1)]).astype(np.float32)
    best, found = ENOUGH, None
    for zoom, turn in itertools.product(ZOOMS, TURNS):
        tried = _varied(pose, centre_of(mask, pose), zoom, turn)
        score, shift = _best_place(small, remembered, chained(tried, shrink * STILL))
        score -= 0.02 * (abs(turn) / 15 + abs(zoom - 1) / 0.2)  # of equals, the one nearest to the last
        if score > best:
            best, found = score, np.hstack([tried[:, :2], tried[:, 2:] + shift[:, None] / shrink])
    return found


def _varied(pose: Float, centre: Float, zoom: float, turn: float) -> Float:
    about = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), turn, zoom)
    return chained(pose, np.asarray(about, dtype=np.float64))


def _shrunk(values: Float32, factor: float) -> Float32:
    if factor >= 1:
        return values
    size = max(1, round(values.shape[1] * factor)), max(1, round(values.shape[0] * factor))
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def _best_place(small: Float32, remembered: Float32, pose: Float) -> tuple[float, Float]:
    """The best share of matching pixels over all shifts of one pose, and that shift (x, y), in shrunk pixels."""
    coarse = _shrunk(remembered, scale_of(pose))
    back = np.array([[remembered.shape[1] / coarse.shape[1], 0, 0], [0, remembered.shape[0] / coarse.shape[0], 0]])
    corners = moved(_box(remembered[..., 3] > 0), pose)
    low, high = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))
    width, height = (int(side) + 1 for side in high - low)
    placed = chained(chained(back, pose), np.hstack([np.eye(2), -low[:, None]]))
    template = posed(coarse, placed, (height, width))
    scores = _match_shares(small, template)
    row, column = np.unravel_index(int(scores.argmax()), scores.shape)
    return float(scores[row, column]), np.array([column - width, row - height]) - low


def _box(mask: Bool) -> Float:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, right, top, bottom = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    return np.array([[left, top], [right, top], [left, bottom], [right, bottom]], dtype=np.float64)


def _match_shares(small: Float32, template: Float32) -> Float32:
    """For every shift of the template (h, w, 4) over the picture, the weighted share of its pixels that match."""
    height, width = template.shape[:2]
    padded = np.pad(small, ((height, height), (width, width), (0, 0)), constant_values=-1e3)
    shape = padded.shape[0] - height, padded.shape[1] - width
    weights = template[..., 3]
    scores = np.zeros(shape, dtype=np.float32)
    points = np.argwhere(weights > 0)
    points = points[:: -(-len(points) // TRIED)] if len(points) else points
    for row, column in points:
        there = padded[row : row + shape[0], column : column + shape[1]]
        alike = np.abs(there - template[row, column, :3]).max(axis=-1) < ALIKE
        scores += weights[row, column] * alike
    total = float(weights[points[:, 0], points[:, 1]].sum())
    return np.asarray(scores / max(total, 1e-6), dtype=np.float32)
