"""The facts of a clip from its headers and its first frames."""

import base64
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import cast

import av
import av.filter
import numpy as np
from av.error import FFmpegError
from av.sidedata.sidedata import SideData, Type
from av.video.stream import VideoStream
from numpy.typing import NDArray

from tasks.ops.video.clip import UNKNOWN, ClipInfo, Colour, FieldOrder
from tasks.ops.video.scanning import Scan

# ITU-T H.273, tables 2 to 4, by FFmpeg's names
_PRIMARIES = {
    1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020", 10: "smpte428",
    11: "smpte431", 12: "smpte432", 22: "ebu3213",
}  # fmt: skip
_TRANSFERS = {
    1: "bt709", 4: "gamma22", 5: "gamma28", 6: "smpte170m", 7: "smpte240m", 8: "linear", 9: "log100", 10: "log316",
    11: "iec61966-2-4", 12: "bt1361e", 13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084",
    17: "smpte428", 18: "arib-std-b67",
}  # fmt: skip
_MATRICES = {
    0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco", 9: "bt2020nc",
    10: "bt2020c", 11: "smpte2085", 12: "chroma-derived-nc", 13: "chroma-derived-c", 14: "ictcp",
}  # fmt: skip
_RANGES = {1: "tv", 2: "pc"}
_HDR = (Type.MASTERING_DISPLAY_METADATA, Type.CONTENT_LIGHT_LEVEL)
_USUAL_RATES = tuple(
    Fraction(rate)
    for rate in ("24", "25", "30", "50", "60", "24000/1001", "30000/1001", "60000/1001", "48", "15", "12", "10", "120")
)
_MOVING_PAIRS = 3  # of frames, before the motion may overrule a flag
_CLEARLY = 1.15
_NEARLY_TURNED = 1  # degree; matrices are rounded to 1/65536


def describe(
    stream: VideoStream, frames: Sequence[av.VideoFrame], scan: Scan, *, pixel_format: str, container: str
) -> ClipInfo:
    """The facts of a clip.

    Args:
        frames: The first decoded frames, at least one.
        pixel_format: Of what is kept.
        container: FFmpeg's name.
    """
    first = frames[0]
    time_base = stream.time_base or Fraction(1, av.time_base)
    rotation, mirrored = orientation(first)
    return ClipInfo(
        width=first.width,
        height=first.height,
        pixel_format=pixel_format,
        source_format=first.format.name,
        time_base=time_base,
        colour=colour_of(first),
        sample_aspect=_aspect(stream),
        rotation=rotation,
        mirrored=mirrored,
        field_order=field_order(frames),
        average_rate=average_rate(scan, time_base, stream.average_rate),
        hdr=_hdr(first),
        container=container,
        codec=stream.codec_context.codec.canonical_name,
    )


def colour_of(frame: av.VideoFrame) -> Colour:
    """The colour tags of a decoded frame. PyAV does not show where the chroma samples lie: ``unspecified``."""
    return Colour(
        _PRIMARIES.get(frame.color_primaries, UNKNOWN),
        _TRANSFERS.get(frame.color_trc, UNKNOWN),
        _MATRICES.get(frame.colorspace, UNKNOWN),
        _RANGES.get(frame.color_range, UNKNOWN),
    )


def _aspect(stream: VideoStream) -> Fraction:
    """The stream's before the frame's, as players do; 1 if neither says."""
    return Fraction(stream.sample_aspect_ratio or 0) or Fraction(1)


def orientation(frame: av.VideoFrame) -> tuple[int, bool]:
    """(degrees clockwise to turn the picture, whether to mirror it left to right before), by its display matrix.

    The matrix (ISO/IEC 14496-12, 8.3.2) maps (x, y) to (a x + c y, b x + d y), y downwards. Mirroring changes x alone,
    so where the y axis goes tells the turn: clockwise by t takes (0, 1) to (-sin t, cos t).
    """
    data = _side_data(frame, Type.DISPLAYMATRIX)
    if data is None:
        return 0, False
    a, b, _, c, d, *_ = (int(value) for value in np.frombuffer(memoryview(data), "<i4"))
    if a * d == b * c:
        return 0, False
    return round(math.degrees(math.atan2(-c, d)) / 90) * 90 % 360, a * d < b * c


