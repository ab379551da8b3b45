"""What a clip's file holds, read by a plain loop of PyAV: nothing of the flow is used here."""

import hashlib
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.codec.context import CodecContext
from av.error import EOFError as EndOfFileError
from av.sidedata.sidedata import Type
from av.video.codeccontext import VideoCodecContext

FULL_RANGE = {"yuvj420p": "yuv420p", "yuvj422p": "yuv422p", "yuvj444p": "yuv444p"}


@dataclass
class Track:
    """A stream that is carried as it is: its packets' bytes and times, and where it is first heard."""

    kind: str
    codec: str
    language: str | None
    start: Fraction
    packets: list[bytes] = field(default_factory=list)
    times: list[Fraction] = field(default_factory=list)


@dataclass
class Facts:
    """A decoded file. ``frames`` are digests of pixels in ``pixel_format``, times are seconds of the file's clock."""

    codec: str
    pixel_format: str
    size: tuple[int, int]
    frames: list[str]
    times: list[Fraction]
    matrix: tuple[int, ...] | None
    aspect: Fraction
    colour: tuple[int, int, int, int]
    woven: bool
    tracks: list[Track]
    chapters: list[tuple[float, float, str]]
    title: str


def facts_of(path: Path, pixel_format: str | None = None, decoder: str | None = None) -> Facts:
    """Decode a file from beginning to end with one thread; ``pixel_format`` is that of the frames that are compared."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        if decoder:
            own = CodecContext.create(decoder, "r")
            assert isinstance(own, VideoCodecContext)
            own.extradata, context = stream.codec_context.extradata, own
        context.thread_count = 1
        tracks = {each.index: _track(each) for each in container.streams if each.type in ("audio", "subtitle")}
        frames: list[av.VideoFrame] = []
        digests: list[str] = []
        times: list[Fraction] = []
        for packet in container.demux():
            track = tracks.get(packet.stream_index)
            if track is not None and packet.size:
                track.packets.append(bytes(packet))
                assert packet.pts is not None
                track.times.append(packet.pts * packet.time_base)
            if packet.size and (packet.stream_index != stream.index or packet.is_discard):
                continue
            for frame in context.decode(packet) if packet.size else _rest(context):
                frame.time_base = stream.time_base
                frames = frames or [frame]
                assert frame.pts is not None
                assert stream.time_base is not None
                digests.append(pixels(frame, pixel_format))
                times.append(frame.pts * stream.time_base)
        first = frames[0]
        return Facts(
            context.codec.canonical_name, first.format.name, (first.width, first.height), digests, times,
            matrix_of(first), Fraction(stream.sample_aspect_ratio or 0) or Fraction(1),
            (int(first.color_primaries), int(first.color_trc), int(first.colorspace), int(first.color_range)),
            bool(first.interlaced_frame), list(tracks.values()), chapters_of(container),
            container.metadata.get("title", ""),
        )  # fmt: skip


def _track(stream: Any) -> Track:
    language = None if stream.language == "und" else stream.language  # no language said, in MP4's words
    return Track(stream.type, _codec(stream), language, (stream.start_time or 0) * stream.time_base)


def _rest(context: VideoCodecContext) -> list[av.VideoFrame]:
    """What the decoder still holds at the end; every stream of a file ends once, the decoder only once."""
    try:
        return list(context.decode(None))
    except EndOfFileError:
        return []


def _codec(stream: Any) -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context else ""


def chapters_of(container: Any) -> list[tuple[float, float, str]]:
    return [
        (float(each["start"] * each["time_base"]), float(each["end"] * each["time_base"]), each["metadata"]["title"])
        for each in container.chapters()
    ]


def matrix_of(frame: av.VideoFrame) -> tuple[int, ...] | None:
    """The four numbers that turn and mirror, in units of 1/65536."""
    data = cast(Any, frame.side_data).get(Type.DISPLAYMATRIX)
    if data is None:
        return None
    a, b, _, c, d, *_ = (int(value) for value in np.frombuffer(memoryview(data), "<i4"))
    return a, b, c, d


def pixels(frame: av.VideoFrame, pixel_format: str | None) -> str:
    """The digest of a frame's samples, row by row without what lies between rows.

    Another order of the same samples (planes or interleaved RGB) is brought into the asked one; other formats differ.
    """
    name = frame.format.name
    if pixel_format and FULL_RANGE.get(pixel_format, pixel_format) != FULL_RANGE.get(name, name):
        assert frame.format.is_rgb, (name, pixel_format)
        frame = frame.reformat(format=pixel_format)
    digest = hashlib.sha256()
    for number, plane in enumerate(frame.planes):
        used = plane.width * _sample_bytes(frame, number)
        rows = np.frombuffer(memoryview(plane), np.uint8)[: plane.height * plane.line_size]
        digest.update(np.ascontiguousarray(rows.reshape(plane.height, plane.line_size)[:, :used]).tobytes())
    return digest.hexdigest()


def _sample_bytes(frame: av.VideoFrame, plane: int) -> int:
    """Bytes from one sample of a plane to the next: all components where they are interleaved."""
    components = [each for each in frame.format.components if each.plane == plane]
    bits = max(each.bits for each in components)
    count = (
        4 if frame.format.name in ("bgra", "rgba", "bgr0", "rgb0", "argb", "abgr", "0rgb", "0bgr") else len(components)
    )
    return count * (2 if bits > 8 else 1)
