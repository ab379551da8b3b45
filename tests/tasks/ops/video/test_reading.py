"""Good clips are read as they are coded: every frame, its exact time, its values, and the facts about it."""

import io
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from datasets.planar import PLANAR
from tasks.ops.video.decoding import DecodedFrame
from tasks.ops.video.reading import Clip, open_clip
from tests.shared_data import SHARED, fixture
from tests.tasks.ops.video import clips

# name: (width, height, frames, rate, codec, pixel format); as SOURCES.tsv says, rates by count and duration
GOOD: dict[str, tuple[int, int, int, str | None, str, str]] = {
    "av1_video.mkv": (640, 360, 125, "25", "av1", "yuv420p"),
    "big_buck_bunny_432_433.webm": (1280, 720, 24, "24", "vp8", "yuv420p"),
    "bitmap.mp4": (1, 1, 5, "1", "h264", "yuv444p"),
    "d_427x240_h264_444.mp4": (427, 240, 48, "24000/1001", "h264", "yuv444p"),
    "d_interlaced_mpeg2.ts": (320, 240, 45, "25", "mpeg2video", "yuv420p"),
    "d_one_frame.mp4": (320, 240, 1, None, "h264", "yuv420p"),
    "d_prores_small.mov": (320, 240, 12, "24", "prores", "yuv422p10le"),
    "d_vfr_audio.mp4": (320, 240, 90, "675/46", "h264", "yuv420p"),
    "exo_fragmented.mp4": (1080, 720, 30, "30000/1001", "h264", "yuv420p"),
    "exo_sample.flv": (1080, 720, 30, "30", "h264", "yuv420p"),
    "exo_sample.mp4": (1080, 720, 30, "30000/1001", "h264", "yuv420p"),
    "exo_slowmo.mp4": (1280, 720, 7, "630000/47281", "h264", "yuvj420p"),
    "h265_video.mp4": (128, 128, 10, "10", "hevc", "yuv420p"),
    "rabbit320.mp4": (320, 240, 234, "30", "h264", "yuv420p"),
    "rabbit320.webm": (320, 240, 234, "30", "vp8", "yuv420p"),
    "skv_bikes.mp4": (640, 272, 250, "25", "h264", "yuv420p"),
    "unordered.mov": (50, 50, 4, "32", "h264", "yuv420p"),
    "video_0.mov": (568, 320, 3, "30", "h264", "yuv420p"),
    "video_90.mov": (568, 320, 3, "30", "h264", "yuv420p"),
}


def read(file: Any, **options: Any) -> tuple[Clip, list[DecodedFrame]]:
    with open_clip(file, threads=2, **options) as clip:
        return clip, list(clip.frames())


def same(one: list[DecodedFrame], other: list[DecodedFrame]) -> bool:
    return [(each.pts, each.duration, each.key, each.corrupt) for each in one] == [
        (each.pts, each.duration, each.key, each.corrupt) for each in other
    ] and all(
        np.array_equal(a.planes[plane], b.planes[plane]) for a, b in zip(one, other, strict=True) for plane in a.planes
    )


def test_the_table_names_every_clip() -> None:
    fixture("videos")
    assert {path.name for path in (SHARED / "fixtures" / "videos").iterdir()} == set(GOOD)


@pytest.mark.parametrize("name", sorted(GOOD))
def test_every_good_clip_is_read_whole_and_nothing_is_found_wrong(name: str) -> None:
    path = fixture(f"videos/{name}")
    clip, frames = read(path)
    width, height, count, rate, codec, pixel_format = GOOD[name]
    info = clip.info
    assert (info.width, info.height, len(frames), info.codec, info.pixel_format) == (
        width, height, count, codec, pixel_format,
    )  # fmt: skip
    assert info.average_rate == (None if rate is None else Fraction(rate))
    assert clip.damage() == ()
    assert clip.notices == ()
    expected = clips.plain_decode(path)
    assert [frame.pts for frame in frames] == [frame.pts for frame in expected]
    for ours, theirs in zip(frames, expected, strict=True):
        assert_same_picture(ours, theirs)


