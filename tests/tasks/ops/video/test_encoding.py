"""Segments: the same bytes twice, no loss where none is promised, and joined without a change."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from datasets.errors import FrameShapeError
from datasets.planar import PLANAR
from tasks.ops.video.carrying import CarryPlan
from tasks.ops.video.codecs import ClipFormatError, ContainerName
from tasks.ops.video.encoder_options import EncodeSettings
from tasks.ops.video.encoding import EncodeError, encode_segment
from tasks.ops.video.joining import join
from tasks.ops.video.segments import SegmentMismatchError, read_segments, reorder_delay
from tests.tasks.ops.video.sound_clips import (
    TICK,
    clip_info,
    decoded,
    noise,
    samples,
    slope,
    uneven,
    write_segments,
)

NOTHING = CarryPlan()
CODED: list[tuple[str, ContainerName, str, tuple[int, int], str]] = [
    ("h264", "mp4", "yuv420p", (64, 96), ""),
    ("h264", "mov", "yuv444p10le", (60, 97), ""),
    ("h264", "mkv", "yuv420p10le", (64, 96), ""),
    ("h264", "mp4", "yuv444p", (1, 1), ""),
    ("hevc", "mp4", "yuv420p10le", (128, 160), ""),
    ("av1", "mp4", "yuv420p10le", (65, 97), ""),
    ("av1", "webm", "yuv420p", (64, 96), ""),
    ("vp9", "webm", "yuva420p", (65, 97), "libvpx-vp9"),
    ("vp9", "mp4", "yuv444p", (64, 96), ""),
    ("prores4444", "mov", "yuva444p10le", (33, 97), ""),
    ("ffv1", "mkv", "yuv422p10le", (33, 97), ""),
]


@pytest.mark.parametrize(("codec", "container", "form", "size", "decoder"), CODED)
def test_a_joined_clip_shows_what_its_segments_show_when_they_show_it(
    tmp_path: Path, codec: str, container: ContainerName, form: str, size: tuple[int, int], decoder: str
) -> None:
    info = clip_info(form, height=size[0], width=size[1])
    settings = EncodeSettings(codec, container, form)
    planes = slope(form, frames=20, height=size[0], width=size[1])
    parts = write_segments(planes, info, settings, tmp_path, cuts=[0, 7, 8])
    out = tmp_path / f"out.{container}"
    join(parts, None, NOTHING, info, settings, out)
    alone = [samples(frame) for part in parts for frame in decoded(part, decoder)]
    joined = decoded(out, decoder)
    assert len(joined) == len(alone) == 20
    for before, frame in zip(alone, joined, strict=True):
        assert (frame.height, frame.width) == size
        assert all(np.array_equal(a, b) for a, b in zip(before, samples(frame), strict=True))
    tick = Fraction(0) if container in ("mp4", "mov") else Fraction(1, 2000)
    with av.open(str(out)) as opened:
        base = opened.streams.video[0].time_base or Fraction(0)
        shown = [(each.pts or 0) * base for each in opened.demux(video=0) if each.size]
    assert max(abs(a - b * TICK) for a, b in zip(sorted(shown), uneven(20)[0], strict=True)) <= tick


@pytest.mark.parametrize(("codec", "container", "form", "size", "decoder"), CODED)
def test_the_same_frames_give_the_same_bytes(
    tmp_path: Path, codec: str, container: ContainerName, form: str, size: tuple[int, int], decoder: str
) -> None:
    del decoder
    info, settings = clip_info(form, height=size[0], width=size[1]), EncodeSettings(codec, container, form)
    planes = noise(form, frames=8, height=size[0], width=size[1])
    written = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        join(write_segments(planes, info, settings, folder, cuts=[0, 5]), None, NOTHING, info, settings, folder / "out")
        written.append((folder / "out").read_bytes())
    assert written[0] == written[1]
    assert b"Lavf6" not in written[0]
    assert b"x265 (build" not in written[0]  # which tells the processor's features


@pytest.mark.parametrize("form", sorted(PLANAR))
def test_ffv1_gives_back_every_sample_of_every_planar_format(tmp_path: Path, form: str) -> None:
    for height, width, count in ((1, 1, 1), (3, 2, 1), (7, 13, 3), (35, 29, 1)):
        planes = noise(form, frames=count, height=height, width=width, seed=height)
        info, settings = clip_info(form, height=height, width=width), EncodeSettings("ffv1", "mkv", form)
        parts = write_segments(planes, info, settings, tmp_path, cuts=[0])
        join(parts, None, NOTHING, info, settings, tmp_path / "out.mkv")
        for place, frame in enumerate(decoded(tmp_path / "out.mkv")):
            for expected, got in zip(planes.values(), samples(frame), strict=True):
                np.testing.assert_array_equal(got, expected[place])


@pytest.mark.parametrize(
    ("codec", "container", "form", "decoder", "least_db"),
    [
        ("h264", "mp4", "yuv420p", "", 42),
        ("h264", "mp4", "yuv444p10le", "", 43),
        ("hevc", "mp4", "yuv420p12le", "", 42),
        ("av1", "mp4", "yuv420p10le", "", 40),
        ("vp9", "webm", "yuva420p", "libvpx-vp9", 40),
        ("prores4444", "mov", "yuva444p10le", "", 55),
    ],
)
def test_depth_and_transparency_survive(
    tmp_path: Path, codec: str, container: ContainerName, form: str, decoder: str, least_db: float
) -> None:
    planes = slope(form, frames=6, height=128, width=160)
    info, settings = clip_info(form, height=128, width=160), EncodeSettings(codec, container, form)
    out = tmp_path / "out"
    join(write_segments(planes, info, settings, tmp_path, cuts=[0]), None, NOTHING, info, settings, out)
    peak = (1 << PLANAR[form].depth) - 1
    for place, frame in enumerate(decoded(out, decoder)):
        got = PLANAR[frame.format.name]
        assert (got.alpha, got.depth >= PLANAR[form].depth) == (PLANAR[form].alpha, True)
        scale = peak / ((1 << got.depth) - 1)
        for expected, plane in zip(planes.values(), samples(frame), strict=True):
            error = np.mean((plane * scale - expected[place].astype(float)) ** 2)
            assert 10 * np.log10(peak**2 / max(error, 1e-9)) > least_db


def test_grey_becomes_neutral_colour_where_the_codec_has_no_grey(tmp_path: Path) -> None:
    info, settings = clip_info("gray", height=64, width=96), EncodeSettings("h264", "mp4", "yuv420p")
    planes = slope("gray", frames=2, height=64, width=96)
    join(write_segments(planes, info, settings, tmp_path, cuts=[0]), None, NOTHING, info, settings, tmp_path / "o.mp4")
    luma, *colour = samples(decoded(tmp_path / "o.mp4")[1])
    assert np.abs(luma.astype(int) - planes["y"][1]).mean() < 2
    assert {int(value) for plane in colour for value in np.unique(plane)} == {128}


def test_every_segment_begins_with_a_key_frame_and_reorders(tmp_path: Path) -> None:
    info, settings = clip_info("yuv420p", height=64, width=96), EncodeSettings("h264", "mp4", "yuv420p")
    planes = slope("yuv420p", frames=20, height=64, width=96)
    parts = write_segments(planes, info, settings, tmp_path, cuts=[0, 10])
    assert (
        reorder_delay(read_segments(parts))[0] > 0
    )  # else the test of joining would prove nothing about decoding times
    for part in parts:
        with av.open(str(part)) as container:
            assert next(container.demux(video=0)).is_keyframe


def test_frames_and_times_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    info, settings = clip_info("yuv420p", height=64, width=96), EncodeSettings("h264", "mp4", "yuv420p")
    planes, out = noise("yuv420p", frames=3, height=64, width=96), tmp_path / "out.mkv"
    with pytest.raises(FrameShapeError, match="rising"):
        encode_segment([planes], [0, 2, 2], [1, 1, 1], info, settings, out)
    with pytest.raises(FrameShapeError, match="expected 2 frames, got 3"):
        encode_segment([planes], [0, 1], [1, 1], info, settings, out)
    with pytest.raises(FrameShapeError, match="plane 'u'"):
        encode_segment([planes | {"u": planes["y"]}], [0, 1, 2], [1, 1, 1], info, settings, out)
    with pytest.raises(ClipFormatError, match="yuv411p"):
        encode_segment([planes], [0, 1, 2], [1, 1, 1], info, EncodeSettings("h264", "mp4", "yuv411p"), out)
    with pytest.raises(EncodeError, match="choose another"):
        encode_segment([planes], [0, 1, 2], [1, 1, 1], info, EncodeSettings("h264", "mp4", "yuv420p", preset="x"), out)


def test_segments_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    info = clip_info("yuv420p", height=64, width=96)
    planes = noise("yuv420p", frames=2, height=64, width=96)
    settings = EncodeSettings("h264", "mp4", "yuv420p")
    first, second, other = tmp_path / "1", tmp_path / "2", tmp_path / "3"
    encode_segment([planes], [0, 1], [1, 1], info, settings, first)
    encode_segment([planes], [1, 2], [1, 1], info, settings, second)
    encode_segment([planes], [2, 3], [1, 1], info, EncodeSettings("h264", "mp4", "yuv420p", preset="fast"), other)
    with pytest.raises(SegmentMismatchError, match="starts at 1, not after 1"):
        join([first, second], None, NOTHING, info, settings, tmp_path / "out.mp4")
    with pytest.raises(SegmentMismatchError, match="differ"):
        join([first, other], None, NOTHING, info, settings, tmp_path / "out.mp4")
    with pytest.raises(SegmentMismatchError, match="at least one"):
        join([], None, NOTHING, info, settings, tmp_path / "out.mp4")
    first.write_bytes(first.read_bytes()[:-200])
    with pytest.raises(SegmentMismatchError, match="holds 1 of 2"):
        join([first], None, NOTHING, info, settings, tmp_path / "out.mp4")
