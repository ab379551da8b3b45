"""Animated WebP by Pillow, whose libwebp composes the canvas; FFmpeg does not read these files."""

import io
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from PIL import WebPImagePlugin

from tasks.ops.video.clip import ClipInfo
from tasks.ops.video.containers import Source
from tasks.ops.video.damage import Tally
from tasks.ops.video.decoding import DecodedFrame
from tasks.ops.video.probing import average_rate
from tasks.ops.video.scanning import Scan
from tasks.ops.video.video_errors import ClipBrokenError, ClipError, ClipTooLargeError, NoFramesError, refusal

_TICK = Fraction(1, 1000)  # WebP counts milliseconds
# What Pillow raises for files that contradict themselves.
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, RuntimeError, struct.error)


@dataclass
class Animation:
    """The frames of an animated WebP; the same calls as a ``Decoder``."""

    data: bytes
    durations: tuple[int, ...]
    name: str
    tally: Tally = field(default_factory=Tally)
    repaired: int = 0

    def frames(self, start_index: int = 0, after: int | None = None) -> Iterator[DecodedFrame]:
        """Composed frames; those before ``start_index`` are decoded and dropped."""
        self.tally = tally = Tally(start=0)
        image = WebPImagePlugin.WebPImageFile(io.BytesIO(self.data))
        for index, duration in enumerate(self.durations):
            try:
                image.seek(index)
                pixels = np.asarray(image.convert("RGBA"))
            except _BROKEN:
                tally.undecodable += len(self.durations) - index
                break
            begins = tally.end
            tally.frames, tally.end = index + 1, begins + duration
            if index >= start_index:
                planes = {plane: np.ascontiguousarray(pixels[:, :, "rgba".index(plane)]) for plane in "gbra"}
                yield DecodedFrame(planes, begins, duration, corrupt=False, key=index == 0)
        tally.finished = True


def open_animation(source: Source, *, max_pixels: int) -> tuple[ClipInfo, Scan, Animation]:
    """The facts, the times and the frames of an animated WebP.

    Raises:
        ClipError: one of its leaves.
    """
    with source.view() as view:
        data = view.read()
    durations, complete = _durations(data)
    width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    if width * height > max_pixels:
        raise too_large(source.name, width, height, max_pixels)
    if not durations:
        raise refusal(
            NoFramesError, source.name, expected="at least one frame", came="no frames", remedy="export the clip again"
        )
    scan = _scan(durations, complete=complete)
    info = ClipInfo(
        width=width, height=height, pixel_format="gbrap", source_format="rgba", time_base=_TICK,
        average_rate=average_rate(scan, _TICK, None), container="webp", codec="webp",
    )  # fmt: skip
    try:
        animation = Animation(data, durations, source.name)
        next(animation.frames())
    except (StopIteration, *_BROKEN) as error:
        raise refusal(
            ClipBrokenError, source.name, expected="a readable animation", came="one without a readable frame",
            remedy="export it again",
        ) from error  # fmt: skip
    return info, scan, animation


def too_large(name: str, width: int, height: int, max_pixels: int) -> ClipError:
    return refusal(
        ClipTooLargeError, name, width=width, height=height, max_pixels=max_pixels,
        expected=f"at most {max_pixels} pixels in a frame", came=f"{width}×{height} = {width * height}",
        remedy="scale the clip down or raise the limit",
    )  # fmt: skip


def _durations(data: bytes) -> tuple[tuple[int, ...], bool]:
    """(milliseconds of each frame, whether the last chunk is whole), by the ANMF chunks (WebP specification)."""
    found: list[int] = []
    at = 12
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"ANMF":
            found.append(max(1, int.from_bytes(data[at + 20 : at + 23], "little")))  # each frame takes its own tick
        at += 8 + length + length % 2
    return tuple(found), at <= len(data) + 1


def _scan(durations: tuple[int, ...], *, complete: bool) -> Scan:
    pts = array("q", [sum(durations[:index]) for index in range(len(durations))])
    return Scan(
        packets=len(durations), hidden=0, pts=pts, sync_pts=pts[:1], without_pts=0, repeated_pts=0, jumps_back=0,
        last_duration=durations[-1], end_s=sum(durations) * _TICK, promised_frames=len(durations), promised_s=None,
        promised_clip_s=None, corrupt_packets=0 if complete else 1, broken="",
    )  # fmt: skip
