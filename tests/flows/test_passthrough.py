"""Passthrough: decoded, kept as frames and written losslessly, a clip comes out as it went in."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest

from flows.order import VideoOrder
from flows.summary import RunSummary
from flows.video import video
from tasks.prefect_stage import value_of
from tests.flows.clip_facts import Facts, Track, facts_of
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
    notices: tuple[str, ...]

    @property
    def start(self) -> Fraction:
        """What becomes zero: the first picture or sound, rounded down to a tick of the pictures."""
        sounds = [track.times[0] for track in self.source.tracks if track.kind == "audio" and track.times]
        return min([self.source.times[0], *sounds])

    def late(self, before: list[Fraction], after: list[Fraction]) -> Fraction:
        """By how much a time is off at most."""
        shifts = [b - (a - self.start) for a, b in zip(before, after, strict=True)]
        return max(map(abs, shifts), default=Fraction(0))


def compare(clips: list[Path], out: Path, decoders: dict[str, str] | None = None) -> Iterator[Row]:
    summary = passthrough(clips, out)
    for clip, item in zip(clips, summary.items, strict=True):
        if item.status != "delivered":
            print("FAILED", clip.name, item.reasons)
            continue
        assert item.status == "delivered", item.reasons
        (delivered,) = item.outputs
        source = facts_of(clip, None, (decoders or {}).get(clip.name))
        result = facts_of(delivered.path, source.pixel_format)
        yield Row(clip.name, source, result, tuple(reason.code for reason in item.reasons))


@pytest.mark.slow
def test_every_good_clip_comes_out_as_it_went_in(tmp_path: Path) -> None:
    clips = sorted(path for path in fixture("videos").iterdir())
    for row in compare(clips, tmp_path / "out"):
        a, b = row.source, row.result
        print(row.name, a.codec, a.pixel_format, b.pixel_format, a.size, len(a.frames), a.frames == b.frames, float(row.late(a.times, b.times)) if len(a.times) == len(b.times) else "LEN",
              [(t.kind, t.codec, len(t.packets), t.packets == u.packets, float(row.late(t.times, u.times)) if len(t.times)==len(u.times) else (len(t.times),len(u.times))) for t, u in zip(a.tracks, b.tracks)], a.matrix, b.matrix, a.aspect, b.aspect, a.colour, b.colour, a.woven, b.woven, float(row.start), row.notices)
