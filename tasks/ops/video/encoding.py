"""Frames into a closed segment of coded video, which can be joined to others without coding again."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer
from av.error import FFmpegError
from av.filter import Graph
from av.video.codeccontext import VideoCodecContext

from datasets.errors import FrameShapeError, PermanentError
from datasets.planar import PLANAR, Planes
from tasks.ops.video.clip import ClipInfo, FieldOrder
from tasks.ops.video.codecs import ClipFormatError, output_codec
from tasks.ops.video.encoder_options import EncodeSettings, encoder_options
from tasks.ops.video.packing import coded_format, frame_of

_TICK = Fraction(1, 1000)  # Matroska's; a segment counts frames in it, the true time stamps are in its tag
TIMES_TAG = "TIMES"
_MOST_REORDERED = 1000  # packets; far more than any encoder here
_ANY_RATE = Fraction(25)  # a single frame has none, and encoders ask for one
_THREADED = 8  # bits: x264 with two threads gave two different files in 20 for 10 bits, never for 8


class EncodeError(PermanentError):
    """An encoder refused a clip."""

    code = "encode_failed"


@dataclass(frozen=True)
class SegmentFacts:
    """What was written.

    Attributes:
        frames: How many.
        file_bytes: Size of the segment's file.
        first_pts: Of the first frame, in ticks of the clip.
        end_pts: Where the last frame ends.
    """

    frames: int
    file_bytes: int
    first_pts: int
    end_pts: int


def encode_segment(
    frames: Iterable[Planes],
    pts: Sequence[int],
    durations: Sequence[int],
    info: ClipInfo,
    settings: EncodeSettings,
    out: Path,
) -> SegmentFacts:
    """Code frames as one closed segment: it starts with a key frame and refers to nothing outside.

    Written as Matroska (which keeps the alpha of VP9 beside its packets), one tick for each frame; the true time
    stamps go into a tag, so that they survive exactly whatever the clip's time base is. Animations (GIF, WebP), which
    need the whole clip, are kept as FFV1 until they are joined. Options: see ``encoder_options``. The same frames,
    clip and settings give the same bytes.

    Args:
        frames: Chunks of planes, (T, h, w) each, in ``info.pixel_format``; any T.
        pts: One per frame, strictly rising, ticks of ``info.time_base``.
        durations: One per frame, same ticks.
        info: Size, pixel format, colour, sample aspect and high dynamic range metadata of the frames.
        settings: The recipe's.
        out: The file to write.

    Raises:
        FrameShapeError: Planes and time stamps do not belong together.
        ClipFormatError: The codec does not take the frames' format.
        EncodeError: The encoder refused.
    """
    if not pts or len(pts) != len(durations) or any(b <= a for a, b in pairwise(pts)):
        raise FrameShapeError(
            f"expected rising time stamps and as many durations, got {len(pts)} and {len(durations)}", count=len(pts)
        )
    try:
        count = _write(frames, info, settings, out, json.dumps(_times(pts, durations, info)))
    except FFmpegError as error:
        raise EncodeError(
            f"{settings.codec} refused {info.width}x{info.height} {settings.pixel_format}: {error}; "
            "choose another codec, preset or quality",
            codec=settings.codec,
        ) from error
    if count != len(pts):
        raise FrameShapeError(f"expected {len(pts)} frames, got {count}", expected=len(pts), got=count)
    return SegmentFacts(count, out.stat().st_size, pts[0], pts[-1] + durations[-1])


def _times(pts: Sequence[int], durations: Sequence[int], info: ClipInfo) -> dict[str, Any]:
    return {"time_base": str(info.time_base), "pts": list(map(int, pts)), "durations": list(map(int, durations))}


def _write(frames: Iterable[Planes], info: ClipInfo, settings: EncodeSettings, out: Path, times: str) -> int:
    count = 0
    with av.open(str(out), "w", format="matroska", container_options={"fflags": "+bitexact"}) as container:
        container.metadata[TIMES_TAG] = times
        stream = _add_stream(container, info, settings)
        context = stream.codec_context
        context.open()
        place = 0
        coded = _coded_frames(frames, info, context.pix_fmt or "")
        for frame in _marked(coded, info) if settings.codec == "ffv1" else coded:
            _tag(frame, context)
            frame.pts = count
            frame.time_base = context.time_base
            count += 1
            place = _mux(container, stream.encode(frame), place)
        _mux(container, stream.encode(None), place)
    return count


def _marked(frames: Iterator[av.VideoFrame], info: ClipInfo) -> Iterator[av.VideoFrame]:
    """Frames that say of themselves that they are woven and which field comes first: FFV1 keeps that with each.

    A filter says it, because PyAV does not set these flags.
    """
    if info.field_order == "progressive":
        yield from frames
        return
    graph: Graph | None = None
    for frame in frames:
        graph = graph or _marking(frame, info.field_order)
        graph.push(frame)
        marked = graph.pull()
        assert isinstance(marked, av.VideoFrame)
        yield marked


def _marking(like: av.VideoFrame, order: FieldOrder) -> Graph:
    graph = Graph()
    source = graph.add_buffer(width=like.width, height=like.height, format=like.format, time_base=1 / _ANY_RATE)
    graph.link_nodes(source, graph.add("setfield", f"mode={order}"), graph.add("buffersink")).configure()
    return graph


def _tag(frame: av.VideoFrame, context: VideoCodecContext) -> None:
    """ProRes takes colour tags from its frames; the context's options were read when it was opened."""
    frame.color_primaries, frame.color_trc = context.color_primaries, context.color_trc
    frame.colorspace, frame.color_range = context.colorspace, context.color_range


