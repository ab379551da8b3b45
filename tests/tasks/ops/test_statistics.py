from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from datasets.errors import FrameShapeError
from tasks.ops.statistics import (
    REC709,
    ToneStatistics,
    auto_exposure_stops,
    gray_world_gains,
    measure,
    percentile,
)
from tasks.ops.transfer import linear_to_srgb_uint8, srgb_to_linear


def flat(*linear: float, size: int = 10) -> NDArray[Any]:
    codes = linear_to_srgb_uint8(np.array(linear))
    return np.broadcast_to(codes, (1, size, size, codes.size))


def test_counts_by_hand() -> None:
    frames = np.array([[[[255, 0, 0], [255, 0, 0], [0, 0, 10]]]], dtype=np.uint8)
    statistics = measure(frames)
    red, green, blue, luma = (np.array(channel) for channel in statistics.counts)
    assert (red[255], red[0], green[0], blue[0], blue[10]) == (2, 1, 3, 2, 1)
    assert luma[54] == 2  # 0.2126 * 255 = 54.2
    assert luma[1] == 1  # 0.0722 * 10 = 0.7
    assert statistics.pixels == 3


def test_only_opaque_pixels_count() -> None:
    frames = np.array([[[[9, 9, 9, 255], [7, 7, 7, 128], [5, 5, 5, 127]]]], dtype=np.uint8)
    assert np.flatnonzero(measure(frames).counts[0]).tolist() == [7, 9]


def test_16_bit_has_1024_bins() -> None:
    statistics = measure(np.full((1, 1, 1, 3), 65535, dtype=np.uint16))
    assert [len(channel) for channel in statistics.counts] == [1024] * 4
    assert statistics.counts[0][1023] == 1
    assert statistics.tones[-1] == pytest.approx((1023 * 64 + 31.5) / 65535)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 99), st.integers(1, 5), st.sampled_from([np.uint8, np.uint16]), st.sampled_from([1, 3, 4]))
def test_totals_do_not_depend_on_the_chunks(seed: int, chunk: int, dtype: Any, channels: int) -> None:
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, np.iinfo(dtype).max + 1, (3, 7, 9, channels), dtype=dtype)
    total = ToneStatistics.empty(256 if dtype is np.uint8 else 1024)
    for t in range(3):
        for y in range(0, 7, chunk):
            total = measure(frames[t : t + 1, y : y + chunk]) + total
    assert total == measure(frames)


def test_histograms_of_two_depths_are_not_added() -> None:
    with pytest.raises(FrameShapeError):
        ToneStatistics.empty(256) + ToneStatistics.empty(1024)


def test_json_comes_back() -> None:
    statistics = measure(flat(0.2, 0.3, 0.4))
    assert ToneStatistics.from_json(statistics.to_json()) == statistics


def test_gains_make_one_colour_neutral_at_its_luminance() -> None:
    frames = flat(0.2, 0.4, 0.3)
    balanced = srgb_to_linear(frames[0, 0, 0]) * gray_world_gains(measure(frames))
    luminance = 0.2126 * 0.2 + 0.7152 * 0.4 + 0.0722 * 0.3
    np.testing.assert_allclose(balanced, luminance, rtol=0.01)


def test_a_bright_neutral_ground_outweighs_a_coloured_product() -> None:
    frames = np.concatenate([flat(0.9, 0.9, 0.9), flat(0.6, 0.05, 0.05)])
    red, _, blue = gray_world_gains(measure(frames))
    # sixth-power means: red (0.9**6 + 0.6**6) / 2 -> 0.813, blue (0.9**6 + 0.05**6) / 2 -> 0.802; plain means give 1.58
    assert blue / red == pytest.approx(1.014, abs=0.01)


@pytest.mark.parametrize("frames", [np.zeros((1, 2, 2, 3), np.uint8), np.zeros((1, 2, 2, 4), np.uint8)])
def test_nothing_to_measure_changes_nothing(frames: NDArray[Any]) -> None:
    statistics = measure(frames)
    assert gray_world_gains(statistics) == (1.0, 1.0, 1.0)
    assert auto_exposure_stops(statistics) == 0.0
    assert percentile(statistics, 50) == 0.0


def test_gains_are_limited() -> None:
    gains: NDArray[np.float64] = np.array(gray_world_gains(measure(flat(0.8, 0.8, 0.001))))
    assert gains[2] / gains[0] == pytest.approx(4.0, rel=0.25)
    assert np.dot(REC709, gains * srgb_to_linear(flat(0.8, 0.8, 0.001)[0, 0, 0])) == pytest.approx(0.743, abs=0.005)


def test_percentiles_by_hand() -> None:
    grey = np.arange(1, 101, dtype=np.uint8).reshape(1, 10, 10, 1)
    statistics = measure(grey)
    assert percentile(statistics, 50) == pytest.approx(50 / 255)
    assert percentile(statistics, 99) == pytest.approx(99 / 255)
    assert percentile(statistics, 100) == pytest.approx(100 / 255)


def test_exposure_reaches_the_target_when_highlights_allow() -> None:
    # 0.045 is two stops below 0.18; 8-bit codes are good to a few hundredths of a stop
    assert auto_exposure_stops(measure(flat(0.045, 0.045, 0.045))) == pytest.approx(2.0, abs=0.05)
    assert auto_exposure_stops(measure(flat(0.045, 0.045, 0.045)), target=0.09) == pytest.approx(1.0, abs=0.05)


def test_a_white_backdrop_stays_white() -> None:
    dark_on_white = np.concatenate([flat(0.02, 0.02, 0.02), flat(1.0, 1.0, 1.0)])
    bright_on_white = np.concatenate([flat(0.6, 0.6, 0.6), flat(1.0, 1.0, 1.0)])
    assert auto_exposure_stops(measure(dark_on_white)) == 0.0
    assert auto_exposure_stops(measure(bright_on_white)) == pytest.approx(np.log2(0.8), abs=0.01)
