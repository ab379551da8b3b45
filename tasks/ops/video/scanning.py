"""What a container says about its streams, and what a pass over the packets shows without decoding one."""

from array import array
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, cast

import av
import av.container
from av.error import EOFError as EndOfFileError
from av.error import FFmpegError
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from tasks.ops.video.sync_points import SyncPoints

_NEVER_THE_PICTURE = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
_SAFE = ("title", "language")  # never what may tell a place, a device or a person


@dataclass(frozen=True)
class CarriedStream:
    """A stream besides the chosen one.

    Attributes:
        kind: ``video``, ``audio``, ``subtitle``, ``attachment`` or ``data``.
        codec: FFmpeg's name; empty where FFmpeg does not know it.
        disposition: FFmpeg's names: ``default``, ``forced``, ``attached_pic``, ...
        start: In ticks of the time base; None if the container does not say.
    """

    index: int
    kind: str
    codec: str
    language: str | None
    title: str | None
    disposition: tuple[str, ...]
    start: int | None
    time_base: Fraction | None


@dataclass(frozen=True)
class Chapter:
    """A chapter in seconds from the start of the file's clock."""

    start: Fraction
    end: Fraction
    title: str = ""


@dataclass(frozen=True)
class Scan:
    """A pass over the packets.

    Attributes:
        packets: Of the chosen stream that are to be shown: an upper bound of its frames.
        hidden: Packets besides those that a decoder keeps to itself (references only, cut off by an edit list).
        pts: Their time stamps in ticks, sorted.
        sync_pts: Those of packets from which decoding is proven to give the same pictures as from the start.
        without_pts: Packets that have no time stamp.
        repeated_pts: Packets whose time stamp another one has, too.
        jumps_back: How often the clock goes back from one packet to the next.
        last_duration: Ticks that the last frame lasts; 0 if the container does not say.
        end_s: Where the last packet of any stream ends, in seconds.
        promised_frames: As the container's header says; None if it does not.
        promised_s: Seconds of the chosen stream by the header.
        promised_clip_s: Seconds of the whole file by the header.
        corrupt_packets: Of the chosen stream that the demuxer flags: cut off or damaged.
        broken: FFmpeg's word where reading stopped before the end; empty if it did not.
        streams: The others.
        title: Of the clip.
        language: Of the chosen stream.
    """

    packets: int
    hidden: int
    pts: "array[int]"
    sync_pts: "array[int]"
    without_pts: int
    repeated_pts: int
    jumps_back: int
    last_duration: int
    end_s: Fraction
    promised_frames: int | None
    promised_s: Fraction | None
    promised_clip_s: Fraction | None
    corrupt_packets: int
    broken: str
    streams: tuple[CarriedStream, ...] = ()
    chapters: tuple[Chapter, ...] = ()
    title: str = ""
    language: str = ""

    @property
    def exact_stamps(self) -> bool:
        """Whether time stamps alone tell the frames apart."""
        return not (self.without_pts or self.repeated_pts or self.jumps_back)

    def sync_before(self, pts: int) -> int | None:
        """The last proven point to decode from for the frame that follows ``pts``; None if there is none."""
        at = bisect_right(self.pts, pts)
        if at == len(self.pts):
            return None
        found = bisect_right(self.sync_pts, self.pts[at])
        return self.sync_pts[found - 1] if found else None


@dataclass
class _Count:
    """What the pass adds up."""

    packets: int = 0
    hidden: int = 0
    pts: "array[int]" = field(default_factory=lambda: array("q"))
    sync: "array[int]" = field(default_factory=lambda: array("q"))
    without_pts: int = 0
    jumps_back: int = 0
    last_dts: int | None = None
    last: tuple[int, int] = (-(1 << 62), 0)
    end_s: Fraction = Fraction(0)
    corrupt: int = 0
    broken: str = ""


def chosen_stream(container: av.container.InputContainer) -> VideoStream | None:
    """The picture that players show: the first that is marked as default, else the first; never a cover."""
    found = [stream for stream in container.streams.video if not stream.disposition & _NEVER_THE_PICTURE]
    preferred = [stream for stream in found if stream.disposition & Disposition.default]
    return next(iter(preferred or found), None)


