"""Rows of frames, worked out by hand."""

import numpy as np
import pytest

from datasets.errors import FrameShapeError
from expectations.frame_measures import frame_rows


def test_cuts_standstills_black_frames_and_flicker() -> None:
    rows = frame_rows(
        "clip",
        luma_mean=np.array([2.0, 2.0, 100, 100, 110, 100, 50, 50]),
        luma_std=np.array([1.0, 1.0, 30, 30, 30, 30, 20, 20]),
        sharpness=np.ones(8),
        difference=np.array([0.0, 0.01, 90, 0.0, 12, 12, 60, 0.0]),
        cuts=(2, 6),
        times_s=np.arange(8) / 25,
    )
    assert rows["shot"].to_list() == [0, 0, 1, 1, 1, 1, 2, 2]
    assert rows["black"].to_list() == [1, 1, 0, 0, 0, 0, 0, 0]
    assert rows["difference"].to_list() == [None, 0.01, None, 0.0, 12.0, 12.0, None, 0.0]
    assert rows["frozen_frames"].to_list() == [2, 2, 2, 2, 1, 1, 2, 2]
    assert rows["flicker"].to_list() == [0, 0, 0, 5, 10, 0, 0, 0]
    assert rows["time_s"].to_list()[1] == pytest.approx(0.04)


def test_no_frames_and_one_frame() -> None:
    empty = np.zeros(0)
    none = frame_rows("clip", luma_mean=empty, luma_std=empty, sharpness=empty, difference=empty)
    assert none.height == 0
    one = np.ones(1)
    assert frame_rows("clip", luma_mean=one, luma_std=one, sharpness=one, difference=one)["frozen_frames"][0] == 1


def test_every_frame_needs_every_number() -> None:
    with pytest.raises(FrameShapeError):
        frame_rows("clip", luma_mean=np.ones(3), luma_std=np.ones(3), sharpness=np.ones(2), difference=np.ones(3))
