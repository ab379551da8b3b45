"""Previews: short, small, from several places, never across a cut."""

import io
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from datasets.errors import FrameShapeError
from tasks.ops.video.moving import preview_indices, write_preview

RATE_25 = Fraction(1, 25)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=9), st.integers(5, 120))
def test_previews_are_short_and_run_forward(lengths: list[int], rate: int) -> None:
    edges = np.cumsum([0, *lengths]).tolist()
    shots = list(pairwise(edges))
    indices, durations = preview_indices(np.arange(edges[-1]), Fraction(1, rate), shots)
    assert indices == sorted(set(indices))
    assert 0 <= indices[0] <= indices[-1] < edges[-1]
    assert 100 <= sum(durations) <= 4000
    assert len(durations) == len(indices)


def test_a_long_shot_is_looked_at_in_four_places() -> None:
    indices, durations = preview_indices(np.arange(1000), RATE_25, [])
    assert sum(durations) == 4000
    gaps = np.diff(indices)
    assert (gaps > 100).sum() == 3
    assert set(gaps[gaps <= 100].tolist()) == {2, 3}
    assert indices[0] == 113  # the first quarter's middle less half a second, and half a tenth


def test_no_stretch_crosses_a_cut() -> None:
    shots = [(0, 30), (30, 55), (55, 100)]  # 1.2 s, 1 s, 1.8 s
    indices, durations = preview_indices(np.arange(100), RATE_25, shots)
    inside = [
        sum(held for index, held in zip(indices, durations, strict=True) if start <= index < end)
        for start, end in shots
    ]
    assert inside == [1200, 1000, 1000]
    assert all(65 <= index < 90 for index in indices if index >= 55)  # the middle second of the last shot


@pytest.mark.parametrize(
    ("pts", "expected"), [([0], ([0], [100])), ([0, 1], ([1], [100])), ([9, 14], ([0, 1], [200, 200]))]
)
def test_the_shortest_clips(pts: list[int], expected: tuple[list[int], list[int]]) -> None:
    assert preview_indices(np.array(pts), RATE_25, []) == expected


def test_without_frames_there_is_no_preview() -> None:
    with pytest.raises(FrameShapeError):
        preview_indices(np.zeros(0, np.int64), RATE_25, [])
    with pytest.raises(FrameShapeError):
        write_preview([], [])


def moving_picture(count: int, height: int, width: int, channels: int = 3) -> list[np.ndarray]:
    ramp = np.linspace(0, 255, width * 2).astype(np.uint8)
    frames = [
        np.broadcast_to(ramp[at * 50 : at * 50 + width, None], (height, width, channels)).copy() for at in range(count)
    ]
    if channels == 4:
        for frame in frames:
            frame[: height // 2, :, 3] = 0
    return frames


@pytest.mark.parametrize("channels", [3, 4])
def test_a_preview_is_an_endless_webp_of_the_same_bytes_every_time(channels: int) -> None:
    frames = moving_picture(5, 240, 640, channels)
    data = write_preview(frames, [100, 200, 100, 100, 300])
    assert data == write_preview(frames, [100, 200, 100, 100, 300])
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size, image.n_frames, image.info["loop"]) == ("WEBP", (320, 120), 5, 0)  # type: ignore[attr-defined]
        assert ("A" in image.mode) is (channels == 4)
        total = 0
        for at in range(5):
            image.seek(at)
            shown = np.asarray(image.convert("RGBA"))
            total += image.info["duration"]
            assert int(shown[90, 160, 0]) == pytest.approx(int(frames[at][180, 320, 0]), abs=8)
            assert shown[10, 10, 3] == (255 if channels == 3 else 0)
        assert total == 800


@pytest.mark.parametrize(
    ("size", "aspect", "expected"),
    [((1, 1), 1, (1, 1)), ((2, 4000), 1, (320, 1)), ((4000, 2), 1, (1, 568)), ((90, 160), 1, (160, 90)),
     ((1280, 720), 1, (320, 568)), ((200, 100), 2, (200, 200))],
)  # fmt: skip
def test_previews_fit_their_box_and_are_not_enlarged(
    size: tuple[int, int], aspect: int, expected: tuple[int, int]
) -> None:
    frame = np.full((*size, 3), 40000, dtype=np.uint16)
    with Image.open(io.BytesIO(write_preview([frame], [100], sample_aspect=Fraction(aspect)))) as image:
        assert image.size == expected
        assert image.getpixel((0, 0))[0] == pytest.approx(156, abs=4)  # type: ignore[index]
