"""Small photographs made by arithmetic, for tests that need some but no particular one."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def product_pixels(width: int = 96, height: int = 80, hue: int = 0) -> NDArray[np.uint8]:
    """A saturated disc on a light, slightly shaded ground (H, W, 3): something any segmenter finds."""
    y, x = np.mgrid[0:height, 0:width]
    ground = 235 - (8 * y / height)
    image = np.repeat(ground[..., None], 3, axis=2)
    inside = (x - width / 2) ** 2 + (y - height / 2) ** 2 < (min(width, height) * 0.3) ** 2
    image[inside] = np.roll((200, 40, 30), hue)
    noise = np.random.default_rng(hue).normal(0, 1.5, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def save_product(path: Path, width: int = 96, height: int = 80, hue: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(product_pixels(width, height, hue)).save(path)
    return path
