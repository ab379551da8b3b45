"""Contact sheets show the whole clip, in its shape, with readable times."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.errors import FrameShapeError
from tasks.ops.video.sheets import contact_sheet, contact_times, share_out, stamp


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 30))
def test_indices_rise_and_every_shot_is_shown_first(lengths: list[int], count: int) -> None:
    edges = np.cumsum([0, *lengths]).tolist()
    shots = list(pairwise(edges))
    chosen = contact_times(edges[-1], shots, count)
    assert len(chosen) == min(count, edges[-1])
    assert chosen == sorted(set(chosen))
    assert all(0 <= index < edges[-1] for index in chosen)
    shown = sum(any(start <= index < end for index in chosen) for start, end in shots)
    assert shown == min(count, len(shots))


def test_indices_worked_out_by_hand() -> None:
    assert contact_times(100, [], 4) == [12, 37, 62, 87]
    assert contact_times(100, [(0, 10), (10, 100)], 4) == [5, 25, 55, 85]
    assert contact_times(100, [(0, 10), (10, 60), (60, 100)], 2) == [35, 80]
    assert contact_times(1, [], 12) == [0]
    assert contact_times(2, [(0, 1), (1, 2)], 12) == [0, 1]


def test_shares_by_highest_averages() -> None:
    assert share_out([10, 90], 4, each_first=False) == [0, 4]
    assert share_out([10, 90], 4, each_first=True) == [1, 3]
    assert share_out([1, 5], 10, each_first=False) == [1, 5]


@pytest.mark.parametrize(
    ("time_s", "expected"),
    [(0, "0:00.00"), (3.244, "0:03.24"), (59.996, "1:00.00"), (720, "12:00.00"), (3723.4, "1:02:03.40")],
)
def test_stamp(time_s: float, expected: str) -> None:
    assert stamp(time_s) == expected


def test_twelve_frames_make_four_columns_of_three() -> None:
    colours = [np.full((90, 160, 3), 60 + 15 * number, dtype=np.uint8) for number in range(12)]
    sheet = contact_sheet(colours, [float(number) for number in range(12)], 1280)
    assert sheet.shape[1] == 1280
    assert sheet.dtype == np.uint8
    row = sheet[40, :, 0]
    assert [60 + 15 * number for number in range(4)] == [value for value in dict.fromkeys(row.tolist()) if value != 32]
    assert 1.2 < sheet.shape[1] / sheet.shape[0] < 2.0
    assert len(np.unique(sheet[40:])) > 12  # letters have soft edges


@pytest.mark.parametrize(("aspect", "ratio"), [(Fraction(1), 1.0), (Fraction(2), 2.0), (Fraction(1, 2), 0.5)])
def test_the_sample_aspect_shapes_the_cells(aspect: Fraction, ratio: float) -> None:
    sheet = contact_sheet([np.full((100, 100, 3), 200, np.uint8)], [0.0], 400, sample_aspect=aspect)
    rows, columns = np.nonzero((sheet == 200).all(axis=2))
    assert np.ptp(columns) / np.ptp(rows) == pytest.approx(ratio, rel=0.02)
    assert not (sheet == 20).any()  # the cell has the frame's shape, without bars


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (3, 2)])
@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("width", [64, 333, 1280])
def test_odd_frames_make_a_sheet_of_the_wanted_width(size: tuple[int, int], count: int, width: int) -> None:
    sheet = contact_sheet([np.full((*size, 3), 255, np.uint8)] * count, [0.5] * count, width)
    assert sheet.shape[1:] == (width, 3)
    assert sheet.shape[0] <= 4.5 * width * count
    assert (sheet == 255).all(axis=2).any()


def test_transparency_lies_over_a_checkerboard() -> None:
    frame = np.zeros((64, 64, 4), dtype=np.uint8)
    frame[16:48, 16:48] = (200, 0, 0, 255)
    colours = {tuple(pixel) for pixel in contact_sheet([frame], [0.0], 240).reshape(-1, 3).tolist()}
    assert {(255, 255, 255), (204, 204, 204), (200, 0, 0)} <= colours


def test_sixteen_bits_look_as_eight() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    deep = contact_sheet([frame.astype(np.uint16) * 257], [0.0], 60 + 4)
    assert np.abs(deep.astype(int) - contact_sheet([frame], [0.0], 60 + 4)).max() <= 1


def test_frames_and_times_go_together() -> None:
    with pytest.raises(FrameShapeError):
        contact_sheet([], [], 400)
    with pytest.raises(FrameShapeError):
        contact_sheet([np.zeros((4, 4, 3), np.uint8)], [], 400)
