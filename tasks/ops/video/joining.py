"""Segments, sound and subtitles into the delivered file, without coding pictures again."""

import heapq
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.stream import Stream

from datasets.notices import Notice
from tasks.ops.video.carrying import Carried, CarryPlan, copied_packets, open_source
from tasks.ops.video.clip import ClipInfo
from tasks.ops.video.codecs import FFMPEG_CONTAINERS, output_codec
from tasks.ops.video.encoder_options import EncodeSettings
from tasks.ops.video.encoding import EncodeError
from tasks.ops.video.segments import Segment, read_segments, timings

if TYPE_CHECKING:
    from av.container.core import Chapter  # only in its stubs

_INTERLEAVE_US = 1_000_000  # the muxer holds at most this much time back; packets come to it in order already
_CHAPTER_TICK = Fraction(1, 1000)
_Timed = tuple[Fraction, int, "av.Packet[Stream]"]


def join(
    segments: Sequence[Path],
    source: Path | None,
    plan: CarryPlan,
    info: ClipInfo,
    settings: EncodeSettings,
    out: Path,
) -> tuple[Notice, ...]:
    """Write the delivered file: the segments' packets one after the other, and what the plan carries over.

    FFmpeg options: ``fflags=+bitexact`` (no encoder name, no clock, no random identifiers), ``movflags=+faststart``
    for MP4 and MOV (the index comes first, so that playback starts before the whole file is there). HEVC in MP4 gets
    the tag ``hvc1``, without which Apple's players show nothing. A track's time base is the clip's, so time stamps in
    MP4 and MOV are exact; Matroska and WebM count milliseconds. Sound and pictures keep the source's offset: if
    anything starts before zero or everything later, all of it is shifted alike.

    Args:
        segments: Files of ``encode_segment``, in order.
        source: Where carried streams are read; None carries nothing.
        plan: What is carried; see ``plan_carry``.
        info: Time base, and rotation if players are to turn the picture.
        settings: The recipe's.
        out: The file to write.

    Returns:
        What was lost by the container; empty for most.

    Raises:
        SegmentMismatchError: The segments cannot be joined.
        EncodeError: The container refused a stream.
    """
    parts = read_segments(segments)
    name = FFMPEG_CONTAINERS[settings.container]
    options = {"fflags": "+bitexact", "max_interleave_delta": str(_INTERLEAVE_US)}
    if settings.container in ("mp4", "mov"):
        options["movflags"] = "+faststart"
    try:
        with av.open(str(out), "w", format=name, container_options=options) as container:
            _fill(container, parts, source, plan, info, settings)
    except (FFmpegError, ValueError) as error:
        raise EncodeError(
            f"{settings.container} refused the clip: {error}; choose another container", container=settings.container
        ) from error
    return _lost(info, settings)


def _lost(info: ClipInfo, settings: EncodeSettings) -> tuple[Notice, ...]:
    """H.264 and HEVC carry the shape of a pixel themselves; for others FFmpeg's Matroska muxer is not told of it."""
    if info.sample_aspect == 1 or settings.container in ("mp4", "mov") or settings.codec in ("h264", "hevc"):
        return ()
    message = f"Pixels of shape {info.sample_aspect} are shown square: {settings.codec} in {settings.container}."
    return (Notice("sample_aspect_dropped", message, {"sample_aspect": str(info.sample_aspect)}),)


def _fill(
    container: OutputContainer,
    parts: Sequence[Segment],
    source: Path | None,
    plan: CarryPlan,
    info: ClipInfo,
    settings: EncodeSettings,
) -> None:
    container.metadata.update(plan.metadata)
    with av.open(str(parts[0].path), "r", format="matroska") as first:
        video = _video_stream(container, first, info, settings, parts[0].time_base)
        start = _start(parts, source, plan)
        container.set_chapters(_chapters(plan, start))
        sources = [_video_packets(parts, video, start)]
        for carried in plan.streams if source else ():
            assert source is not None
            sources.append(_carried_packets(container, source, carried, plan, start))
        for _, _, packet in heapq.merge(*sources, key=lambda each: each[:2]):
            container.mux(packet)


def _video_stream(
    container: OutputContainer,
    first: InputContainer,
    info: ClipInfo,
    settings: EncodeSettings,
    time_base: Fraction,
) -> av.VideoStream:
    stream = container.add_stream_from_template(first.streams.video[0], opaque=True)
    stream.time_base = time_base
    if output_codec(settings.codec).name == "hevc" and settings.container in ("mp4", "mov"):
        stream.codec_context.codec_tag = "hvc1"
    if settings.codec == "vp9" and settings.pixel_format.startswith("yuva"):
        stream.metadata["alpha_mode"] = "1"
    if info.mirrored or info.rotation:
        # FFmpeg turns first and mirrors then, counter-clockwise; a clip is mirrored first and turned clockwise then.
        stream.set_display_rotation(info.rotation if info.mirrored else -info.rotation, hflip=info.mirrored)
    return stream


def _start(parts: Sequence[Segment], source: Path | None, plan: CarryPlan) -> Fraction:
    """The time in the clip that becomes zero: where its first picture or sound is, on a tick of the pictures."""
    tick = parts[0].time_base
    starts = [parts[0].pts[0] * tick]
    if source is not None and plan.streams:
        with open_source(source, plan.demuxer) as opened:
            for each in plan.streams:
                stream = opened.streams[each.index]
                if each.kind == "audio" and stream.start_time is not None and stream.time_base is not None:
                    starts.append(stream.start_time * stream.time_base * plan.stretch)
    return (min(starts) // tick) * tick


def _chapters(plan: CarryPlan, start: Fraction) -> list["Chapter"]:
    found: list[Chapter] = []
    for number, each in enumerate(plan.chapters):
        begin, end = (round((time * plan.stretch - start) / _CHAPTER_TICK) for time in (each.start, each.end))
        if end > 0:
            titles = {"title": each.title} if each.title else {}
            found.append(
                {"id": number, "start": max(0, begin), "end": end, "time_base": _CHAPTER_TICK, "metadata": titles}
            )
    return found


def _video_packets(parts: Sequence[Segment], stream: av.VideoStream, start: Fraction) -> Iterator[_Timed]:
    tick = parts[0].time_base
    offset = int(start / tick)
    for timing, packet in timings(parts):
        packet.stream = stream
        packet.time_base = tick
        packet.pts, packet.dts, packet.duration = timing.pts - offset, timing.dts - offset, timing.duration
        yield packet.dts * tick, 0, packet


def _carried_packets(
    container: OutputContainer, source: Path, carried: Carried, plan: CarryPlan, start: Fraction
) -> Iterator[_Timed]:
    with open_source(source, plan.demuxer) as opened:
        template = opened.streams[carried.index]
        stream = container.add_stream_from_template(template, opaque=True)
        tick = template.time_base or Fraction(1)
        stream.time_base = tick
        stream.disposition = template.disposition
        if language := template.metadata.get("language"):
            stream.metadata["language"] = language
    return _copied(source, carried, stream, plan, start)


def _copied(source: Path, carried: Carried, stream: Stream, plan: CarryPlan, start: Fraction) -> Iterator[_Timed]:
    for packet in copied_packets(source, plan.demuxer, carried.index):
        tick = packet.time_base
        offset = round(start / tick)
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is None:
            continue
        packet.pts = None if packet.pts is None else round(packet.pts * plan.stretch) - offset
        packet.dts = round(stamp * plan.stretch) - offset
        packet.stream = stream
        yield packet.dts * tick, stream.index, packet
