"""Alpha stretched as its authors stretch it, in tiles as in one piece; backgrounds worked out from frames."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ops.found_alpha import (
    cut_by_alpha,
    found_alpha_halo,
    median_background,
    outside_mask,
    over_white,
    spread_over,
    stretched_by_area,
)
from tasks.ops.geometry import Region, Shape

SIDES = st.integers(1, 70)


def small_alpha(height: int, width: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width), dtype=np.float32)


@settings(max_examples=60, deadline=None)
@given(small=st.tuples(SIDES, SIDES), full=st.tuples(SIDES, SIDES), data=st.data())
def test_any_box_of_the_stretched_alpha_is_torchs_area_interpolation(
    small: tuple[int, int], full: tuple[int, int], data: st.DataObject
) -> None:
    alpha = small_alpha(*small)
    whole = F.interpolate(torch.from_numpy(alpha)[None, None], full, mode="area")[0, 0].numpy()
    y0, x0 = (data.draw(st.integers(0, side - 1)) for side in full)
    y1, x1 = data.draw(st.integers(y0 + 1, full[0])), data.draw(st.integers(x0 + 1, full[1]))
    shape, box = Shape(1, *full, 3), Region(0, 1, y0, y1, x0, x1)
    made = stretched_by_area(alpha, box, shape)
    assert np.abs(made - whole[y0:y1, x0:x1]).max() < 1e-6
    in_one = stretched_by_area(alpha, Region(0, 1, 0, full[0], 0, full[1]), shape)
    assert (made == in_one[y0:y1, x0:x1]).all()


def disc(side: int = 120) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    distance = side / 3 - np.hypot(y - side / 2, x - side / 2)
    return np.asarray(np.clip(distance / 4 + 0.5, 0, 1), dtype=np.float32)


def test_the_edge_gets_the_objects_own_colours() -> None:
    alpha, red, green = disc(), np.array([0.9, 0.1, 0.1]), np.array([0.1, 0.8, 0.1])
    mixed = alpha[..., None] * red + (1 - alpha[..., None]) * green
    frames = np.rint(mixed * 255).astype(np.uint8)[None]
    whole = Region(0, 1, 0, 120, 0, 120)
    made = cut_by_alpha(frames, alpha, read=whole, shape=Shape(1, 120, 120, 3))[0]
    soft = (alpha > 0.2) & (alpha < 0.8)
    assert np.abs(made[soft][:, :3] / 255 - red).max() < 0.06
    assert np.abs(frames[0][soft] / 255 - red).max() > 0.4  # what it would be without
    assert (made[..., 3] == np.rint(alpha * 255)).all()


def test_where_nothing_is_known_colours_stay() -> None:
    frames = np.random.default_rng(3).integers(0, 256, (1, 40, 50, 3), dtype=np.uint8)
    alpha = np.full((20, 25), 0.5, np.float32)
    made = cut_by_alpha(frames, alpha, read=Region(0, 1, 0, 40, 0, 50), shape=Shape(1, 40, 50, 3))
    assert (made[..., :3] == frames).all()
    assert (made[..., 3] == 128).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("edge", [1, 57, 130])
def test_a_tile_with_its_halo_equals_the_whole(edge: int, dtype: type[np.unsignedinteger]) -> None:
    rng = np.random.default_rng(5)
    shape = Shape(1, 190, 230, 3)
    frames = rng.integers(0, np.iinfo(dtype).max, shape.as_tuple(), dtype=dtype)
    small = disc(110)
    whole = cut_by_alpha(frames, small, read=Region(0, 1, 0, 190, 0, 230), shape=shape)
    tile = Region(0, 1, edge, min(190, edge + 64), edge, edge + 64)
    read = tile.grown(0, found_alpha_halo(small.shape, shape), shape)
    made = cut_by_alpha(frames[read.slices], small, read=read, shape=shape)
    assert (made[tile.inside(read)] == whole[tile.slices]).all()


def test_transparency_is_laid_over_white() -> None:
    pixel = np.array([[[[100, 200, 0, 51]]]], np.uint8)
    assert over_white(pixel)[0, 0, 0] == pytest.approx([0.2 * 100 / 255 + 0.8, 0.2 * 200 / 255 + 0.8, 0.8], abs=1e-6)


def test_the_background_is_what_most_frames_show() -> None:
    frames = np.full((5, 20, 70, 3), 60, np.uint8)
    for number, frame in enumerate(frames):
        frame[:, number * 14 : number * 14 + 14] = 200  # an object that is nowhere for long
    assert (median_background(frames) == 60).all()


def test_frames_do_not_count_where_their_mask_says_object() -> None:
    frames = np.full((4, 70, 2, 3), 200, np.uint16)  # the object is there in three of four frames
    frames[3] = 60
    outside = np.zeros((4, 70, 2), bool)
    outside[3, :66] = True
    made = median_background(frames, outside)
    assert (made[:66] == 60).all()
    assert (made[66:] == 200).all()  # never seen: all frames count
    assert (median_background(frames) == 200).all()


def test_masks_are_grown_before_they_keep_pixels_out() -> None:
    masks = np.zeros((1, 31, 31), np.uint8)
    masks[0, 15, 15] = 255
    outside = outside_mask(masks)[0]
    assert not outside[15, 10:21].any()
    assert outside[15, 9]
    assert outside[15, 21]


@pytest.mark.parametrize(
    ("start", "stop", "most", "expected"),
    [(0, 5, 32, [0, 1, 2, 3, 4]), (10, 110, 4, [10, 43, 76, 109]), (7, 8, 32, [7]), (0, 33, 3, [0, 16, 32])],
)
def test_samples_are_spread_over_the_shot(start: int, stop: int, most: int, expected: list[int]) -> None:
    assert spread_over(start, stop, most) == expected
