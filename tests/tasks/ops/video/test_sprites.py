"""Sprites cover the clip without a gap, and the track points at the right ones."""

import re
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.errors import FrameShapeError
from tasks.ops.video.sprites import SpritePlan, sprite_cell, sprite_plan, sprite_sheet, sprite_track

MILLIS = Fraction(1, 1000)


def seconds(words: str) -> float:
    hours, minutes, rest = words.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def cues(track: str) -> list[tuple[float, float, str]]:
    """A reading of the track by the specification's own form of a cue."""
    found = re.findall(r"^(\d{2,}:\d\d:\d\d\.\d{3}) --> (\d{2,}:\d\d:\d\d\.\d{3})\n(\S+)\n", track, re.MULTILINE)
    return [(seconds(start), seconds(end), where) for start, end, where in found]


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=60), st.floats(0.02, 20), st.integers(-(10**6), 10**6))
def test_stretches_cover_the_clip_and_show_frames_from_within(steps: list[int], interval: float, first: int) -> None:
    pts = first + np.cumsum([0, *steps[:-1]])
    plan = sprite_plan(len(pts), pts, MILLIS, interval, last_duration=steps[-1])
    assert plan.starts_ms[0] == 0
    assert plan.end_ms == sum(steps)
    assert all(before < after for before, after in zip(plan.starts_ms, (*plan.starts_ms[1:], plan.end_ms), strict=True))
    assert list(plan.indices) == sorted(set(plan.indices))
    for index, start, end in zip(plan.indices, plan.starts_ms, (*plan.starts_ms[1:], plan.end_ms), strict=True):
        shown_from, shown_to = sum(steps[:index]), sum(steps[: index + 1])
        assert shown_from <= end
        assert shown_to >= start


def test_a_plan_worked_out_by_hand() -> None:
    plan = sprite_plan(10, np.arange(10) * 40, MILLIS, 0.1)
    assert plan == SpritePlan((1, 3, 6, 8), (0, 100, 200, 300), 400)
    assert sprite_plan(1, np.array([77]), Fraction(1, 25), 5.0) == SpritePlan((0,), (0,), 5000)
    frozen = sprite_plan(2, np.array([0, 10_000]), MILLIS, 1.0, last_duration=1000)
    assert frozen == SpritePlan((0, 1), (0, 10_000), 11_000)


@pytest.mark.parametrize("pts", [[], [0, 0], [5, 3], [1]])
def test_time_stamps_must_rise(pts: list[int]) -> None:
    with pytest.raises(FrameShapeError):
        sprite_plan(2, np.array(pts, dtype=np.int64), MILLIS, 1.0)


def test_long_clips_take_several_sheets() -> None:
    plan = sprite_plan(5000, np.arange(5000) * 40, MILLIS, 0.8)
    assert [len(sheet) for sheet in plan.sheets()] == [100, 100, 50]
    found = cues(sprite_track(plan, (90, 160), ["a.webp", "b.webp", "c.webp"]))
    assert len(found) == 250
    assert all(before[1] == after[0] for before, after in pairwise(found))
    assert (found[0][0], found[-1][1]) == (0, 200)
    assert found[0][2] == "a.webp#xywh=0,0,160,90"
    assert found[199][2] == "b.webp#xywh=1440,810,160,90"
    assert found[211][2] == "c.webp#xywh=160,90,160,90"


def test_the_track_names_no_time_and_no_markup_of_a_hostile_name() -> None:
    track = sprite_track(SpritePlan((0,), (0,), 3_723_004), (2, 2), ["a --> b\n\nNOTE<c>&#é.webp"])
    assert track.startswith("WEBVTT\n\n")
    assert track.count("-->") == 1
    assert cues(track) == [(0, 3723.004, "a%20--%3E%20b%0A%0ANOTE%3Cc%3E%26%23%C3%A9.webp#xywh=0,0,2,2")]


def test_sprites_lie_where_the_track_says() -> None:
    frames = [np.full((9, 16, 3), 2 * number, dtype=np.uint8) for number in range(13)]
    plan = SpritePlan(tuple(range(13)), tuple(range(13)), 13)
    sheet = sprite_sheet(frames, (18, 32))
    assert sheet.shape == (36, 320, 3)
    for number, (_, _, where) in enumerate(cues(sprite_track(plan, (18, 32), ["s"]))):
        x, y, width, height = map(int, where.partition("=")[2].split(","))
        assert (sheet[y : y + height, x : x + width] == 2 * number).all()


@pytest.mark.parametrize(
    ("height", "width", "aspect", "expected"),
    [(720, 1280, Fraction(1), (90, 160)), (1280, 720, Fraction(1), (160, 90)), (576, 720, Fraction(64, 45), (90, 160)),
     (1, 4000, Fraction(1), (40, 160)), (4000, 1, Fraction(1), (160, 40)), (1, 1, Fraction(1), (160, 160))],
)  # fmt: skip
def test_cells(height: int, width: int, aspect: Fraction, expected: tuple[int, int]) -> None:
    cell = sprite_cell(height, width, sample_aspect=aspect)
    assert cell == expected
    deep = np.full((height, width, 4), 65535, dtype=np.uint16)
    assert sprite_sheet([deep], cell, sample_aspect=aspect).max() == 255


def test_a_sheet_has_a_limit() -> None:
    frame = np.zeros((2, 2, 3), np.uint8)
    for count in (0, 101):
        with pytest.raises(FrameShapeError):
            sprite_sheet([frame] * count, (2, 2))