def turned_oddly(frame: av.VideoFrame) -> int | None:
    """The angle of a display matrix that is no multiple of 90 degrees, else None."""
    away = frame.rotation % 90
    return frame.rotation if _NEARLY_TURNED < away < 90 - _NEARLY_TURNED else None


def field_order(frames: Sequence[av.VideoFrame]) -> FieldOrder:
    """Which field comes first by the first frame that is flagged as interlaced, unless motion says otherwise."""
    measured = order_by_motion(frames)
    woven = next((frame for frame in frames if frame.interlaced_frame), None)
    return "progressive" if woven is None else measured or _first_field(woven)


def order_by_motion(frames: Sequence[av.VideoFrame]) -> FieldOrder | None:
    """Which field must come first for things to move steadily, where all frames agree: files may be flagged wrongly.

    A frame's first field lies half a frame's time behind the second field of the frame before, so it looks more like it
    than the two others that are compared, which lie one and a half apart.
    """
    lumas = [_luma(frame) for frame in frames if frame.interlaced_frame]
    top, bottom = (
        np.array([_difference(after[first::2], before[1 - first :: 2]) for before, after in pairwise(lumas)])
        for first in (0, 1)
    )
    if len(top) < _MOVING_PAIRS or max(top.sum(), bottom.sum()) < _CLEARLY * min(top.sum(), bottom.sum()):
        return None
    if np.all(top < bottom):
        return "tff"
    return "bff" if np.all(bottom < top) else None


def _luma(frame: av.VideoFrame) -> NDArray[np.int16]:
    rows = np.frombuffer(memoryview(frame.planes[0]), np.uint8).reshape(frame.height, -1)
    return rows[: frame.height // 2 * 2].astype(np.int16)


def _difference(one: NDArray[np.int16], other: NDArray[np.int16]) -> float:
    return float(np.abs(one - other).mean())


def _first_field(frame: av.VideoFrame) -> FieldOrder:
    """Let FFmpeg take a marked frame apart: PyAV does not show the flag itself. The frame's pixels are lost.

    The top field is painted dark and the bottom one light; the field that comes out first is the one that is asked for.
    """
    frame.make_writable()
    luma = np.frombuffer(memoryview(frame.planes[0]), np.uint8)
    rows = luma.reshape(frame.height, -1)
    rows[0::2], rows[1::2] = 0, 255
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 25)
    )
    graph.link_nodes(source, graph.add("separatefields"), graph.add("buffersink")).configure()
    try:
        graph.push(frame)
        field = graph.pull()
    except FFmpegError:
        return "tff"
    top = not np.frombuffer(memoryview(field.planes[0]), np.uint8)[0]
    return "tff" if top else "bff"


def average_rate(scan: Scan, time_base: Fraction, header: Fraction | None) -> Fraction | None:
    """Frames per second by count and duration; None for a single frame or none with a time.

    Time stamps are rounded to ticks, so every rate within one tick of the duration says the same: the header's is
    taken, then a usual one, then the quotient.
    """
    if len(scan.pts) < 2:
        return None
    ticks, frames = scan.pts[-1] - scan.pts[0], len(scan.pts) - 1
    if scan.last_duration > 1 or ticks <= 3 * frames:  # a single fine tick is made up: the container says nothing
        ticks, frames = ticks + scan.last_duration, frames + 1
    if ticks <= 0:
        return None
    exact = frames / (ticks * time_base)
    same = (rate for rate in (header, *_USUAL_RATES) if rate and abs(frames / rate / time_base - ticks) <= 1)
    return next(same, exact)


def _hdr(frame: av.VideoFrame) -> dict[str, str]:
    found = ((kind, _side_data(frame, kind)) for kind in _HDR)
    return {kind.name: base64.b64encode(bytes(data)).decode() for kind, data in found if data is not None}


def _side_data(frame: av.VideoFrame, kind: Type) -> SideData | None:
    every = cast(Iterator[SideData], iter(frame.side_data))
    return next((data for data in every if data.type == kind), None)
