"""Measures do not depend on chunking; a poster shows something, near a third of the clip."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from datasets.errors import FrameShapeError
from tasks.ops.video.posters import FrameMeasures, choose_poster, concatenate, fading, glance, measure_frames

Clip = NDArray[np.uint8]


def clip_of(count: int, height: int = 48, width: int = 64, channels: int = 3) -> Clip:
    """Noise that is another one in every frame."""
    return np.random.default_rng(count).integers(0, 256, (count, height, width, channels), dtype=np.uint8)


def measured(mean: list[float], std: list[float], sharpness: list[float] | None = None) -> FrameMeasures:
    rows = [mean, std, sharpness or [100.0] * len(mean), [0.0] * len(mean)]
    return FrameMeasures(*(np.array(row, dtype=np.float32) for row in rows))


def test_measures_of_a_half_white_frame() -> None:
    frames = np.zeros((2, 10, 20, 3), dtype=np.uint8)
    frames[0, :, 10:] = 255
    measures = measure_frames(frames)
    assert measures.luma_mean.tolist() == pytest.approx([127.5, 0], abs=0.01)
    assert measures.luma_std.tolist() == pytest.approx([127.5, 0], abs=0.01)
    # the kernel answers +255 and -255 on the two columns at the edge, of 20
    assert measures.sharpness.tolist() == pytest.approx([255**2 * 2 / 20, 0], rel=1e-3)
    assert measures.difference.tolist() == pytest.approx([0, 127.5], abs=0.01)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("channels", [3, 4])
def test_measures_do_not_depend_on_chunks(size: int, channels: int) -> None:
    frames = clip_of(7, channels=channels)
    parts = [
        measure_frames(frames[at : at + size], before=glance(frames[at - 1]) if at else None)
        for at in range(0, 7, size)
    ]
    whole, joined = measure_frames(frames), concatenate(parts)
    for name in ("luma_mean", "luma_std", "sharpness", "difference"):
        assert np.array_equal(getattr(whole, name), getattr(joined, name))


def test_sixteen_bits_measure_as_eight() -> None:
    frames = clip_of(2)
    deep, shallow = measure_frames(frames.astype(np.uint16) * 257), measure_frames(frames)
    assert deep.sharpness == pytest.approx(shallow.sharpness, rel=1e-3)
    assert deep.luma_mean == pytest.approx(shallow.luma_mean, rel=1e-4)


def test_hidden_colours_do_not_count() -> None:
    frames = clip_of(1, channels=4)
    frames[..., 3] = 0
    measures = measure_frames(frames)
    assert (measures.luma_mean[0], measures.luma_std[0]) == (128.0, 0.0)


@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (2, 1, 4000, 3), (2, 4000, 1, 4)])
def test_odd_shapes_are_measured(shape: tuple[int, ...]) -> None:
    measures = measure_frames(np.full(shape, 200, dtype=np.uint8))
    assert len(measures) == shape[0]
    assert np.isfinite([measures.luma_mean, measures.luma_std, measures.sharpness, measures.difference]).all()
    assert choose_poster(measures) in range(shape[0])


@pytest.mark.parametrize(
    "frames", [np.zeros((4, 4, 3), np.uint8), np.zeros((1, 4, 4, 3)), np.zeros((1, 4, 4, 1), "u1")]
)
def test_what_is_not_a_clip_is_refused(frames: NDArray[np.uint8]) -> None:
    with pytest.raises(FrameShapeError):
        measure_frames(frames)


def test_measures_come_back_from_json() -> None:
    measures = measure_frames(clip_of(3))
    back = FrameMeasures.from_json(json.loads(json.dumps(measures.to_json())))
    assert back.sharpness == pytest.approx(measures.sharpness, abs=1e-3)
    assert back.difference.dtype == np.float32


def test_the_sharpest_frame_near_a_third_is_chosen() -> None:
    sharpness = [100.0] * 30
    sharpness[11], sharpness[28] = 300, 900
    assert choose_poster(measured([100] * 30, [40] * 30, sharpness)) == 11
    assert choose_poster(measured([100] * 31, [40] * 31)) == 10


@pytest.mark.parametrize("level", [0, 255])
def test_the_only_frame_that_shows_something_is_chosen(level: int) -> None:
    frames = np.full((40, 48, 64, 3), level, dtype=np.uint8)
    frames[37] = clip_of(1)[0]
    assert choose_poster(measure_frames(frames)) == 37


def test_a_product_on_black_or_white_is_no_empty_frame() -> None:
    frames = np.full((12, 60, 60, 3), 127, dtype=np.uint8)
    frames[4:6] = 0
    frames[4:6, 24:36, 24:36] = 250
    assert choose_poster(measure_frames(frames)) in {4, 5}
    assert choose_poster(measure_frames(255 - frames)) in {4, 5}


@pytest.mark.parametrize("ground", [0, 255])
def test_a_fade_is_passed_over_even_where_it_is_sharper(ground: int) -> None:
    picture = clip_of(1)[0].astype(np.float32)
    dull = 128 + (picture - 128) * 0.2
    weights = [*np.linspace(0, 1, 21)[:-1], *[1.0] * 4]
    frames = [ground + (picture - ground) * weight for weight in weights] + [dull] * 16
    measures = measure_frames(np.rint(frames).astype(np.uint8))
    assert fading(measures)[3:18].all()
    assert not fading(measures)[20:].any()
    assert choose_poster(measures) in range(18, 24)
    backwards = measure_frames(np.rint(frames[::-1]).astype(np.uint8))
    assert choose_poster(backwards) in range(16, 22)


def test_where_the_third_lies_in_a_fade_the_nearest_whole_frame_is_taken() -> None:
    picture = clip_of(1)[0].astype(np.float32)
    faded = [picture * weight for weight in np.linspace(0, 1, 30)]
    measures = measure_frames(np.rint([*faded, *[128 + (picture - 128) * 0.1] * 15]).astype(np.uint8))
    assert choose_poster(measures) in range(27, 30)


def test_a_hard_cut_from_black_is_no_fade() -> None:
    frames = np.zeros((10, 48, 64, 3), dtype=np.uint8)
    frames[3:] = clip_of(1)[0]
    assert not fading(measure_frames(frames))[3:].any()


def test_of_nothing_but_empty_frames_one_is_chosen_all_the_same() -> None:
    assert choose_poster(measured([0] * 9, [0] * 9)) in {2, 3}
    assert choose_poster(measured([0, 0, 8], [0, 0, 3])) == 2
    assert choose_poster(measured([5], [0])) == 0
    assert choose_poster(measured([0, 120], [0, 0])) == 1  # one colour is better than black
    with pytest.raises(FrameShapeError):
        choose_poster(concatenate([]))
