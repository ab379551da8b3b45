"""Sound, subtitles, chapters and names go along: byte for byte where they can, in time in any case."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tasks.ops.video.carrying import CarryPlan, plan_carry
from tasks.ops.video.codecs import ContainerName
from tasks.ops.video.encoder_options import EncodeSettings
from tasks.ops.video.joining import join
from tasks.ops.video.sound import tempo_steps
from tests.shared_data import fixture
from tests.tasks.ops.video.sound_clips import (
    beep_s,
    clip_info,
    decoded,
    flash_s,
    packets,
    samples,
    write_beep,
    write_segments,
)


def deliver(source: Path, container: ContainerName, folder: Path, *, stretch: Fraction = Fraction(1)) -> Path:
    """The source's pictures coded again, everything else carried over."""
    codec = {"mp4": "h264", "mov": "h264", "mkv": "h264", "webm": "vp9"}[container]
    frames = decoded(source)
    with av.open(str(source)) as opened:
        base = opened.streams.video[0].time_base or Fraction(1)
    pts = [round((each.pts or 0) * stretch * 4) for each in frames]
    durations = [b - a for a, b in zip(pts, [*pts[1:], 2 * pts[-1] - pts[-2]], strict=True)]
    form = frames[0].format.name
    layers = [samples(each) for each in frames]
    planes = {name: np.stack([each[place] for each in layers]) for place, name in enumerate("yuv")}
    info = clip_info(form, height=frames[0].height, width=frames[0].width, time_base=base / 4)
    speed = "ultrafast" if codec == "h264" else "8"
    settings = EncodeSettings(codec, container, form, quality=40, preset=speed)
    parts = write_segments(planes, info, settings, folder, cuts=[0, len(frames) // 2], times=(pts, durations))
    out = folder / f"out.{container}"
    join(parts, source, plan_carry(source, container, stretch=stretch), info, settings, out)
    return out


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_sound_and_times_of_a_variable_frame_rate_are_carried_exactly(tmp_path: Path, container: ContainerName) -> None:
    source = fixture("videos/d_vfr_audio.mp4")
    out = deliver(source, container, tmp_path)
    before, after = packets(source, "audio"), packets(out, "audio")
    assert [data for _, data in after] == [data for _, data in before]
    tick = Fraction(0) if container == "mp4" else Fraction(1, 2000)
    assert max(abs(a[0] - b[0]) for a, b in zip(before, after, strict=True)) <= tick
    pictures = [sorted(time for time, _ in packets(each, "video")) for each in (source, out)]
    assert max(abs(a - b) for a, b in zip(*pictures, strict=True)) <= tick


@pytest.mark.parametrize(
    ("name", "container"),
    [
        ("rabbit320.mp4", "mp4"),
        ("exo_sample.mp4", "mov"),
        ("exo_sample.flv", "mp4"),
        ("big_buck_bunny_432_433.webm", "webm"),
    ],
)
def test_sound_of_other_files_is_carried_byte_for_byte(tmp_path: Path, name: str, container: ContainerName) -> None:
    source = fixture(f"videos/{name}")
    out = deliver(source, container, tmp_path)
    before, after = packets(source, "audio"), packets(out, "audio")
    assert [data for _, data in after] == [data for _, data in before]
    offsets = [packets(each, "audio")[0][0] - min(time for time, _ in packets(each, "video")) for each in (source, out)]
    assert abs(offsets[0] - offsets[1]) <= Fraction(1, 1000)


@pytest.mark.parametrize(
    ("made", "codec", "late_s"),
    [("mp4", "aac", 0.0), ("mp4", "aac", 0.7), ("mpegts", "aac", 0.3), ("mov", "pcm_s16le", 0.25)],
)
@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "webm"])
def test_a_beep_stays_with_its_flash(
    tmp_path: Path, made: str, codec: str, late_s: float, container: ContainerName
) -> None:
    source = write_beep(tmp_path / "source", made, codec, late_s=late_s)
    out = deliver(source, container, tmp_path)
    assert beep_s(out)[0] - flash_s(out) == pytest.approx(beep_s(source)[0] - flash_s(source), abs=0.002)


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv", "webm"])
def test_sound_before_the_first_picture_is_kept(tmp_path: Path, container: ContainerName) -> None:
    source = write_beep(tmp_path / "source", "matroska", "flac", late_frames=60)
    out = deliver(source, container, tmp_path)
    assert beep_s(out)[0] == pytest.approx(2.0, abs=0.025)  # AAC may start with one frame of filling
    assert flash_s(out) - beep_s(out)[0] == pytest.approx(60 / 25, abs=0.002)


