"""Small clips made with PyAV and Pillow: each has one property that a reader can get wrong."""

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray
from PIL import Image

from datasets.planar import PLANAR

Pictures = list[av.VideoFrame]


def moving(count: int, *, width: int = 64, height: int = 48, pixel_format: str = "yuv420p") -> Pictures:
    """Noise with a bright square that moves; planes of the format are filled directly, nothing is converted."""
    rng = np.random.default_rng(7)
    kept = PLANAR[pixel_format]
    still = {
        plane: rng.integers(60, 120, kept.plane_size(plane, height, width)) << kept.depth - 8 for plane in kept.planes
    }
    frames = []
    for index in range(count):
        frame = av.VideoFrame(width, height, pixel_format)
        for at, samples in enumerate(still.values()):
            shown = samples.astype(kept.dtype)
            shown[4 + index % 8 : 14 + index % 8, 2 + index % 16 : 12 + index % 16] = 200 << kept.depth - 8
            _fill(frame.planes[at], shown)
        frames.append(frame)
    return frames


def _fill(plane: Any, samples: NDArray[Any]) -> None:
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    data = np.ascontiguousarray(samples).view(np.uint8)
    rows[: data.shape[0], : data.shape[1]] = data


def write(
    path: Path,
    frames: Sequence[av.VideoFrame],
    codec: str = "libx264",
    *,
    container: str | None = None,
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 25),
    options: dict[str, str] | None = None,
    tags: dict[str, str] | None = None,
) -> Path:
    """Encode frames at 25 a second or at the time stamps that are given."""
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height = frames[0].width, frames[0].height  # type: ignore[union-attr]
        stream.pix_fmt = frames[0].format.name  # type: ignore[union-attr]
        stream.codec_context.time_base = time_base
        stream.codec_context.thread_count = 1
        stream.metadata.update(tags or {})
        for index, frame in enumerate(frames):
            frame.pts, frame.time_base = pts[index] if pts else index, time_base
            output.mux(stream.encode(frame))  # type: ignore[union-attr, arg-type]
        output.mux(stream.encode(None))  # type: ignore[union-attr]
    return path


def animated_webp(path: Path, durations_ms: Sequence[int]) -> Path:
    """One plain colour after another, the first half see-through."""
    frames = [Image.new("RGBA", (20, 10), (40 * index, 10, 200, 128 if index < 3 else 255)) for index in range(6)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=list(durations_ms), lossless=True)
    return path


def animated_gif(path: Path, durations_ms: Sequence[int]) -> Path:
    frames = [Image.new("RGB", (20, 10), (40 * index, 10, 200)) for index in range(6)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=list(durations_ms))
    return path


def remuxed(
    source: Path, target: Path, *, offset_s: int = 0, copies: int = 1, default: int = 0, cover: bool = False
) -> Path:
    """The video stream of a file once or several times, ``offset_s`` seconds later, with a cover picture before it."""
    with av.open(str(source)) as given, av.open(str(target), "w") as output:
        stream = given.streams.video[0]
        picture = _cover(output) if cover else None
        streams = [output.add_stream_from_template(stream) for _ in range(copies)]
        for index, each in enumerate(streams):
            each.disposition = Disposition.default if index == default else Disposition(0)
        if picture:
            output.mux(picture)
        offset = int(offset_s / (stream.time_base or 1))
        for packet in given.demux(stream):
            if packet.dts is None:
                continue
            for each in streams:
                copy = av.Packet(bytes(packet))
                copy.pts, copy.dts, copy.duration = (packet.pts or 0) + offset, packet.dts + offset, packet.duration
                copy.is_keyframe, copy.time_base, copy.stream = packet.is_keyframe, packet.time_base, each
                output.mux(copy)
    return target


def _cover(output: Any) -> Any:
    data = io.BytesIO()
    Image.new("RGB", (32, 32), (255, 0, 0)).save(data, "PNG")
    stream = output.add_stream("png", rate=1)
    stream.width, stream.height, stream.pix_fmt = 32, 32, "rgb24"
    stream.disposition = Disposition.attached_pic
    packet = av.Packet(data.getvalue())
    packet.stream, packet.pts, packet.dts, packet.is_keyframe = stream, 0, 0, True
    packet.time_base = Fraction(1, 90000)
    return packet


def cut(source: Path, target: Path, share: float) -> Path:
    """The first part of a file."""
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target


def plain_decode(path: Path, stream: int = 0) -> list[av.VideoFrame]:
    """What a bare loop over PyAV gives, with one thread."""
    with av.open(str(path)) as container:
        video = container.streams.video[stream]
        video.codec_context.thread_count = 1
        return list(container.decode(video))
