"""The embedded interpolator against filmed truth, against moves whose truth is drawn, and on what is no picture."""

from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model_blocks.embedded.interpolate import DisInterpolator
from tests.shared_data import fixture

Floats = NDArray[np.float32]
Place = Callable[[float], tuple[float, float, float, float]]  # moment to x, y, degrees, zoom


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


def between(first: Floats, second: Floats, *fractions: float) -> Floats:
    """Frames (H, W, C) at the fractions, (N, H, W, C)."""
    a, b = (torch.from_numpy(np.ascontiguousarray(each.transpose(2, 0, 1))) for each in (first, second))
    made = DisInterpolator().interpolate(a, b, fractions)
    assert made.dtype == torch.float32
    return np.asarray(made.permute(0, 2, 3, 1).numpy())


def decibels(made: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    return float(-10 * np.log10(max(1e-10, float(np.mean((made - truth) ** 2)))))


def noise(height: int, width: int, seed: int, channels: int = 3) -> Floats:
    """A texture of several grain sizes, 0..1."""
    random = np.random.default_rng(seed)
    made = np.zeros((height, width, channels), np.float32)
    for grain in (1.5, 4.0, 10.0):
        layer = cv2.GaussianBlur(random.standard_normal((height, width, channels)).astype(np.float32), (0, 0), grain)
        made += np.asarray(layer, np.float32).reshape(made.shape) / np.float32(layer.std())
    return np.asarray((made - made.min()) / (made.max() - made.min()), np.float32)


def scene(at: float, object_at: Place, background_at: Place) -> Floats:
    """A bright textured disc over a darker textured ground, each moved as told, drawn without any flow."""

    def placed(layer: Floats, place: Place) -> Floats:
        x, y, degrees, zoom = place(at)
        matrix = cv2.getRotationMatrix2D((80, 60), degrees, zoom)
        matrix[:, 2] += np.array((x, y))
        made = cv2.warpAffine(layer, matrix, (160, 120), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        return np.asarray(made, np.float32)

    rows, columns = np.mgrid[0:120, 0:160]
    disc = np.clip(30.5 - np.hypot(columns - 80, rows - 60), 0, 1).astype(np.float32)
    thing = np.dstack([0.35 + 0.65 * noise(120, 160, 1), disc])
    ground = placed(0.6 * noise(120, 160, 2), background_at)
    moved = placed(np.asarray(thing, np.float32), object_at)
    matte = np.clip(moved[..., 3:], 0, 1)
    return np.asarray(np.clip(moved[..., :3] * matte + ground * (1 - matte), 0, 1), np.float32)


def still(at: float) -> tuple[float, float, float, float]:
    return 0, 0, 0, 1


MOVES: dict[str, tuple[Place, Place]] = {
    "object": (lambda at: (14 * at - 7, 5 * at, 0, 1), still),
    "camera": (lambda at: (9 * at, -6 * at, 0, 1), lambda at: (9 * at, -6 * at, 0, 1)),
    "opposite": (lambda at: (8 * at - 4, 0, 0, 1), lambda at: (-6 * at, 0, 0, 1)),
    "turn": (lambda at: (0, 0, 10 * at, 1), still),
    "zoom": (lambda at: (0, 0, 0, 1 + 0.1 * at), lambda at: (0, 0, 0, 1 + 0.1 * at)),
}


def truth(name: str) -> tuple[Floats, Floats, Floats]:
    first, second, middle = (cv2.imread(str(fixture(f"truth/{name}/{which}.png"))) for which in ("a", "b", "truth_mid"))
    return _floats(first), _floats(second), _floats(middle)


def _floats(picture: object) -> Floats:
    return np.asarray(picture, np.float32) / np.float32(255)


def test_a_filmed_move_is_met_far_better_than_by_blending() -> None:
    first, second, middle = truth("interp_rabbit")
    assert decibels(between(first, second, 0.5)[0], middle) >= 31.0
    assert decibels((first + second) / 2, middle) < 27.0


def test_where_motion_is_lost_it_is_no_worse_than_blending() -> None:
    first, second, middle = truth("interp_bikes")
    assert decibels(between(first, second, 0.5)[0], middle) >= decibels((first + second) / 2, middle)


@pytest.mark.parametrize("name", MOVES)
def test_drawn_moves_are_met(name: str) -> None:
    first, second = scene(0, *MOVES[name]), scene(1, *MOVES[name])
    for at, made in zip((0.25, 0.5, 0.75), between(first, second, 0.25, 0.5, 0.75), strict=True):
        middle = scene(at, *MOVES[name])
        blended = first * (1 - at) + second * at
        assert decibels(made, middle) > decibels(blended, middle) + 3, at


def test_nothing_is_left_of_a_moving_object_where_it_is_not() -> None:
    """Bright over dark, 16 px apart: blending leaves two half-bright objects, here what it left is dark again."""
    first, second = (0.2 * noise(96, 128, 3) for _ in range(2))
    thing = 0.6 + 0.4 * noise(24, 24, 4)
    first[36:60, 44:68] = thing
    second[36:60, 60:84] = thing
    made = between(first, second, 0.5)[0]
    assert made[38:58, 45:49].mean() < 0.2  # blending: 0.45
    assert made[38:58, 79:83].mean() < 0.2
    assert np.abs(made[40:56, 56:72] - thing[4:20, 4:20]).mean() < 0.03


def test_both_ways_are_the_same() -> None:
    first, second = scene(0, *MOVES["opposite"]), scene(1, *MOVES["opposite"])
    there, back = between(first, second, 0.25, 0.5), between(second, first, 0.75, 0.5)
    assert np.array_equal(there, back)


def test_the_ends_are_the_frames() -> None:
    first, second = scene(0, *MOVES["camera"]), scene(1, *MOVES["camera"])
    made = between(first, second, 0.0, 1.0)
    assert np.abs(made[0] - first).max() < 1e-5
    assert np.abs(made[1] - second).max() < 1e-5


@pytest.mark.parametrize("size", [(120, 160), (481, 643)])
def test_a_still_scene_stays_to_the_last_bit(size: tuple[int, int]) -> None:
    deep = np.rint(noise(*size, 5) * 65535)
    picture = np.asarray(deep / 65535, np.float32)
    assert np.array_equal(np.rint(between(picture, picture, 0.3)[0] * 65535), deep)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (1, 40), (37, 1), (7, 8), (33, 51), (101, 67)])
