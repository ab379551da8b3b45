"""Photographs of products for tests: real ones, recoloured and printed anew, so that every one is another product."""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.shared_data import fixture

Photo = NDArray[np.uint8]
GROUND = (243, 243, 240)
BOXES = {"mug": (420, 560, 1800, 1660), "drink": (560, 360, 1560, 1800)}  # of the files, px
FILES = {"mug": "images/saleor_mug.png", "drink": "images/saleor_apple_drink.png"}


@lru_cache
def product_photo(name: str, side: int = 800) -> Photo:
    """A real product on a light, slightly uneven ground (h, w, 3), its long side ``side`` px."""
    with Image.open(fixture(FILES[name])) as file:
        image = file.convert("RGBA").crop(BOXES[name])
    if name == "drink":  # the shadow that comes with it lies apart from the bottle and is no part of the product
        image.paste((0, 0, 0, 0), (0, 1380, image.width, image.height))
    ground = Image.new("RGBA", image.size, (*GROUND, 255))
    ground.alpha_composite(image)
    made = ground.convert("RGB")
    made.thumbnail((side, side), Image.Resampling.BOX)
    pixels = np.asarray(made).astype(np.float32)
    noise = np.random.default_rng(3).normal(0, 1.2, pixels.shape[:2])[..., None]
    shade = np.linspace(2, -4, pixels.shape[0])[:, None, None]
    return np.clip(pixels + noise + shade, 0, 255).astype(np.uint8)


def recoloured(photo: Photo, degrees: int) -> Photo:
    """The product in another colour; what is neutral stays neutral."""
    hsv = cv2.cvtColor(photo, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(int) + degrees // 2) % 180
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)


def printed(photo: Photo, text: str, *, height: float = 0.035, at: tuple[float, float] = (0.5, 0.72)) -> Photo:
    """Another text on the product, its letters a share of the photograph's height tall, white, from ``at`` on."""
    made = photo.copy()
    rows, columns = made.shape[:2]
    origin = round(columns * at[0]), round(rows * at[1])
    thickness = max(1, round(rows * height / 8))
    cv2.putText(
        made, text, origin, cv2.FONT_HERSHEY_SIMPLEX, rows * height / 22, (235, 235, 235), thickness, cv2.LINE_AA
    )
    return made


def two_of(photo: Photo) -> Photo:
    """The product twice, side by side."""
    return np.concatenate([photo, photo], axis=1)


def cut_off(photo: Photo) -> Photo:
    """Its left half is not on the photograph."""
    return np.ascontiguousarray(photo[:, photo.shape[1] // 2 :])


def blurred(photo: Photo) -> Photo:
    return np.asarray(cv2.GaussianBlur(photo, (0, 0), max(photo.shape) / 40), np.uint8)


def dark(photo: Photo) -> Photo:
    """A fiftieth of the light."""
    return (photo * 0.02).astype(np.uint8)


def tiny(photo: Photo) -> Photo:
    return np.asarray(cv2.resize(photo, (56, 48), interpolation=cv2.INTER_AREA), np.uint8)