def assert_same_picture(ours: DecodedFrame, theirs: av.VideoFrame) -> None:
    """Against PyAV's own arrays, which lay the planes one below the other."""
    kept = PLANAR[theirs.format.name]
    assert list(ours.planes) == list(kept.planes)
    for index, (plane, samples) in enumerate(ours.planes.items()):
        assert samples.shape == kept.plane_size(plane, theirs.height, theirs.width)
        assert samples.dtype == np.dtype(kept.dtype)
        assert samples.flags.c_contiguous
        assert np.array_equal(samples, cropped(theirs, index, samples.shape, samples.dtype))


def cropped(frame: av.VideoFrame, index: int, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Row by row by the line size."""
    line_bytes, data = frame.planes[index].line_size, bytes(frame.planes[index])
    return np.stack([np.frombuffer(data, dtype, shape[1], row * line_bytes) for row in range(shape[0])])


@pytest.mark.parametrize("name", ["d_427x240_h264_444.mp4", "d_vfr_audio.mp4", "exo_sample.flv", "rabbit320.webm"])
def test_a_binary_file_gives_what_the_path_gives_and_stays_open(name: str) -> None:
    path = fixture(f"videos/{name}")
    file = io.BytesIO(path.read_bytes())
    clip, frames = read(file, name=name)
    other, from_path = read(path)
    assert same(frames, from_path)
    assert clip.info == other.info
    assert not file.closed


def test_two_readers_of_one_binary_file_do_not_disturb_each_other() -> None:
    file = io.BytesIO(fixture("videos/d_vfr_audio.mp4").read_bytes())
    with open_clip(file) as one, open_clip(file) as other:
        for left, right in zip(one.frames(), other.frames(), strict=True):
            assert same([left], [right])


@pytest.mark.parametrize("name", ["skv_bikes.mp4", "h265_video.mp4", "rabbit320.webm", "av1_video.mkv"])
def test_the_number_of_threads_does_not_show(name: str) -> None:
    path = fixture(f"videos/{name}")
    results = []
    for threads in (1, 2, 5):
        with open_clip(path, threads=threads) as clip:
            results.append(list(clip.frames()))
    assert same(results[0], results[1])
    assert same(results[0], results[2])


@pytest.mark.parametrize("name", sorted(GOOD))
def test_resuming_gives_exactly_the_frames_that_follow(name: str) -> None:
    with open_clip(fixture(f"videos/{name}"), threads=2) as clip:
        whole = list(clip.frames())
        for start in sorted({1, 2, len(whole) // 3, len(whole) // 2, len(whole) - 1} - {0, -1}):
            if start >= len(whole):
                continue
            assert same(list(clip.frames(start, after=whole[start - 1].pts)), whole[start:]), start
            assert same(list(clip.frames(start)), whole[start:]), start


def test_resuming_reads_from_the_last_proven_key_frame() -> None:
    with open_clip(fixture("videos/skv_bikes.mp4"), threads=1) as clip:
        assert len(clip.scan().sync_pts) == 6
        pts = list(clip.scan().pts)
        left = list(clip.frames(240, after=pts[239]))
        assert [frame.pts for frame in left] == pts[240:]
        assert clip._decoder.tally.frames < 100
    with open_clip(fixture("videos/skv_bikes.mp4"), threads=1, scan=clip.scan()) as again:
        assert same(list(again.frames(240, after=pts[239])), left)


def test_facts_of_orientation_fields_and_companions() -> None:
    turned, _ = read(fixture("videos/video_90.mov"))
    straight, _ = read(fixture("videos/video_0.mov"))
    assert (turned.info.rotation, straight.info.rotation) == (90, 0)
    assert turned.info.upright == (568, 320)
    woven, _ = read(fixture("videos/d_interlaced_mpeg2.ts"))
    assert woven.info.field_order == "tff"
    assert woven.info.time_base == Fraction(1, 90000)
    sound = read(fixture("videos/d_vfr_audio.mp4"))[0].scan().streams
    assert [(each.kind, each.codec) for each in sound] == [("audio", "aac")]
