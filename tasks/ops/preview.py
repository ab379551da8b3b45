"""Small pictures for reports and thumbnails of a run."""

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.ops.depth import Pixels, to_uint8
from tasks.ops.encode import encode_picture

PREVIEW_SIDE = 960  # pixels of the longer side


def make_preview(image: Pixels, *, side: int = PREVIEW_SIDE) -> bytes:
    """A WebP of an image (H, W, 3|4), sRGB, straight alpha, shrunk so that its longer side is at most ``side``."""
    return encode_picture(shrink(to_uint8(image), side), format="webp", quality=82)


def shrink(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The image (H, W, C) with its longer side at most ``side``, averaged by area; colours weighted by alpha."""
    height, width = image.shape[:2]
    ratio = side / max(height, width)
    if ratio >= 1:
        return image
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    if image.shape[2] == 3:
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    alpha = image[..., 3:].astype(np.float32)
    premultiplied = np.concatenate([image[..., :3] * (alpha / 255), alpha], axis=-1)
    small = cv2.resize(premultiplied, size, interpolation=cv2.INTER_AREA)
    colours = small[..., :3] * 255 / np.maximum(small[..., 3:], 1)
    straight = np.concatenate([np.minimum(colours, 255), small[..., 3:]], axis=-1)
    return np.asarray(np.rint(straight), dtype=np.uint8)
