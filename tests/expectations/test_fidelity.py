"""Fidelity of placed products: honest placements pass the delivery gate, what was done to the product does not.

Products are real cutouts, and what is done to them is known: found size, place and angle are compared with the truth.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import structural_similarity

from datasets.errors import FrameShapeError
from expectations.fidelity import Fidelity, Placement, measure_fidelity
from expectations.gate import Gate
from expectations.measures import MEASURES, measures_row
from expectations.registration import Similarity
from expectations.similarity import ssim_map, worst_part
from expectations.suites import suite
from tests.shared_data import fixture

Picture = NDArray[np.uint8]
FILES = {"drink": "images/saleor_apple_drink.png", "mug": "images/saleor_mug.png"}
X, Y, WIDTH = 207, 141, 400  # where cutouts are put, px of a scene of 800 × 900


@dataclass(frozen=True)
class Scene:
    """A cutout put into a scene; every field is something that may be done to it on the way."""

    ground: str = "scene"
    width: int = WIDTH
    x: int = X
    y: int = Y
    gain: float = 1.0
    angle: float = 0.0
    shadow: bool = True
    quality: int = 90

    def place(self, cutout: Picture) -> Picture:
        """Area-averaged, laid over the ground with its shadow below it, as JPEG."""
        out = ground(self.ground).astype(np.float32)
        layer = np.zeros((*out.shape[:2], 4), np.float32)
        height = round(cutout.shape[0] * self.width / cutout.shape[1])
        codes = cutout.astype(np.float32)
        alpha = codes[..., 3:] / 255
        small = cv2.resize(
            np.dstack([codes[..., :3] * alpha, alpha]), (self.width, height), interpolation=cv2.INTER_AREA
        )
        if self.angle:
            turn = cv2.getRotationMatrix2D((self.width / 2, height / 2), -self.angle, 1)
            small = cv2.warpAffine(small, turn, (self.width, height), flags=cv2.INTER_CUBIC)
        rows = slice(max(self.y, 0), min(self.y + height, out.shape[0]))
        columns = slice(max(self.x, 0), min(self.x + self.width, out.shape[1]))
        layer[rows, columns] = small[
            rows.start - self.y : rows.stop - self.y, columns.start - self.x : columns.stop - self.x
        ]
        if self.shadow:
            out *= 1 - 0.5 * cv2.GaussianBlur(np.roll(layer[..., 3], 20, axis=0), (0, 0), 15)[..., None]
        out = layer[..., :3] * self.gain + out * (1 - layer[..., 3:])
        return encoded(np.clip(out + 0.5, 0, 255).astype(np.uint8), self.quality)


@lru_cache
def ground(name: str) -> Picture:
    if name == "plain":
        return np.full((900, 800, 3), 236, np.uint8)
    return np.asarray(photo("images/Landscape_6.jpg", "RGB").resize((800, 900), Image.Resampling.BOX))


def photo(name: str, mode: str) -> Image.Image:
    with Image.open(fixture(name)) as image:
        return image.convert(mode)


@lru_cache
def product(name: str) -> Picture:
    if name == "lemur":
        alpha = photo("truth/matting_lemur/lemur_alpha.png", "L")
        return np.dstack([np.asarray(photo("truth/matting_lemur/lemur.png", "RGB")), np.asarray(alpha)])
    return np.asarray(photo(FILES[name], "RGBA").resize((1080, 1080), Image.Resampling.BOX))


def encoded(image: Picture, quality: int) -> Picture:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def with_colours(cutout: Picture, change: Callable[[Picture], Any]) -> Picture:
    colours = np.ascontiguousarray(cutout[..., :3])
    return np.dstack([np.clip(change(colours), 0, 255).astype(np.uint8), cutout[..., 3]])


def other_hue(rgb: Picture) -> Picture:
    """Turned by 30 degrees."""
    hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(int) + 15) % 180
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)


def blurred(rgb: Picture) -> Picture:
    return np.asarray(cv2.GaussianBlur(rgb, (0, 0), 2 * rgb.shape[1] / WIDTH), np.uint8)


def other_texture(rgb: Picture) -> Picture:
    return np.asarray(photo("images/gravel.png", "RGB").resize(rgb.shape[1::-1]))


def repainted(cutout: Picture) -> Picture:
    """A label in the middle of the product, a quarter of its long side wide."""
    rows, columns = (np.nonzero((cutout[..., 3] > 230).any(axis=axis))[0] for axis in (1, 0))
    middle, across = (int(each[0] + each[-1]) // 2 for each in (rows, columns))
    half = int(max(np.ptp(rows), np.ptp(columns))) // 8
    made = cutout.copy()
    label = photo("images/brick.png", "RGB").resize((2 * half, 2 * half))
    made[middle - half : middle + half, across - half : across + half, :3] = np.asarray(label)
    return made


def placed(name: str, scene: Scene, changed: Picture | None = None, expected: Placement | None = None) -> Fidelity:
    image = scene.place(product(name) if changed is None else changed)
    found = measure_fidelity(product(name), image, expected or Placement(X, Y, WIDTH))
    assert found is not None
    return found


def failed(found: Fidelity) -> list[str]:
    """What the delivery gate says."""
    row = measures_row(
        "cup",
        np.full((300, 300, 3), 99, np.uint8) + np.arange(90, dtype=np.uint8).repeat(10)[:300, None],
        fidelity=found.to_row(),
    )
    return [each.expectation for each in Gate(suite("delivery")).decide(row)[0].failed]


PRODUCTS = ("lemur", pytest.param("mug", marks=pytest.mark.slow), pytest.param("drink", marks=pytest.mark.slow))
HONEST = {
    "as it is": Scene(),
    "on plain ground": Scene(ground="plain"),
    "a little brighter": Scene(gain=1.08),
    "a little darker": Scene(gain=0.93),
    "without shadow": Scene(shadow=False),
}


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("how", HONEST)
def test_an_honest_placement_passes(name: str, how: str) -> None:
    found = placed(name, HONEST[how])
    assert failed(found) == []
    assert found.scale == pytest.approx(1, abs=0.01)
    assert found.shift is not None
    assert found.shift < 0.01
    assert abs(found.rotation) < 0.6


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (lambda cutout: with_colours(cutout, other_hue), {"hues_kept", "part_colours_kept", "colours_kept"}),
        (lambda cutout: with_colours(cutout, blurred), {"detail_kept"}),
        (lambda cutout: with_colours(cutout, other_texture), {"product_kept"}),
        (repainted, {"parts_kept"}),
        (lambda cutout: np.ascontiguousarray(cutout[:, ::-1]), {"parts_kept"}),
    ],
    ids=["recoloured", "blurred", "replaced", "repainted", "mirrored"],
)
def test_a_product_that_was_changed_is_caught(name: str, change: Callable[[Picture], Picture], seen: set[str]) -> None:
    for scene in (Scene(), Scene(ground="plain")):
        assert seen & set(failed(placed(name, scene, change(product(name)))))


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_that_is_not_there_is_caught(name: str) -> None:
    found = measure_fidelity(product(name), ground("scene"), Placement(X, Y, WIDTH))
    assert found is not None
    assert "product_kept" in failed(found)


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("size", [0.85, 1.12])
def test_another_size_is_measured_and_caught(name: str, size: float) -> None:
    width = round(WIDTH * size)
    found = placed(name, Scene(width=width, x=X + (WIDTH - width) // 2, y=Y + (WIDTH - width) // 2))
    assert found.scale == pytest.approx(width / WIDTH, abs=0.01)
    assert "size_kept" in failed(found)


@pytest.mark.parametrize("name", PRODUCTS)
def test_another_place_and_another_angle_are_measured_and_caught(name: str) -> None:
    moved = placed(name, Scene(x=X + 70, y=Y + 50))
    assert "in_place" in failed(moved)
    assert "size_kept" not in failed(moved)
    turned = placed(name, Scene(angle=5))
    assert turned.rotation == pytest.approx(5, abs=0.4)
    assert "upright" in failed(turned)


@pytest.mark.parametrize("name", ["mug", "lemur"])
def test_a_product_that_the_picture_cuts_off_is_caught(name: str) -> None:
    columns = np.nonzero((product(name)[..., 3] > 230).any(axis=0))[0] * WIDTH / product(name).shape[1]
    x = -round(float(columns[0] + 0.2 * np.ptp(columns)))  # a fifth lies outside
    found = placed(name, Scene(x=x), expected=Placement(x, Y, WIDTH))
    assert 0.7 < found.visible < 0.95
    assert "whole" in failed(found)


@pytest.mark.parametrize("name", PRODUCTS)
def test_without_an_expected_place_the_product_is_found_in_any_size(name: str) -> None:
    for scene in (Scene(), Scene(width=270, x=420, y=500)):
        found = measure_fidelity(product(name), scene.place(product(name)))
        assert found is not None
        assert (found.scale, found.shift) == (None, None)
        assert failed(found) == []


@pytest.mark.slow
def test_a_change_of_the_product_weighs_more_than_any_honest_one() -> None:
    worst = min(placed(name, scene).ssim_low for name in FILES for scene in HONEST.values())
    best = max(placed(name, Scene(), repainted(product(name))).ssim_low for name in FILES)
    assert worst > 0.7
    assert best < 0.2


def test_colours_of_sixteen_bits_are_the_same() -> None:
    image = Scene().place(product("lemur"))
    eight = measure_fidelity(product("lemur"), image, Placement(X, Y, WIDTH))
    deep = [each.astype(np.uint16) * 257 for each in (product("lemur"), image)]
    sixteen = measure_fidelity(deep[0], deep[1], Placement(X, Y, WIDTH))
    assert eight is not None
    assert sixteen is not None
    assert eight.ssim == pytest.approx(sixteen.ssim, abs=1e-4)


def test_a_cutout_without_a_product_has_no_fidelity() -> None:
    assert measure_fidelity(np.zeros((50, 50, 4), np.uint8), np.zeros((60, 60, 3), np.uint8)) is None
    with pytest.raises(FrameShapeError):
        measure_fidelity(np.zeros((50, 50), np.uint8), np.zeros((60, 60, 3), np.uint8))


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (12, 9), (40, 800)])
@pytest.mark.parametrize("expected", [None, Placement(-5, 3, 80), Placement(500, 500, 1), Placement(0, 0, 9000)])
def test_no_picture_and_no_place_is_too_odd(size: tuple[int, int], expected: Placement | None) -> None:
    flat = np.full((30, 40, 4), 255, np.uint8)
    for cutout in (flat, np.dstack([np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8), flat[..., 3]])):
        found = measure_fidelity(cutout, np.full((*size, 3), 100, np.uint8), expected)
        assert found is not None
        assert all(value is None or np.isfinite(value) for value in found.to_row().values())


def test_columns_are_those_of_the_table() -> None:
    found = placed("lemur", Scene())
    assert set(found.to_row()) == {name for name in MEASURES if name.startswith("fidelity_")}
    assert replace(found, scale=None).to_row()["fidelity_scale"] is None


def test_similarity_is_that_of_another_implementation() -> None:
    first = np.asarray(photo("images/coffee.png", "L")).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 12, first.shape)
    second = (np.roll(first, 1, axis=1) * 0.9 + noise).astype(np.float32)
    _, theirs = structural_similarity(
        first, second, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, full=True
    )  # type: ignore[no-untyped-call]
    inner = (slice(8, -8), slice(8, -8))
    assert np.abs(ssim_map(first, second) - theirs)[inner].max() < 1e-3


def test_the_worst_part_is_the_mean_of_a_window() -> None:
    values, mask = np.ones((40, 40), np.float32), np.ones((40, 40), bool)
    values[10:15, 20:25] = 0
    assert worst_part(values, mask, side=5) == pytest.approx(0, abs=1e-6)
    assert worst_part(values, mask, side=10) == pytest.approx(0.75)
    assert worst_part(values, mask, side=10, highest=True) == pytest.approx(1)
    mask[5:20, 15:30] = False
    assert worst_part(values, mask, side=5) == pytest.approx(1)


def test_places_are_carried_over_to_other_scales_exactly() -> None:
    place = Similarity(0.7, 0.3, 12.0, -5.0)
    x, y = place.apply(10, 20)
    again = place.rescaled(0.5, 3.0)
    assert again.apply(5, 10) == pytest.approx((3 * x, 3 * y))
    shift = Similarity(1.0, 0.0, 4.0, 2.0)
    assert place.after(shift).apply(1, 1) == pytest.approx(place.apply(5, 3))
    assert (place.pixel_matrix @ (9.5, 19.5, 1)) == pytest.approx((x - 0.5, y - 0.5))
