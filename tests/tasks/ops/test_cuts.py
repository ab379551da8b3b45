"""Cuts: those that were edited are found to the frame; motion, flashes, fades and stillness are none."""

from functools import cache

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tasks.ops.cuts import CutFinder
from tests.shared_data import fixture

Frames = NDArray[np.uint8]
WORKS = ("rabbit320.mp4", "av1_video.mkv", "exo_sample.mp4")


@cache
def frames(name: str, width: int = 160, height: int = 90) -> Frames:
    """A fixture's frames, all of one size, so that clips can be joined."""
    with av.open(str(fixture(f"videos/{name}"))) as container:
        made = [cv2.resize(each.to_ndarray(format="rgb24"), (width, height)) for each in container.decode(video=0)]
    return np.asarray(made, dtype=np.uint8)


def found(clip: Frames) -> tuple[int, ...]:
    finder = CutFinder()
    finder.add(clip)
    return finder.cuts()


@pytest.mark.parametrize("name", [*WORKS, "d_vfr_audio.mp4", "big_buck_bunny_432_433.webm", "d_interlaced_mpeg2.ts"])
def test_one_take_has_none(name: str) -> None:
    assert found(frames(name)) == ()


def test_an_edited_film() -> None:
    """Van from above, taxi, car behind a fence, man on a pavement, bicycle close by: five edits, seen by eye."""
    assert found(frames("skv_bikes.mp4")) == (30, 76, 137, 187, 242)


JOINED = [
    (("rabbit320.mp4", 0, 20), ("av1_video.mkv", 0, 20), ("exo_sample.mp4", 0, 20)),
    (("skv_bikes.mp4", 0, 12), ("rabbit320.mp4", 100, 113), ("skv_bikes.mp4", 150, 161), ("av1_video.mkv", 60, 66)),
    (("skv_bikes.mp4", 35, 50), ("skv_bikes.mp4", 90, 105), ("skv_bikes.mp4", 200, 215)),
    (("exo_sample.mp4", 5, 10), ("rabbit320.mp4", 7, 14), ("exo_sample.mp4", 20, 30)),
    (("big_buck_bunny_432_433.webm", 0, 1), ("rabbit320.mp4", 0, 9), ("skv_bikes.mp4", 60, 61)),
]


@pytest.mark.parametrize("parts", JOINED, ids=range(len(JOINED)))
def test_clips_that_were_joined(parts: tuple[tuple[str, int, int], ...]) -> None:
    clip = np.concatenate([frames(name)[start:end] for name, start, end in parts])
    lengths = [end - start for _, start, end in parts]
    assert found(clip) == tuple(int(place) for place in np.cumsum(lengths)[:-1])


@pytest.mark.parametrize("long", [1, 2, 3])
@pytest.mark.parametrize("name", ["rabbit320.mp4", "exo_sample.mp4"])
@pytest.mark.parametrize("at", [1, 2, 10, 26])
def test_a_flash_is_none(name: str, at: int, long: int) -> None:
    clip = frames(name)[:30].copy()
    clip[at : at + long] = np.clip(clip[at : at + long].astype(np.int32) + 150, 0, 255)
    assert found(clip) == ()
    clip[at : at + long] = 255
    assert found(clip) == ()


@pytest.mark.parametrize("long", [12, 24, 48])
def test_a_fade_is_none(long: int) -> None:
    picture, other = frames("rabbit320.mp4")[0], frames("skv_bikes.mp4")[0]
    share = np.clip((np.arange(long + 20) - 10) / long, 0, 1)[:, None, None, None]
    for end in (np.zeros_like(picture), np.full_like(picture, 255), other):
        assert found(np.rint(picture * (1 - share) + end * share).astype(np.uint8)) == ()


@pytest.mark.parametrize("count", [1, 2, 9])
def test_what_stands_still_has_none(count: int) -> None:
    assert found(np.repeat(frames("rabbit320.mp4")[:1], count, axis=0)) == ()
    assert found(np.full((count, 1, 1, 3), 7, np.uint8)) == ()


def test_two_frames_of_different_clips() -> None:
    pair = np.stack([frames("rabbit320.mp4")[0], frames("skv_bikes.mp4")[40]])
    assert found(pair) == (1,)


def test_no_frames() -> None:
    assert CutFinder().cuts() == ()


def test_sixteen_bits_and_alpha_make_no_difference() -> None:
    clip = np.concatenate([frames("rabbit320.mp4")[:9], frames("skv_bikes.mp4")[:9]])
    deep = np.concatenate([clip, np.full_like(clip[..., :1], 255)], axis=3).astype(np.uint16) * 257
    finder = CutFinder()
    finder.add(deep)
    assert finder.cuts() == found(clip) == (9,)


@settings(max_examples=12, deadline=None)
@given(sizes=st.lists(st.integers(1, 17), max_size=12))
def test_how_frames_come_in_makes_no_difference(sizes: list[int]) -> None:
    clip = np.concatenate([frames("skv_bikes.mp4", 64, 36)[20:40], frames("rabbit320.mp4", 64, 36)[:11]])
    clip[15] = 255
    finder, start = CutFinder(), 0
    for size in [*sizes, len(clip)]:
        finder.add(clip[start : start + size])
        start += size
    assert finder.cuts() == (10, 20)
