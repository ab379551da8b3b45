"""The perceptual hash: near for the same picture in another form, far for another picture."""

import io

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import fft

from datasets.ledger.looks import hamming_distance
from expectations.hashing import dct_basis
from expectations.measures import measures_row
from tests.shared_data import fixture

NAMES = (
    "cap_04.jpg",
    "coffee.png",
    "teapot.jpg",
    "teddy-bear.jpg",
    "tshirt_man_03.jpg",
    "astronaut.png",
    "flower.webp",
)


def photo(name: str) -> NDArray[np.uint8]:
    with Image.open(fixture(f"images/{name}")) as image:
        return np.asarray(image.convert("RGB"))


def hashed(image: NDArray[np.uint8]) -> str:
    return str(measures_row("cup", image)["phash"][0])


def encoded(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_photograph_in_another_form_is_near(name: str) -> None:
    image = photo(name)
    height, width = image.shape[:2]
    others = [
        encoded(image, 30),
        cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA),
        cv2.resize(image, (width * 2, height * 2), interpolation=cv2.INTER_CUBIC),
        cv2.resize(encoded(image, 60), (200, 200), interpolation=cv2.INTER_AREA),
        np.clip(image * 1.1 + 4, 0, 255).astype(np.uint8),
    ]
    assert max(hamming_distance(hashed(image), hashed(np.asarray(other, np.uint8))) for other in others) <= 8


def test_different_photographs_are_far_from_each_other() -> None:
    hashes = [hashed(photo(name)) for name in NAMES]
    apart = [hamming_distance(a, b) for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(apart) > 16


def test_the_transform_is_that_of_another_implementation() -> None:
    values = np.random.default_rng(0).random((32, 32))
    ours = dct_basis(32) @ values @ dct_basis(32).T
    assert np.allclose(ours, fft.dctn(values, norm="ortho"))


def test_distance_counts_bits() -> None:
    assert hamming_distance("0" * 16, "f" * 16) == 64
    assert hamming_distance("00000000000000f1", "0000000000000001") == 4
    with pytest.raises(ValueError, match="16 hexadecimal"):
        hamming_distance("00", "0" * 16)


def test_one_colour_has_no_hash() -> None:
    assert measures_row("cup", np.full((50, 50, 3), 77, np.uint8))["phash"][0] is None
