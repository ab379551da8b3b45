"""Frames are turned to what is seen, and back."""

from dataclasses import replace

import numpy as np
import pytest

from datasets.errors import FrameShapeError
from tasks.ops.video.orientation import as_coded, upright
from tests.tasks.ops.video.sample_planes import info_of

CODED = np.array([[1, 2, 3], [4, 5, 6]], np.uint8).reshape(1, 2, 3, 1)


@pytest.mark.parametrize(
    ("rotation", "mirrored", "seen"),
    [
        (0, False, [[1, 2, 3], [4, 5, 6]]),
        (90, False, [[4, 1], [5, 2], [6, 3]]),  # clockwise: the first column becomes the top row, from below
        (180, False, [[6, 5, 4], [3, 2, 1]]),
        (270, False, [[3, 6], [2, 5], [1, 4]]),
        (0, True, [[3, 2, 1], [6, 5, 4]]),
        (90, True, [[6, 3], [5, 2], [4, 1]]),
        (180, True, [[4, 5, 6], [1, 2, 3]]),
        (270, True, [[1, 4], [2, 5], [3, 6]]),
    ],
)
def test_every_orientation(rotation: int, mirrored: bool, seen: list[list[int]]) -> None:
    info = replace(info_of("gray", 2, 3), rotation=rotation, mirrored=mirrored)
    turned = upright(CODED, info)
    assert turned[0, :, :, 0].tolist() == seen
    assert turned.shape[1:3] == info.upright
    assert turned.flags.c_contiguous
    assert (as_coded(turned, info) == CODED).all()


def test_channels_and_frames_stay_in_order() -> None:
    frames = np.random.default_rng(0).integers(0, 65536, (3, 4, 5, 4)).astype(np.uint16)
    info = replace(info_of("gray", 4, 5), rotation=90, mirrored=True)
    turned = upright(frames, info)
    assert (turned[2, 4, 3] == frames[2, 0, 0]).all()
    assert (as_coded(turned, info) == frames).all()


def test_nothing_to_do_copies_nothing() -> None:
    assert np.shares_memory(upright(CODED, info_of("gray", 2, 3)), CODED)


def test_other_shapes_and_angles_are_refused() -> None:
    with pytest.raises(FrameShapeError, match="T, H, W, C"):
        upright(CODED[0], info_of("gray", 2, 3))
    with pytest.raises(FrameShapeError, match="45"):
        upright(CODED, replace(info_of("gray", 2, 3), rotation=45))
