"""Planes of one frame into FFmpeg's memory, for encoding."""

import av
import numpy as np

from datasets.errors import FrameShapeError
from datasets.planar import Planes
from tasks.ops.video.clip import UNKNOWN, ClipInfo
from tasks.ops.video.colour import check_planes, planar_of

# FFmpeg's names to the code points of ITU-T H.273, tables 2, 3 and 4, which are FFmpeg's enumerations, too
PRIMARIES = {
    "bt709": 1, "bt470m": 4, "bt470bg": 5, "smpte170m": 6, "smpte240m": 7, "film": 8, "bt2020": 9, "smpte428": 10,
    "smpte431": 11, "smpte432": 12, "ebu3213": 22,
}  # fmt: skip
TRANSFERS = {
    "bt709": 1, "bt470m": 4, "gamma22": 4, "bt470bg": 5, "gamma28": 5, "smpte170m": 6, "smpte240m": 7, "linear": 8,
    "log100": 9, "log": 9, "log316": 10, "log_sqrt": 10, "iec61966-2-4": 11, "bt1361e": 12, "iec61966-2-1": 13,
    "bt2020-10": 14, "bt2020-12": 15, "smpte2084": 16, "smpte428": 17, "arib-std-b67": 18,
}  # fmt: skip
MATRICES = {
    "gbr": 0, "bt709": 1, "fcc": 4, "bt470bg": 5, "smpte170m": 6, "smpte240m": 7, "ycgco": 8, "bt2020nc": 9,
    "bt2020c": 10, "smpte2085": 11, "chroma-derived-nc": 12, "chroma-derived-c": 13, "ictcp": 14,
}  # fmt: skip
RANGES = {"tv": 1, "pc": 2}
_UNSPECIFIED = 2  # in H.273's tables; the range has 0


def planes_to_frame(planes: Planes, info: ClipInfo) -> av.VideoFrame:
    """One frame for an encoder, with the clip's colour tags; time stamps are the caller's.

    RGB planes are tagged with the identity matrix. PyAV cannot set where the colour samples lie: that tag belongs to
    the codec context.

    Args:
        planes: of one frame, each (h, w) or (1, h, w), in the format's order and dtype.
        info: ``pixel_format`` names the planes, ``colour`` their tags.

    Returns:
        A frame that owns its memory.

    Raises:
        FrameShapeError: the planes are not one frame of the format and size.
    """
    fmt = planar_of(info)
    one = {name: plane[None] if plane.ndim == 2 else plane for name, plane in planes.items()}
    count = check_planes(one, info, fmt)
    if count != 1:
        raise FrameShapeError(f"expected the planes of one frame, got {count}; pass them one by one", count=count)
    frame = av.VideoFrame(info.width, info.height, info.pixel_format)
    for target, name in zip(frame.planes, fmt.planes, strict=True):
        rows, width_bytes = one[name].shape[1], one[name].shape[2] * one[name].itemsize
        lines = np.frombuffer(memoryview(target), np.uint8)[: rows * target.line_size].reshape(rows, target.line_size)
        lines[:, :width_bytes] = np.ascontiguousarray(one[name][0]).view(np.uint8).reshape(rows, width_bytes)
    tag_frame(frame, info)
    return frame


def tag_frame(frame: av.VideoFrame, info: ClipInfo) -> None:
    """Set the clip's colour tags on a frame; names that FFmpeg does not know become unspecified."""
    colour, fmt = info.colour, info.planar
    rgb = fmt is None or fmt.family == "rgb"
    frame.color_range = RANGES.get("pc" if rgb and colour.range == UNKNOWN else colour.range, 0)
    frame.colorspace = MATRICES["gbr"] if rgb else MATRICES.get(colour.matrix, _UNSPECIFIED)
    frame.color_primaries = PRIMARIES.get(colour.primaries, _UNSPECIFIED)
    frame.color_trc = TRANSFERS.get(colour.transfer, _UNSPECIFIED)