def _add_stream(container: OutputContainer, info: ClipInfo, settings: EncodeSettings) -> av.VideoStream:
    codec = output_codec("ffv1" if output_codec(settings.codec).animation else settings.codec)
    if settings.pixel_format not in (*output_codec(settings.codec).formats, *codec.formats):
        raise ClipFormatError(f"{settings.codec} does not take {settings.pixel_format}", format=settings.pixel_format)
    own = settings if codec.name == settings.codec else _as_lossless(settings)
    rate = (info.average_rate or _ANY_RATE).limit_denominator(65_535)
    stream = container.add_stream(codec.encoder, rate=rate, options=encoder_options(own, info))
    assert isinstance(stream, av.VideoStream)
    stream.width, stream.height = info.width, info.height
    stream.pix_fmt = coded_format(codec.encoder, settings.pixel_format)
    context = stream.codec_context
    context.time_base = 1 / rate
    context.sample_aspect_ratio = info.sample_aspect
    deep = PLANAR[settings.pixel_format].depth > _THREADED
    context.thread_count = 1 if codec.encoder == "libx264" and deep else settings.threads
    return stream


def _as_lossless(settings: EncodeSettings) -> EncodeSettings:
    return EncodeSettings("ffv1", "mkv", settings.pixel_format, threads=settings.threads)


def _coded_frames(frames: Iterable[Planes], info: ClipInfo, coded: str) -> Iterator[av.VideoFrame]:
    source = PLANAR.get(info.pixel_format)
    if source is None:
        raise ClipFormatError(f"frames must be planes to be encoded, got {info.pixel_format}", format=info.pixel_format)
    for chunk in frames:
        for index in range(len(chunk[source.planes[0]])):
            yield frame_of(chunk, index, source, coded)


def _mux(container: OutputContainer, packets: Sequence["av.Packet[av.VideoStream]"], place: int) -> int:
    """Write packets that follow ``place`` others.

    Decoding times are given anew when segments are joined; x265's own are wrong for a single frame.
    """
    for packet in packets:
        packet.time_base = _TICK
        packet.duration = 1
        packet.dts = place - _MOST_REORDERED
        container.mux(packet)
        place += 1
    return place
