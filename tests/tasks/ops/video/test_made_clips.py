"""Kinds of clips that are rare and easily read wrongly, made here with one property each."""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tasks.ops.video.pixel_formats import kept_format, planes_of
from tasks.ops.video.probing import orientation
from tasks.ops.video.reading import open_clip
from tasks.ops.video.video_errors import ClipError
from tests.tasks.ops.video import clips

MADE = {
    "deep.mp4": ("libx265", "yuv420p10le", {"x265-params": "log-level=none:pools=1:lossless=1"}),
    "whole_colour.mp4": ("libx264", "yuv444p", {"qp": "0"}),
    "rgb.mp4": ("libx264rgb", "gbrp", {}),
    "lossless.mkv": ("ffv1", "yuva444p10le", {"threads": "1"}),
    "grey.mkv": ("ffv1", "gray16le", {"threads": "1"}),
}


@pytest.mark.parametrize("name", sorted(set(MADE) - {"rgb.mp4"}))
def test_lossless_clips_give_back_the_very_values(tmp_path: Path, name: str) -> None:
    codec, pixel_format, options = MADE[name]
    width, height = (61, 47) if codec == "ffv1" else (64, 48)  # odd sizes, where the encoder takes them
    pictures = clips.moving(9, width=width, height=height, pixel_format=pixel_format)
    path = clips.write(tmp_path / name, pictures, codec, options=options)
    with open_clip(path, threads=2) as clip:
        frames = list(clip.frames())
        assert clip.info.pixel_format == pixel_format
        assert clip.damage() == ()
    assert len(frames) == 9
    for ours, given in zip(frames, pictures, strict=True):
        assert all(np.array_equal(ours.planes[plane], samples) for plane, samples in planes_of(given).items())


def test_alpha_of_webm_is_kept(tmp_path: Path) -> None:
    path = clips.write(
        tmp_path / "alpha.webm", clips.moving(6, pixel_format="yuva420p"), "libvpx-vp9",
        options={"crf": "10", "auto-alt-ref": "0"}, tags={"alpha_mode": "1"},
    )  # fmt: skip
    with open_clip(path, threads=2) as clip:
        frames = list(clip.frames())
    assert clip.info.pixel_format == "yuva420p"
    assert len(frames) == 6
    assert np.ptp(frames[0].planes["a"]) > 50


def test_alpha_of_prores_is_kept(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "a.mov", clips.moving(3, pixel_format="yuva444p10le"), "prores_ks",
                       options={"profile": "4444", "alpha_bits": "16"})  # fmt: skip
    with open_clip(path) as clip:
        frame = next(clip.frames())
    assert clip.info.planar is not None
    assert clip.info.planar.alpha
    assert np.ptp(frame.planes["a"].astype(int)) > 1 << clip.info.planar.depth - 3


def test_irregular_time_stamps_and_a_late_start_are_kept(tmp_path: Path) -> None:
    pts = [0, 7, 9, 40, 41, 120]
    path = clips.write(tmp_path / "vfr.mkv", clips.moving(6), pts=pts, time_base=Fraction(1, 1000))
    with open_clip(path) as clip:
        assert [frame.pts for frame in clip.frames()] == pts
        assert clip.info.time_base == Fraction(1, 1000)
    source = clips.write(tmp_path / "vfr.mp4", clips.moving(6), pts=pts, time_base=Fraction(1, 1000))
    later = clips.remuxed(source, tmp_path / "late.mkv", offset_s=5)
    with open_clip(later) as clip:
        assert [frame.pts for frame in clip.frames()] == [5000 + each for each in pts]
        assert [frame.pts for frame in clip.frames(3, after=5009)] == [5040, 5041, 5120]


def test_the_default_stream_is_the_clip(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "one.mp4", clips.moving(4))
    for default in (0, 1):
        both = clips.remuxed(path, tmp_path / f"two{default}.mkv", copies=2, default=default)
        with open_clip(both) as clip:
            assert len(list(clip.frames())) == 4
            assert [each.index for each in clip.scan().streams] == [1 - default]


def test_a_cover_picture_is_not_the_clip(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "one.mp4", clips.moving(4))
    with_cover = clips.remuxed(path, tmp_path / "cover.mp4", cover=True)
    with open_clip(with_cover) as clip:
        assert (clip.info.width, clip.info.codec, len(list(clip.frames()))) == (64, "h264", 4)
        assert [each.disposition for each in clip.scan().streams] == [("attached_pic",)]


