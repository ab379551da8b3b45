"""Passthrough: decoded, kept as frames and written losslessly, a clip comes out as it went in."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest

from flows.summary import RunSummary
from flows.video import video
from flows.video_order import VideoOrder
from tasks.ops.video.reading import open_clip
from tasks.prefect_stage import value_of
from tests.flows.clip_facts import Facts, facts_of
from tests.flows.made_clips import COUNT, made_clips
from tests.shared_data import fixture

pytestmark = pytest.mark.usefixtures("prefect_api")

TICK = Fraction(1, 1000)  # Matroska counts milliseconds


def passthrough(clips: list[Path], out: Path) -> RunSummary:
    order = VideoOrder(clips=tuple(map(str, clips)), recipe="passthrough", out=str(out))
    summary = value_of(video(order, return_state=True))
    assert isinstance(summary, RunSummary)
    return summary


@dataclass(frozen=True)
class Row:
    """What came of one clip."""

    name: str
    source: Facts
    result: Facts
    path: Path
    notices: tuple[str, ...]

    @property
    def start(self) -> Fraction:
        """What becomes zero: the first picture or sound; all tracks are shifted alike."""
        sounds = [track.start for track in self.source.tracks if track.kind == "audio"]
        return min([self.source.times[0], *sounds])

    @property
    def errors(self) -> list[Fraction]:
        """By how much each time of a picture or a packet is off."""
        pairs = [(self.source.times, self.result.times)]
        pairs += [(a.times, b.times) for a, b in zip(self.source.tracks, self.result.tracks, strict=True)]
        return [abs(b - (a - self.start)) for before, after in pairs for a, b in zip(before, after, strict=True)]

    def check(self) -> None:
        a, b = self.source, self.result
        assert b.codec == "ffv1"
        assert (a.size, len(a.frames)) == (b.size, len(b.frames)), self.name
        assert a.frames == b.frames, self.name
        # Half a tick where a time is rounded, and where sound begins between two ticks of the pictures one of theirs.
        assert max(self.errors) <= TICK, (self.name, float(max(self.errors)))
        assert [(t.kind, t.codec, t.packets) for t in a.tracks] == [(t.kind, t.codec, t.packets) for t in b.tracks]
        assert [t.language for t in a.tracks] == [t.language for t in b.tracks], self.name
        assert (a.matrix, a.colour, a.woven, a.title) == (b.matrix, b.colour, b.woven, b.title), self.name
        assert a.aspect == b.aspect or "sample_aspect_dropped" in self.notices, self.name

    def line(self) -> str:
        a, b = self.source, self.result
        packets = sum(len(track.packets) for track in a.tracks)
        tags = f"colour {a.colour}, aspect {a.aspect}, matrix {a.matrix or '-'}{', woven' if a.woven else ''}"
        return (
            f"{self.name:28} {a.codec:10} {a.pixel_format:12} {a.size[0]}x{a.size[1]:<5} {len(a.frames):4} "
            f"{'equal' if a.frames == b.frames else 'DIFFER'}  {float(max(self.errors) * 1000):.3f} ms  "
            f"{packets:4} packets  {tags}"
        )


def compare(clips: list[Path], out: Path, decoders: Mapping[str, str] | None = None) -> list[Row]:
    """The rows of clips that must all be delivered; ``decoders`` names the one to be used for a file."""
    rows = []
    for clip, item in zip(clips, passthrough(clips, out).items, strict=True):
        assert item.status == "delivered", (clip.name, item.reasons)
        (delivered,) = item.outputs
        source = facts_of(clip, None, (decoders or {}).get(clip.name))
        result = facts_of(delivered.path, source.pixel_format)
        rows.append(Row(clip.name, source, result, delivered.path, tuple(reason.code for reason in item.reasons)))
        rows[-1].check()
    return rows


@pytest.mark.slow
def test_every_good_clip_comes_out_as_it_went_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = compare(sorted(fixture("videos").iterdir()), tmp_path / "out")
    with capsys.disabled():
        sys.stdout.write("\n".join(["", *(row.line() for row in rows), ""]))
    assert {row.name for row in rows if row.result.matrix} == {"video_90.mov"}
    assert {row.name for row in rows if row.result.woven} == {"d_interlaced_mpeg2.ts"}


def test_transparency_depth_tracks_chapters_and_late_starts_come_out_as_they_went_in(tmp_path: Path) -> None:
    made = made_clips(tmp_path / "in")
    clips = [*made.values(), fixture("hostile/animated.gif")]
    rows = dict(zip([*made, "gif"], compare(clips, tmp_path / "out", {"vp9_alpha.webm": "libvpx-vp9"}), strict=True))
    formats = {name: row.result.pixel_format for name, row in rows.items()}
    assert formats["vp9_alpha"] == "yuva420p"
    assert formats["prores_alpha_10"] == formats["prores_alpha_12"] == "yuva444p12le"  # as FFmpeg decodes both
    assert formats["hevc_10"] == "yuv420p10le"
    assert {len(rows[name].result.frames) for name in made} == {COUNT}
    assert len(rows["gif"].result.frames) == 6
    tracks = rows["tracks"].result
    assert [track.language for track in tracks.tracks] == ["eng", "deu"]
    assert all(len(track.packets) > 10 for track in tracks.tracks)
    assert tracks.chapters == [(0.0, 0.12, "front"), (0.12, 0.24, "back")]
    late = rows["late"]
    assert late.source.times[0] == Fraction(2, 5)  # the sound, at 0.2 s, becomes zero
    assert abs(late.result.times[0] - Fraction(1, 5)) <= TICK
    assert "sample_aspect_dropped" in rows["wide_pixels"].notices


def test_an_animated_webp_keeps_its_pictures_and_delays(tmp_path: Path) -> None:
    source = fixture("hostile/animated.webp")
    (item,) = passthrough([source], tmp_path / "out").items
    with open_clip(source) as clip, open_clip(item.outputs[0].path) as kept:
        before, after = list(clip.frames()), list(kept.frames())
    assert len(before) == len(after) == 6
    for one, other in zip(before, after, strict=True):
        assert one.pts == other.pts
        assert {name: plane.tobytes() for name, plane in one.planes.items()} == {
            name: plane.tobytes() for name, plane in other.planes.items()
        }
