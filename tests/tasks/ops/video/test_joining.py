"""The delivered file: tags, order of its parts, and what players need besides the pictures."""

import base64
import struct
from fractions import Fraction
from pathlib import Path

import av
import pytest

from tasks.ops.video.carrying import CarryPlan
from tasks.ops.video.clip import Colour
from tasks.ops.video.codecs import ContainerName
from tasks.ops.video.encoder_options import EncodeSettings
from tasks.ops.video.joining import join
from tests.tasks.ops.video.sound_clips import clip_info, decoded, side_data, slope, write_segments

NOTHING = CarryPlan()
PRIMARIES = (34_000, 16_000, 13_250, 34_500, 7_500, 3_000, 15_635, 16_450)  # BT.2020 and D65 in 50,000ths
MASTERING = struct.pack(
    "=20i2i", *(part for each in PRIMARIES for part in (each, 50_000)), 50, 10_000, 10_000_000, 10_000, 1, 1
)
HDR = {
    "MASTERING_DISPLAY_METADATA": base64.b64encode(MASTERING).decode(),
    "CONTENT_LIGHT_LEVEL": base64.b64encode(struct.pack("=2I", 1000, 400)).decode(),
}
PQ = Colour("bt2020", "smpte2084", "bt2020nc", "tv", "topleft")


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
def test_high_dynamic_range_is_told_as_it_was(tmp_path: Path, codec: str) -> None:
    info = clip_info("yuv420p10le", height=128, width=128, colour=PQ, hdr=HDR)
    settings = EncodeSettings(codec, "mp4", "yuv420p10le")
    planes, out = slope("yuv420p10le", frames=2, height=128, width=128), tmp_path / "out.mp4"
    join(write_segments(planes, info, settings, tmp_path, cuts=[0]), None, NOTHING, info, settings, out)
    frame = decoded(out)[0]
    assert (frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range) == (9, 16, 9, 1)  # H.273
    told = side_data(frame)
    assert told["CONTENT_LIGHT_LEVEL"] == struct.pack("=2I", 1000, 400)
    numbers = struct.unpack("=20i2i", told["MASTERING_DISPLAY_METADATA"][:88])
    got = [a / b for a, b in zip(numbers[:20:2], numbers[1:20:2], strict=True)]
    assert got[:8] == pytest.approx([each / 50_000 for each in PRIMARIES], abs=2e-5)
    assert got[8:] == pytest.approx([0.005, 1000], rel=2e-3)


@pytest.mark.parametrize(
    ("codec", "container", "form"),
    [
        ("h264", "mp4", "yuv420p"),
        ("h264", "mkv", "yuv420p"),
        ("hevc", "mov", "yuv420p"),
        ("av1", "mp4", "yuv420p"),
        ("vp9", "mp4", "yuv420p"),
        ("prores4444", "mov", "yuv444p10le"),
    ],
)
@pytest.mark.parametrize(("rotation", "mirrored"), [(0, False), (90, False), (270, True)])
def test_shape_colour_and_orientation_are_in_the_file(
    tmp_path: Path, codec: str, container: ContainerName, form: str, rotation: int, mirrored: bool
) -> None:
    colour = Colour("smpte170m", "smpte170m", "smpte170m", "tv", "left")
    info = clip_info(
        form, height=128, width=144, sample_aspect=Fraction(16, 11), rotation=rotation, mirrored=mirrored, colour=colour
    )
    settings, out = EncodeSettings(codec, container, form), tmp_path / f"out.{container}"
    planes = slope(form, frames=3, height=128, width=144)
    parts = write_segments(planes, info, settings, tmp_path, cuts=[0, 1])
    assert join(parts, None, NOTHING, info, settings, out) == ()
    frame = decoded(out)[0]
    with av.open(str(out)) as opened:
        assert opened.streams.video[0].sample_aspect_ratio == Fraction(16, 11)
    assert (frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range) == (6, 6, 6, 1)
    matrix = [struct.unpack("=9i", each) for name, each in side_data(frame).items() if name == "DISPLAYMATRIX"]
    # A column vector (x, y) is seen at (a x + c y, b x + d y), y downwards: mirrored first, then turned clockwise.
    expected = {
        (0, False): [],
        (90, False): [(0, 1, -1, 0)],
        (270, True): [(0, 1, 1, 0)],
    }[rotation, mirrored]
    assert [tuple(each[place] // 65_536 for place in (0, 1, 3, 4)) for each in matrix] == expected


def test_a_pixels_shape_that_matroska_is_not_told_is_said(tmp_path: Path) -> None:
    info = clip_info("yuv420p", height=64, width=64, sample_aspect=Fraction(4, 3))
    settings = EncodeSettings("ffv1", "mkv", "yuv420p")
    parts = write_segments(slope("yuv420p", frames=1, height=64, width=64), info, settings, tmp_path, cuts=[0])
    said = join(parts, None, NOTHING, info, settings, tmp_path / "out.mkv")
    assert [each.code for each in said] == ["sample_aspect_dropped"]


@pytest.mark.parametrize(
    ("codec", "container", "tag"), [("h264", "mp4", "avc1"), ("hevc", "mp4", "hvc1"), ("prores4444", "mov", "ap4h")]
)
def test_the_index_comes_first_and_the_length_is_the_clips(
    tmp_path: Path, codec: str, container: ContainerName, tag: str
) -> None:
    form = "yuv444p10le" if codec == "prores4444" else "yuv420p"
    info, settings = clip_info(form, height=128, width=144), EncodeSettings(codec, container, form)
    planes, out = slope(form, frames=31, height=128, width=144), tmp_path / "out"
    durations = [1001] * 27 + [5005, 9009, 1001, 1001]  # long where decoding ends
    times = ([sum(durations[:place]) for place in range(31)], durations)
    parts = write_segments(planes, info, settings, tmp_path, cuts=[0, 9, 20], times=times)
    join(parts, None, NOTHING, info, settings, out)
    whole = out.read_bytes()
    assert whole.index(b"moov") < whole.index(b"mdat")
    with av.open(str(out)) as opened:
        stream = opened.streams.video[0]
        assert stream.codec_tag == tag
        assert stream.time_base is not None
        assert stream.start_time == 0
        length = (stream.duration or 0) * stream.time_base
        assert abs(length - sum(durations) * Fraction(1, 30_000)) <= Fraction(1, 1000)  # the movie's tick
        assert not {"encoder", "creation_time"} & set(opened.metadata)


@pytest.mark.parametrize(
    "base", [Fraction(1, 25), Fraction(1001, 30_000), Fraction(1, 90_000), Fraction(1, 1_000_000), Fraction(1, 16_000)]
)
def test_any_time_base_is_exact_in_mp4(tmp_path: Path, base: Fraction) -> None:
    info, settings = clip_info("yuv420p", height=64, width=96, time_base=base), EncodeSettings("h264", "mp4", "yuv420p")
    pts = [7, 8, 11, 12, 100, 101, 200, 201]
    parts = write_segments(
        slope("yuv420p", frames=8, height=64, width=96), info, settings, tmp_path, cuts=[0, 4], times=(pts, [1] * 8)
    )
    join(parts, None, NOTHING, info, settings, tmp_path / "out.mp4")
    got = [(each.pts or 0) * (each.time_base or 0) for each in decoded(tmp_path / "out.mp4")]
    assert got == [(each - 7) * base for each in pts]