def test_a_webp_animation_gives_its_pixels_and_delays(tmp_path: Path) -> None:
    path = clips.animated_webp(tmp_path / "a.webp", [10, 500, 30, 70, 40, 200])
    with open_clip(path) as clip:
        frames = list(clip.frames())
        assert [frame.pts for frame in frames] == [0, 10, 510, 540, 610, 650]
        assert frames[5].duration == 200
        assert clip.info.average_rate == Fraction(6000, 850)
    assert [int(frames[4].planes[plane][0, 0]) for plane in "gbra"] == [10, 200, 160, 255]
    assert int(frames[0].planes["a"][0, 0]) == 128


def test_a_gif_gives_its_pixels_and_delays(tmp_path: Path) -> None:
    path = clips.animated_gif(tmp_path / "a.gif", [10, 500, 30, 70, 40, 200])
    with open_clip(path) as clip:
        frames = list(clip.frames())
        assert [frame.pts for frame in frames] == [0, 1, 51, 54, 61, 65]
    assert [int(frames[4].planes[plane][0, 0]) for plane in "gbra"] == [10, 200, 160, 255]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP"])
def test_a_still_picture_is_no_clip(kind: str) -> None:
    data = io.BytesIO()
    Image.new("RGB", (20, 10), (200, 10, 10)).save(data, kind)
    with pytest.raises(ClipError) as error, open_clip(data):
        pass
    assert error.value.code == "still_picture"


PACKED = [
    "nv12", "nv21", "nv16", "nv24", "p010le", "p016le", "yuyv422", "uyvy422", "rgb24", "bgr24", "rgba", "bgra", "argb",
    "abgr", "0rgb", "bgr0", "rgb48le", "rgba64le", "rgb48be", "yuv420p10be", "ya8", "gray16be", "gbrp10be", "monob",
    "monow",
]  # fmt: skip


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("size", [(16, 8), (38, 22)])
def test_packed_pixels_are_taken_apart_without_a_change(name: str, size: tuple[int, int]) -> None:
    """Against FFmpeg's own conversion, which is exact for values that only change their place."""
    width, height = size
    source = "gbrap16le" if name.startswith(("rgb48", "rgba64", "gray16")) else kept_format(name)
    assert source is not None
    made = clips.moving(1, width=width, height=height, pixel_format=source)[0].reformat(format=name, threads=1)
    expected = made.reformat(format=kept_format(name), threads=1)
    ours = planes_of(made)
    theirs = planes_of(expected)
    assert list(ours) == list(theirs)
    for plane, samples in ours.items():
        assert np.array_equal(samples, theirs[plane]), plane


@pytest.mark.parametrize("clockwise", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_turning_and_mirroring_by_the_display_matrix(tmp_path: Path, clockwise: int, mirrored: bool) -> None:
    """The matrix is built by moving the corners of a picture, y downwards: mirrored first, then turned clockwise."""
    path = clips.write(tmp_path / "straight.mp4", clips.moving(1))
    turn = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[clockwise]
    a, b, c, d = (value << 16 for value in turn)
    if mirrored:
        a, b = -a, -b
    with av.open(str(path)) as given, av.open(str(tmp_path / "turned.mp4"), "w") as output:
        stream = output.add_stream_from_template(given.streams.video[0])
        stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    (frame,) = clips.plain_decode(tmp_path / "turned.mp4")
    assert orientation(frame) == (clockwise, mirrored)
    with open_clip(tmp_path / "turned.mp4") as clip:
        assert (clip.info.rotation, clip.info.mirrored) == (clockwise, mirrored)


def test_key_frames_that_refresh_slowly_are_no_points_to_resume_from(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "refresh.mkv", clips.moving(40), options={"x264-params": "intra-refresh=1:keyint=8"})
    with open_clip(path, threads=1) as clip:
        whole = list(clip.frames())
        assert list(clip.scan().sync_pts) == [whole[0].pts]
        for start in (9, 20, 33):
            resumed = list(clip.frames(start, after=whole[start - 1].pts))
            assert [frame.pts for frame in resumed] == [frame.pts for frame in whole[start:]]
            assert all(
                np.array_equal(a.planes["y"], b.planes["y"]) for a, b in zip(resumed, whole[start:], strict=True)
            )
