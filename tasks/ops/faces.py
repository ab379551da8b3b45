"""Faces out of a picture and back into it: the aligned crop, and what was changed in it as a difference.

The crop is filled with one grey where the picture ends, and pasted with a soft square mask, as the authors of GFPGAN
and CodeFormer do. What is pasted is the change that the restorer made, not its picture: where it changes nothing, the
original stays to the last bit, in its own depth and with the detail that the crop was too small for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil, floor

import cv2
import numpy as np
from numpy.typing import NDArray

from model_blocks.face_alignment import SIDE, Matrix, scale_of
from tasks.ops.depth import Pixels, full_scale, to_float

GREY = (132 / 255, 133 / 255, 135 / 255)  # RGB beyond the picture's edge, as in training
FADE = SIDE // 20  # px of the crop: as much is left out at its edge as the mask takes to rise from 0 to 1, twice
MARGIN = 2  # px of the copy that is warped, around what interpolation reads

Crop = NDArray[np.float32]
Restore = Callable[[Crop], Crop]


@dataclass(frozen=True)
class Box:
    """Rows ``y0 <= y < y1`` and columns ``x0 <= x < x1`` of a picture; empty where a face lies outside of it."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def pixels(self) -> int:
        return max(0, self.y1 - self.y0) * max(0, self.x1 - self.x0)

    def meets(self, y0: int, y1: int, x0: int, x1: int) -> bool:
        """Whether it has a pixel in those rows and columns."""
        return self.pixels > 0 and self.y0 < y1 and y0 < self.y1 and self.x0 < x1 and x0 < self.x1


def face_box(matrix: Matrix, height: int, width: int) -> Box:
    """The pixels of a picture that a face's crop is made of, cut off where the picture ends.

    Args:
        matrix: (2, 3) from the picture's pixels to the crop's.
    """
    corners = np.asarray([[0, 0, 1], [SIDE, 0, 1], [0, SIDE, 1], [SIDE, SIDE, 1]], dtype=np.float64)
    x, y = cv2.invertAffineTransform(matrix) @ corners.T
    margin = MARGIN * (1 + ceil(1 / scale_of(matrix)))
    edges = (floor(y.min()) - margin, ceil(y.max()) + margin, floor(x.min()) - margin, ceil(x.max()) + margin)
    y0, y1 = np.clip(edges[:2], 0, height).tolist()
    x0, x1 = np.clip(edges[2:], 0, width).tolist()
    return Box(y0, y1, x0, x1)


def restore_in(
    image: Pixels, matrices: Sequence[Matrix], restore: Restore, *, origin: tuple[int, int], size: tuple[int, int]
) -> Pixels:
    """A picture, or a part of it that holds the boxes of these faces whole, with the faces restored.

    Every crop is taken of the original. Where faces overlap, the earlier of them lies on top.

    Args:
        image: (h, w, 3|4) uint8 or uint16, straight alpha.
        matrices: (2, 3) each, from the pixels of the whole picture to those of the crop.
        restore: An aligned crop (512, 512, 3) float32, 0..1, to the same restored.
        origin: Row and column of the whole picture at which the part begins.
        size: (height, width) of the whole picture.

    Returns:
        Shape and dtype of ``image``. Outside of the faces' masks, where alpha is 0, and in the alpha channel itself
        every value is the original's.
    """
    made = image.copy()
    for matrix in reversed(matrices):
        box = face_box(matrix, *size)
        if not box.pixels:
            continue
        place = (slice(box.y0 - origin[0], box.y1 - origin[0]), slice(box.x0 - origin[1], box.x1 - origin[1]))
        inside = _from_box(matrix, box)
        crop = take_crop(image[place], inside)
        change, soft = _spread(restore(crop) - crop, inside, box)
        made[place] = _blended(image[place], made[place], change, soft)
    return made


def take_crop(part: Pixels, matrix: Matrix) -> Crop:
    """The aligned crop (512, 512, 3) float32, 0..1, of an image (h, w, 3|4); transparency is laid over white.

    Args:
        matrix: (2, 3) from the image's pixels to the crop's.
    """
    colours = to_float(part[..., :3])
    if part.shape[2] == 4:
        alpha = to_float(part[..., 3:])
        colours = colours * alpha + (1 - alpha)
    return warp(colours, matrix, (SIDE, SIDE), outside=GREY)


def warp(image: Crop, matrix: Matrix, size: tuple[int, int], *, outside: tuple[float, ...]) -> Crop:
    """An image (h, w[, c]) under an affine map, interpolated linearly.

    What becomes half as large or smaller is averaged by area first, so that no detail turns into false patterns.

    Args:
        matrix: (2, 3) from the image's pixels to those of the result; pixel centres are whole numbers.
        size: (height, width) of the result.
        outside: What lies beyond the image's edge.
    """
    shrink = floor(1 / scale_of(matrix) + 1e-9)
    if shrink >= 2:
        height, width = image.shape[:2]
        small = (ceil(height / shrink), ceil(width / shrink))
        image = np.asarray(cv2.resize(image, small[::-1], interpolation=cv2.INTER_AREA), dtype=np.float32)
        matrix = matrix @ _grown(width / small[1], height / small[0])
    made = cv2.warpAffine(
        image, matrix, size[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=outside
    )
    return np.asarray(made, dtype=np.float32)


@cache
def soft_mask() -> Crop:
    """(512, 512) float32, 1 on the face, falling to 0 towards the crop's edge: the square, eroded and blurred.

    The authors erode and blur the square in the picture; this is the same in the crop's own pixels, turned with it.
    """
    inner = np.zeros((SIDE, SIDE), np.float32)
    inner[FADE + 1 : -FADE - 1, FADE + 1 : -FADE - 1] = 1
    mask = np.asarray(cv2.GaussianBlur(inner, (2 * FADE + 1, 2 * FADE + 1), 0), dtype=np.float32)
    mask.setflags(write=False)
    return mask


def _spread(change: Crop, inside: Matrix, box: Box) -> tuple[Crop, Crop]:
    """What was changed in a crop, and the mask, as they lie in the picture: (h, w, 3) and (h, w)."""
    back = np.asarray(cv2.invertAffineTransform(inside), dtype=np.float64)
    size = (box.y1 - box.y0, box.x1 - box.x0)
    return warp(change, back, size, outside=(0.0, 0.0, 0.0)), warp(soft_mask(), back, size, outside=(0.0,))


def _blended(original: Pixels, below: Pixels, change: Crop, soft: Crop) -> Pixels:
    """The changed original over what is there already, as far as the mask says."""
    peak = full_scale(original.dtype)
    held = below[..., :3].astype(np.float32)
    target = original[..., :3].astype(np.float32) + change * np.float32(peak)
    values = np.rint(np.clip(held + soft[..., None] * (target - held), 0, peak)).astype(original.dtype)
    touched = soft > 0
    if original.shape[2] == 4:
        touched &= original[..., 3] > 0
    made = below.copy()
    made[..., :3] = np.where(touched[..., None], values, below[..., :3])
    return made


def _from_box(matrix: Matrix, box: Box) -> Matrix:
    """The same map from the box's own pixels."""
    inside = matrix.copy()
    inside[:, 2] += matrix[:, :2] @ (box.x0, box.y0)
    return inside


def _grown(across: float, down: float) -> Matrix:
    """(3, 3), from the pixels of a copy to those of what it was averaged from."""
    return np.asarray([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2], [0, 0, 1]], dtype=np.float64)
