"""A shop with a product table and a picture server, for runs of the catalogue flow: made, changed, shrunk, grown."""

import csv
import io
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.photographs import product_pixels
from tests.shared_data import SHARED

SOURCES = ("images/saleor_mug.png", "images/saleor_apple_drink.png")
LARGEST = 96  # pixels of a picture's longer side
MARK_BITS = 24  # in two rows of twelve squares of 4 pixels


@lru_cache
def _photographs() -> tuple[NDArray[np.uint8], ...]:
    found = [SHARED / "fixtures" / name for name in SOURCES]
    files = [path for path in found if path.exists()]
    if not files:
        return (product_pixels(800, 600), product_pixels(700, 500, hue=1))
    return tuple(np.asarray(Image.open(path).convert("RGB")) for path in files)


def crop(seed: int, *, side: int = LARGEST, version: int = 0) -> bytes:
    """A small photograph as JPEG, another one for every seed and version."""
    random = np.random.default_rng([seed, version])
    photo = _photographs()[seed % len(_photographs())]
    side = min(side, *(extent - 1 for extent in photo.shape[:2]))
    height, width = int(random.integers(side // 2, side + 1)), int(random.integers(side // 2, side + 1))
    top, left = int(random.integers(0, photo.shape[0] - height)), int(random.integers(0, photo.shape[1] - width))
    picture = photo[top : top + height, left : left + width].astype(np.int16)
    made = picture + random.integers(-12, 13, (1, 1, 3)) + random.integers(-3, 4, picture.shape)
    data = io.BytesIO()
    marked = np.clip(made, 0, 255).astype(np.uint8)
    bits = seed << 4 | version  # two crops of an empty ground would be the same picture
    for bit in range(MARK_BITS):
        row, column = 4 * (bit // 12), 4 * (bit % 12)
        marked[row : row + 4, column : column + 4] = 255 * (bits >> bit & 1)
    Image.fromarray(marked).save(data, "JPEG", quality=85)
    return data.getvalue()


@dataclass
class Shop:
    """Products by SKU with the names of their pictures, and rows that no shop should have.

    Attributes:
        folder: Holds the table and, in ``served``, the pictures.
        base: URL of the picture server.
        extra: Lines of the table that are written as they are.
    """

    folder: Path
    base: str = ""
    products: dict[str, str] = field(default_factory=dict)
    extra: list[list[str]] = field(default_factory=list)

    @property
    def served(self) -> Path:
        return self.folder / "served"

    @property
    def table(self) -> Path:
        return self.folder / "products.csv"

    def add(self, count: int, *, first: int = 0) -> None:
        """More products, each with a picture of its own."""
        self.served.mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            self.products[f"P-{number:05}"] = f"p{number:05}.jpg"
            self.put(number)

    def put(self, number: int, *, version: int = 0) -> None:
        """Another picture behind the same URL."""
        (self.served / f"p{number:05}.jpg").write_bytes(crop(number, version=version))

    def break_picture(self, number: int) -> None:
        """A picture that ends in the middle."""
        path = self.served / f"p{number:05}.jpg"
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    def write(self) -> Path:
        with self.table.open("w", newline="", encoding="utf-8") as stream:
            rows = csv.writer(stream)
            rows.writerow(["sku", "image_url"])
            rows.writerows([sku, f"{self.base}/{name}"] for sku, name in self.products.items())
            rows.writerows(self.extra)
        return self.table