@pytest.mark.parametrize("stretch", [Fraction(5, 2), Fraction(4), Fraction(2), Fraction(1, 3)])
@pytest.mark.parametrize("container", ["mp4", "webm"])
def test_stretched_sound_stays_with_its_flash_and_lasts_as_long(
    tmp_path: Path, stretch: Fraction, container: ContainerName
) -> None:
    source = write_beep(tmp_path / "source", "mov", "pcm_s16le", late_s=0.25)
    out = deliver(source, container, tmp_path, stretch=stretch)
    heard, count, rate = beep_s(out)
    assert heard == pytest.approx(2 * stretch, abs=0.04)
    assert flash_s(out) == pytest.approx(2 * stretch, abs=0.002)
    expected = round(3.75 * 44_100 * stretch * rate / 44_100)
    filling = 2 * 1024 if container == "mp4" else 0  # AAC codes whole frames; the edit list says where sound ends
    assert 0 <= count - expected <= filling
    assert b"Lavc" not in out.read_bytes()
    again = tmp_path / "again"
    again.mkdir()
    assert deliver(source, container, again, stretch=stretch).read_bytes() == out.read_bytes()


def test_tempo_is_split_into_what_the_filter_takes() -> None:
    assert tempo_steps(Fraction(3)) == [2.0, 1.5]
    assert tempo_steps(Fraction(1, 8)) == [0.5, 0.5, 0.5]
    assert tempo_steps(Fraction(5, 4)) == [1.25]


def test_a_plan_says_what_it_changes(tmp_path: Path) -> None:
    source = write_beep(tmp_path / "source.mov", "mov", "pcm_s16le")
    assert [each.action for each in plan_carry(source, "mov").streams] == ["copy"]
    assert [each.code for each in plan_carry(source, "mp4").notices] == ["sound_transcoded"]
    assert [each.code for each in plan_carry(source, "mov", stretch=Fraction(2)).notices] == ["sound_transcoded"]
    assert plan_carry(source, "mov", keep_sound=False).streams == ()
    assert [each.code for each in plan_carry(source, "mov", keep_sound=False).notices] == ["sound_dropped"]
    assert [each.code for each in plan_carry(source, "gif").notices] == ["sound_dropped"]


def _with_text(path: Path, container: str, codec: str, beep: Path) -> Path:
    """A clip with subtitles at 1 s and 3 s, a second each, and two chapters."""
    with av.open(str(beep)) as given, av.open(str(path), "w", format=container) as out:
        video = out.add_stream_from_template(given.streams.video[0], opaque=True)
        text = out.add_mux_stream(codec, time_base=Fraction(1, 1000))
        text.metadata["language"] = "deu"
        out.metadata.update({"title": "A lamp", "location": "+52.5+013.4/", "artist": "Us"})
        tick = Fraction(1, 1000)
        out.set_chapters(
            [
                {"id": 1, "start": 0, "end": 2000, "time_base": tick, "metadata": {"title": "Dark"}},
                {"id": 2, "start": 2000, "end": 4000, "time_base": tick, "metadata": {"title": "Light"}},
            ]
        )
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream = video
                out.mux(packet)
        for begin, words in ((1000, b"Hello"), (3000, b"World")):
            one: av.Packet[av.stream.Stream] = av.Packet(words)
            one.pts = one.dts = begin
            one.duration, one.time_base, one.stream, one.is_keyframe = 1000, tick, text, True
            out.mux(one)
    return path


@pytest.mark.parametrize(("container", "action"), [("mkv", "copy"), ("mp4", "transcode"), ("webm", "transcode")])
@pytest.mark.parametrize("stretch", [Fraction(1), Fraction(2)])
def test_subtitles_chapters_and_names_go_along_but_no_place(
    tmp_path: Path, container: ContainerName, action: str, stretch: Fraction
) -> None:
    beep = write_beep(tmp_path / "beep.mp4", "mp4", "aac")
    source = _with_text(tmp_path / "source.mkv", "matroska", "subrip", beep)
    plan = plan_carry(source, container, stretch=stretch)
    assert [(each.kind, each.action) for each in plan.streams] == [("subtitle", action)]
    out = deliver(source, container, tmp_path, stretch=stretch)
    with av.open(str(out)) as opened:
        names = {name.lower(): value for name, value in opened.metadata.items()}
        assert (names["title"], names["artist"]) == ("A lamp", "Us")
        assert b"+52.5" not in out.read_bytes()
        chapters = opened.chapters()
        spans = [(each["start"] * (each["time_base"] or 0), each["metadata"]["title"]) for each in chapters]
        assert spans == [(0, "Dark"), (2 * stretch, "Light")]
        assert opened.streams.subtitles[0].language == "deu"
    heard = [(time, data) for time, data in packets(out, "subtitle") if b"Hello" in data or b"World" in data]
    assert [time for time, _ in heard] == [stretch, 3 * stretch]


def test_nothing_is_carried_without_a_source(tmp_path: Path) -> None:
    beep = write_beep(tmp_path / "beep.mp4", "mp4", "aac")
    frames = decoded(beep)[:2]
    planes = {name: np.stack([samples(each)[place] for each in frames]) for place, name in enumerate("yuv")}
    info, settings = clip_info("yuv420p", height=64, width=64), EncodeSettings("h264", "mp4", "yuv420p")
    parts = write_segments(planes, info, settings, tmp_path, cuts=[0])
    join(parts, None, CarryPlan(), info, settings, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as opened:
        assert [each.type for each in opened.streams] == ["video"]
