"""Files that mean harm or are broken: each is refused for the right reason, or read with what is wrong said."""

import io
import json
import time
from pathlib import Path

import pytest

from tasks.ops.video.reading import open_clip
from tasks.ops.video.video_errors import ClipError
from tests.shared_data import fixture
from tests.tasks.ops.video import clips

REFUSED = {
    "audio_only.mp4": "no_video_stream",
    "cut_middle_moov_end.mp4": "clip_truncated",
    "moov_missing.mp4": "clip_truncated",
    "playlist.m3u8": "playlist",
    "text_named.mp4": "not_a_clip",
    "zero_frames.mp4": "no_frames",
    "cmyk.jpg": "still_picture",
    "gray.png": "still_picture",
    "script.svg": "still_picture",
    "zip_slip.zip": "not_a_clip",
    "zero.jpg": "not_a_clip",
    "catalogue_bad.csv": "not_a_clip",
    "login_page.jpg": "not_a_clip",
    "names.tar": "not_a_clip",
}
# name: (frames, codes of what is wrong)
DAMAGED = {
    "bitrot_mdat.mp4": (181, ["damaged_frames"]),
    "cut_middle_moov_front.mp4": (
        92, ["undecodable_packets", "damaged_packets", "file_truncated", "frames_missing", "short_stream"],
    ),
    "real_corrupted.mp4": (49, ["damaged_frames", "undecodable_packets", "frames_missing"]),
}  # fmt: skip
ANIMATED = {"animated.gif": [0, 10, 14, 34, 44, 47], "animated.webp": [0, 100, 200, 300, 400, 500]}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_no_clip_is_refused_for_the_right_reason(name: str) -> None:
    path = fixture(f"hostile/{name}")
    for file in (path, io.BytesIO(path.read_bytes())):
        started = time.monotonic()
        with pytest.raises(ClipError) as error, open_clip(file, name):
            pass
        assert time.monotonic() - started < 5
        assert error.value.code == REFUSED[name]
        assert set(error.value.facts) >= {"expected", "came", "remedy"}
        assert name in error.value.message
        json.dumps(error.value.facts)


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("name", sorted(DAMAGED))
def test_what_is_damaged_says_so_whatever_the_threads(name: str, threads: int) -> None:
    with open_clip(fixture(f"hostile/{name}"), threads=threads) as clip:
        frames = list(clip.frames())
        facts = clip.damage()
    with open_clip(fixture(f"hostile/{name}"), threads=1) as alone:
        reference = list(alone.frames())
        assert alone.damage() == facts
    assert (len(frames), [fact.code for fact in facts]) == DAMAGED[name]
    assert [frame.pts for frame in frames] == [frame.pts for frame in reference]
    assert all(
        (one.planes[plane] == other.planes[plane]).all()
        for one, other in zip(frames, reference, strict=True)
        for plane in one.planes
    )
    json.dumps([fact.facts for fact in facts])


def test_damaged_frames_are_flagged_one_by_one() -> None:
    with open_clip(fixture("hostile/bitrot_mdat.mp4")) as clip:
        flagged = [index for index, frame in enumerate(clip.frames()) if frame.corrupt]
        (fact,) = clip.damage()
    assert len(flagged) == fact.facts["count"] == 27
    assert flagged[:20] == fact.facts["first"]


def test_a_cut_clip_says_how_much_is_missing() -> None:
    with open_clip(fixture("hostile/cut_middle_moov_front.mp4")) as clip:
        assert len(list(clip.frames())) == 92
        facts = {fact.code: fact.facts for fact in clip.damage()}
    assert facts["frames_missing"] == {"promised": 181, "decoded": 92}
    assert facts["file_truncated"] == {"bytes": 364224, "promised_bytes": 662227}