def scan_packets(container: av.container.InputContainer, stream: VideoStream) -> Scan:
    """Read a freshly opened container to its end without decoding."""
    count = _Count()
    points = SyncPoints.of(stream)
    ends: dict[int, tuple[int, Fraction]] = {}
    try:
        for packet in container.demux():
            if packet.size:
                _note_end(ends, packet)
            if packet.size and packet.stream_index == stream.index:
                _note(count, packet, points)
    except EndOfFileError:
        pass
    except FFmpegError as error:
        count.broken = error.strerror or type(error).__name__
    count.end_s = max((ticks * base for ticks, base in ends.values()), default=Fraction(0))
    return _result(container, stream, count)


def _note_end(ends: dict[int, tuple[int, Fraction]], packet: "av.Packet[Any]") -> None:
    stamp = packet.pts if packet.pts is not None else packet.dts
    if stamp is None:
        return
    end = stamp + (packet.duration or 0)
    if packet.stream_index not in ends or end > ends[packet.stream_index][0]:
        ends[packet.stream_index] = (end, packet.time_base)


def _note(count: _Count, packet: "av.Packet[Any]", points: SyncPoints) -> None:
    if packet.is_corrupt:
        count.corrupt += 1
    if packet.is_discard or points.is_hidden(packet):
        count.hidden += 1
        return
    count.packets += 1
    if packet.dts is not None:
        count.jumps_back += count.last_dts is not None and packet.dts < count.last_dts
        count.last_dts = packet.dts
    if packet.pts is None:
        count.without_pts += 1
        return
    count.pts.append(packet.pts)
    count.last = max(count.last, (packet.pts, packet.duration or 0))
    if points.is_sync(packet):
        count.sync.append(packet.pts)


def _result(container: av.container.InputContainer, stream: VideoStream, count: _Count) -> Scan:
    own = _promised_s(stream)
    return Scan(
        packets=count.packets,
        hidden=count.hidden,
        pts=array("q", sorted(count.pts)),
        sync_pts=array("q", sorted(count.sync)),
        without_pts=count.without_pts,
        repeated_pts=len(count.pts) - len(set(count.pts)),
        jumps_back=count.jumps_back,
        last_duration=count.last[1],
        end_s=count.end_s,
        promised_frames=stream.frames or None,
        promised_s=own,
        promised_clip_s=Fraction(container.duration, av.time_base) if container.duration else None,
        corrupt_packets=count.corrupt,
        broken=count.broken,
        streams=tuple(_carried(each) for each in container.streams if each.index != stream.index),
        chapters=tuple(_chapter(cast(Mapping[str, Any], each)) for each in container.chapters()),
        **{name: _safe(container.metadata, stream.metadata, name) for name in _SAFE},
    )


def _promised_s(stream: VideoStream) -> Fraction | None:
    if stream.duration and stream.time_base:
        return stream.duration * stream.time_base
    return _clock(stream.metadata.get("DURATION", ""))


def _clock(text: str) -> Fraction | None:
    """Seconds of ``00:00:05.040000000``, as Matroska files tag their tracks."""
    parts = text.rstrip("\x00 ").split(":")
    if len(parts) != 3:
        return None
    try:
        hours, minutes, seconds = (Fraction(part) for part in parts)
    except ValueError:
        return None
    return (hours * 60 + minutes) * 60 + seconds or None


def _safe(container: Mapping[str, str], stream: Mapping[str, str], name: str) -> str:
    found = stream.get(name, "") if name == "language" else container.get(name, "")
    return "" if found == "und" else found


def _carried(stream: Stream) -> CarriedStream:
    context = stream.codec_context
    return CarriedStream(
        index=stream.index,
        kind=stream.type,
        codec=context.codec.canonical_name if context else "",
        language=stream.language,
        title=stream.metadata.get("title"),
        disposition=tuple(each.name for each in Disposition if each & stream.disposition and each.name),
        start=stream.start_time,
        time_base=stream.time_base,
    )


def _chapter(chapter: Mapping[str, Any]) -> Chapter:
    base = chapter["time_base"] or Fraction(1, av.time_base)
    return Chapter(chapter["start"] * base, chapter["end"] * base, chapter["metadata"].get("title", ""))