@pytest.mark.parametrize("channels", [3, 4])
def test_any_size(size: tuple[int, int], channels: int) -> None:
    first = np.random.default_rng(6).random((*size, channels), np.float32)
    second = np.full((*size, channels), 0.5, np.float32)
    made = between(first, second, 0.5)
    assert made.shape == (1, *size, channels)
    assert np.isfinite(made).all()
    assert made.min() >= 0
    assert made.max() <= 1


def test_large_pictures_are_met_as_small_ones_are() -> None:
    """Above the working size motion is sought in a smaller picture, odd sides among them."""
    ground = noise(903, 1001, 7)
    first, second = (np.ascontiguousarray(ground[:901, x : x + 981]) for x in (0, 16))
    middle = ground[:901, 8 : 8 + 981]
    made = between(first, second, 0.5)[0]
    inner = (slice(None), slice(20, -20))
    assert decibels(made[inner], middle[inner]) > decibels((first + second)[inner] / 2, middle[inner]) + 10


def test_the_colour_of_what_is_transparent_does_not_bleed() -> None:
    """A blue object moves; around it is transparent red."""
    first, second = (np.zeros((64, 96, 4), np.float32) for _ in range(2))
    thing = np.dstack([np.zeros((24, 24, 2)), 0.4 + 0.6 * noise(24, 24, 8, 1)[..., 0], np.ones((24, 24))])
    for frame, left in ((first, 20), (second, 32)):
        frame[..., 0] = 1
        frame[20:44, left : left + 24] = thing
    made = between(first, second, 0.5)[0]
    visible = made[..., 3] > 0.01
    assert made[visible][:, 0].max() < 0.01
    assert made[22:42, 28:48, 3].min() > 0.95
    assert made[..., 3].sum() == pytest.approx(24 * 24, rel=0.05)


def test_threads_change_no_byte() -> None:
    first, second = scene(0, *MOVES["turn"]), scene(1, *MOVES["turn"])
    large = [np.ascontiguousarray(np.tile(each, (4, 4, 1))) for each in (first, second)]
    for a, b in ((first, second), (large[0], large[1])):
        made = []
        for count in (1, 2, 3):
            cv2.setNumThreads(count)
            made.append(between(a, b, 0.25, 0.5).tobytes())
        assert made[0] == made[1] == made[2]


def test_a_light_that_goes_on_tears_nothing() -> None:
    """Nothing moves, it only becomes brighter: every moment lies between, and nothing is moved about."""
    picture = noise(120, 160, 9)
    dark, light = 0.5 * picture, np.clip(0.5 * picture + 0.4, 0, 1)
    made = between(dark, light, 0.5)[0]
    assert np.abs(made - (dark + light) / 2).max() < 0.08
    assert decibels(made, (dark + light) / 2) > 35


def test_motion_is_found_though_a_light_goes_on() -> None:
    name = "camera"
    first, second = scene(0, *MOVES[name]), np.clip(scene(1, *MOVES[name]) + 0.15, 0, 1)
    middle = scene(0.5, *MOVES[name]) + np.float32(0.075)
    made = between(first, second, 0.5)[0]
    assert decibels(made, middle) > decibels((first + second) / 2, middle) + 4
