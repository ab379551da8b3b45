"""Segments read back: their packets in decoding order, with the time stamps of the whole clip."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
from av.error import FFmpegError

from datasets.errors import PermanentError
from tasks.ops.video.encoding import TIMES_TAG


class SegmentMismatchError(PermanentError):
    """Segments that cannot be joined without coding again."""

    code = "segment_mismatch"


@dataclass(frozen=True)
class Segment:
    """A segment's file and the time stamps in its tag.

    Attributes:
        path: The file.
        time_base: Seconds per tick.
        pts: One per frame, in order of presentation.
        durations: One per frame.
        identity: What must be equal for segments to be joined: codec, size, format, headers.
    """

    path: Path
    time_base: Fraction
    pts: tuple[int, ...]
    durations: tuple[int, ...]
    identity: tuple[object, ...]


@dataclass(frozen=True)
class Timing:
    """Time stamps of one packet."""

    pts: int
    dts: int
    duration: int


def read_segment(path: Path) -> Segment:
    """What a segment's header says.

    Raises:
        SegmentMismatchError: The file is none of ``encode_segment``.
    """
    try:
        with av.open(str(path), "r", format="matroska") as container:
            tags = {name.upper(): value for name, value in container.metadata.items()}
            times = json.loads(tags[TIMES_TAG])
            stream = container.streams.video[0]
            context = stream.codec_context
            identity = (context.name, context.width, context.height, context.pix_fmt, context.extradata)
    except (FFmpegError, KeyError, IndexError, ValueError) as error:
        raise SegmentMismatchError(
            f"{path.name} is not a segment: {error!r}; encode it again", path=path.name
        ) from error
    return Segment(path, Fraction(times["time_base"]), tuple(times["pts"]), tuple(times["durations"]), identity)


def read_segments(paths: Sequence[Path]) -> list[Segment]:
    """The segments of a clip in order.

    Raises:
        SegmentMismatchError: There is none, their headers differ, or their time stamps do not rise.
    """
    if not paths:
        raise SegmentMismatchError("expected at least one segment, got none; encode the clip first")
    found = [read_segment(path) for path in paths]
    for before, after in pairwise(found):
        if (before.identity, before.time_base) != (after.identity, after.time_base):
            raise SegmentMismatchError(
                f"{before.path.name} and {after.path.name} differ in codec, size, format or headers; encode all "
                "segments with one recipe",
                first=before.path.name,
                second=after.path.name,
            )
        if after.pts[0] <= before.pts[-1]:
            raise SegmentMismatchError(
                f"{after.path.name} starts at {after.pts[0]}, not after {before.pts[-1]}; give segments in order",
                first=before.path.name,
                second=after.path.name,
            )
    return found


def packets_of(segment: Segment) -> Iterator[tuple[int, "av.Packet[av.VideoStream]"]]:
    """(place in presentation, packet) in decoding order.

    Raises:
        SegmentMismatchError: The file holds other frames than its tag says.
    """
    with av.open(str(segment.path), "r", format="matroska") as container:
        stream = container.streams.video[0]
        seen = 0
        for packet in container.demux(stream):
            if packet.size == 0:
                continue
            if packet.pts is None or not 0 <= packet.pts < len(segment.pts):
                raise SegmentMismatchError(f"{segment.path.name} holds a packet at {packet.pts}", pts=packet.pts)
            seen += 1
            yield packet.pts, packet
    if seen != len(segment.pts):
        raise SegmentMismatchError(
            f"{segment.path.name} holds {seen} of {len(segment.pts)} packets; encode it again", path=segment.path.name
        )


def reorder_delay(segments: Sequence[Segment]) -> tuple[int, int]:
    """(by how many packets at most decoding runs ahead of presentation, duration of the frame decoded last)."""
    delay = rank = 0
    for segment in segments:
        for place, (rank, _) in enumerate(packets_of(segment)):
            delay = max(delay, place - rank)
    return delay, segments[-1].durations[rank]


def timings(segments: Sequence[Segment]) -> Iterator[tuple[Timing, "av.Packet[av.VideoStream]"]]:
    """Every packet of the clip in decoding order, with its time stamps.

    With D the delay of reordering, a packet's decoding time is the presentation time that lies D places before its
    own place: never later than its presentation, and rising over the joints of segments, whatever the frames'
    durations are. The first D lie before the clip, by so much that decoding takes as long as presentation: MP4 writes
    the length of a track as the sum of its decoding steps and the duration of the frame decoded last.
    """
    delay, final = reorder_delay(segments)
    times = [time for each in segments for time in each.pts]
    end = times[-1] + segments[-1].durations[-1]
    ahead = max(delay, end - times[-1 - delay] - final)
    decoding = [times[0] - ahead + ahead * place // max(1, delay) for place in range(delay)] + times
    first = place = 0
    for segment in segments:
        for rank, packet in packets_of(segment):
            yield Timing(times[first + rank], decoding[place], segment.durations[rank]), packet
            place += 1
        first += len(segment.pts)
