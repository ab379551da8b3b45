"""What a photograph shows, small enough to keep: the same for the same picture in other bytes."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from expectations.hashing import perceptual_hash
from tasks.ops.depth import Pixels, full_scale

SIDE = 64  # px of the small copy
BEHIND = 128  # middle grey, behind what is transparent


@dataclass(frozen=True)
class SmallCopy:
    """What is left of a photograph.

    Attributes:
        phash: Perceptual hash, 16 hexadecimal digits; None of a picture that is a single colour.
        pixels: 64 × 64 × 3 bytes, whatever the picture's shape.
        aspect: Its width divided by its height.
    """

    phash: str | None
    pixels: bytes
    aspect: float


def small_copy(image: Pixels) -> SmallCopy:
    """Reduce a photograph to what tells it from others.

    Args:
        image: (H, W, 3|4), sRGB, uint8 or uint16, straight alpha last.
    """
    height, width = image.shape[:2]
    small = _reduced(image)
    return SmallCopy(perceptual_hash(small.astype(np.float32)), small.tobytes(), width / height)


def _reduced(image: Pixels) -> NDArray[np.uint8]:
    """Averaged by area to 64 × 64, laid over middle grey."""
    scale = 255 / full_scale(image.dtype)
    if image.shape[2] == 3:
        codes: NDArray[np.float32] = _by_area(image).astype(np.float32) * np.float32(scale)
    else:
        alpha = image[..., 3:].astype(np.float32) / np.float32(full_scale(image.dtype))
        colours = image[..., :3].astype(np.float32) * np.float32(scale)
        codes = _by_area(colours * alpha + BEHIND * (1 - alpha)).astype(np.float32)
    return np.ascontiguousarray(np.rint(codes).astype(np.uint8))


def _by_area(image: NDArray[np.generic]) -> NDArray[np.generic]:
    return np.asarray(cv2.resize(np.ascontiguousarray(image), (SIDE, SIDE), interpolation=cv2.INTER_AREA))