@pytest.mark.parametrize("name", sorted(ANIMATED))
def test_animations_keep_their_delays(name: str) -> None:
    with open_clip(fixture(f"hostile/{name}")) as clip:
        frames = list(clip.frames())
        assert [frame.pts for frame in frames] == ANIMATED[name]
        assert clip.info.pixel_format == "gbrap"
        assert [notice.code for notice in clip.notices] == ["pixels_normalised"]
        assert clip.damage() == ()
        assert [frame.pts for frame in clip.frames(4)] == ANIMATED[name][4:]


@pytest.mark.parametrize("text", ["ffconcat version 1.0\nfile secret.mp4\n", "#EXTM3U\n#EXTINF:1,\nsecret.mp4\n"])
@pytest.mark.parametrize("front", [b"", b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomavc1"])
def test_a_list_of_other_files_opens_none_of_them(tmp_path: Path, text: str, front: bytes) -> None:
    clips.write(tmp_path / "secret.mp4", clips.moving(3))
    path = tmp_path / "clip.mp4"
    path.write_bytes(front + text.encode())
    for file in (path, io.BytesIO(path.read_bytes())):
        with pytest.raises(ClipError), open_clip(file):
            pass


def test_pictures_larger_than_allowed_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "large.mp4", clips.moving(2, width=640, height=480))
    with open_clip(path, max_pixels=640 * 480):
        pass
    with pytest.raises(ClipError) as error, open_clip(path, max_pixels=640 * 480 - 1):
        pass
    assert error.value.code == "clip_too_large"
    assert error.value.facts["width"] == 640


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("name", ["rabbit320.webm", "av1_video.mkv"])
def test_a_cut_matroska_file_says_so(tmp_path: Path, name: str, share: float) -> None:
    path = clips.cut(fixture(f"videos/{name}"), tmp_path / name, share)
    with open_clip(path, threads=2) as clip:
        count = len(list(clip.frames()))
        codes = [fact.code for fact in clip.damage()]
    assert 0 < count < 234
    assert "file_truncated" in codes
    assert "short_stream" in codes


def test_a_cut_transport_stream_of_another_size_in_the_middle_is_refused(tmp_path: Path) -> None:
    small = clips.write(tmp_path / "small.ts", clips.moving(5), container="mpegts")
    large = clips.write(tmp_path / "large.ts", clips.moving(5, width=128, height=96), container="mpegts")
    path = tmp_path / "both.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    with open_clip(path) as clip, pytest.raises(ClipError) as error:
        list(clip.frames())
    assert error.value.code == "clip_changes"
    assert "128×96" in error.value.message


def test_a_clock_that_goes_back_still_gives_increasing_stamps_and_resumes_exactly(tmp_path: Path) -> None:
    part = clips.write(tmp_path / "part.ts", clips.moving(8), container="mpegts").read_bytes()
    path = tmp_path / "twice.ts"
    path.write_bytes(part + part)
    with open_clip(path, threads=2) as clip:
        frames = list(clip.frames())
        stamps = [frame.pts for frame in frames]
        assert stamps == sorted(set(stamps))
        assert len(stamps) == 16
        assert [notice.code for notice in clip.notices] == ["time_stamps_repaired"]
        assert [frame.pts for frame in clip.frames(10, after=stamps[9])] == stamps[10:]


@pytest.mark.parametrize("codec", ["mjpeg", "libx265"])
def test_damage_that_the_decoder_keeps_to_itself_is_noticed(tmp_path: Path, codec: str) -> None:
    """Bytes of pictures are overwritten; their decoders repair that without a flag."""
    options = {"x265-params": "log-level=none:pools=1:hash=1"} if codec == "libx265" else {}  # pictures carry an MD5
    pictures = clips.moving(12, width=160, height=120, pixel_format="yuvj420p" if codec == "mjpeg" else "yuv420p")
    path = clips.write(tmp_path / "clip.mkv", pictures, codec, options=options)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = b"\xff\x00" * 100
    path.write_bytes(data)
    found = []
    for threads in (1, 3):
        with open_clip(path, threads=threads) as clip:
            found.append(([frame.corrupt for frame in clip.frames()], clip.damage()))
    assert found[0] == found[1]
    assert found[0][1]
