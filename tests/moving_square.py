"""Clips of a square that walks over a gradient, in any codec and pixel format, and the frames of any clip."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

HEIGHT, WIDTH, FRAMES = 120, 160, 10
TICK = Fraction(1, 100)  # coarse enough for every container
PTS = (0, 4, 8, 12, 20, 24, 28, 32, 40, 44)  # two frames stay longer
BT709 = {"color_primaries": "bt709", "color_trc": "bt709", "colorspace": "bt709", "color_range": "tv"}

Frames = NDArray[Any]


def walking(channels: int = 3) -> Frames:
    """uint16 (T, H, W, C): a gradient of more than 8 bits, and a square; alpha is a ramp where the square is not."""
    across, down = np.meshgrid(np.linspace(0, 1, WIDTH), np.linspace(0, 1, HEIGHT))
    ground = np.stack([0.2 + 0.5 * across, 0.3 + 0.4 * down, 0.6 - 0.3 * across, 0.25 + 0.5 * down], -1)[..., :channels]
    frames = np.repeat(np.rint(ground * 65535).astype(np.uint16)[None], FRAMES, axis=0)
    for number, frame in enumerate(frames):
        frame[40:80, 8 * number : 8 * number + 40] = (52_000, 20_000, 12_000, 65_535)[:channels]
    return frames


def save(path: Path, codec: str, pixel_format: str, options: dict[str, str] | None = None) -> Path:
    """The walking square, tagged as BT.709."""
    path.parent.mkdir(parents=True, exist_ok=True)
    alpha = "a" in pixel_format.replace("gray", "")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={**BT709, **(options or {})})
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, pixel_format
        stream.codec_context.time_base = stream.time_base = TICK
        for pts, values in zip(PTS, walking(4 if alpha else 3), strict=True):
            frame = av.VideoFrame.from_ndarray(values, format="rgba64le" if alpha else "rgb48le")
            frame = frame.reformat(format=pixel_format, dst_colorspace="itu709")
            frame.pts, frame.time_base = pts, TICK
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@dataclass(frozen=True)
class Seen:
    """A clip as another reader sees it.

    Attributes:
        codec: FFmpeg's name of the decoder.
        pixel_format: Of the decoded frames.
        seconds: When every frame is shown.
        frames: uint16 (T, H, W, 3|4).
        tags: Matrix, primaries, transfer, range, by FFmpeg's numbers.
    """

    codec: str
    pixel_format: str
    seconds: tuple[float, ...]
    frames: Frames
    tags: tuple[int, ...]


def look(path: Path, decoder: str | None = None) -> Seen:
    """All frames of a clip by FFmpeg; ``decoder`` where the usual one does not show alpha."""
    seconds, frames, form = [], [], ""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = av.VideoCodecContext.create(decoder, "r") if decoder else stream.codec_context
        assert isinstance(context, av.VideoCodecContext)
        if decoder:
            context.extradata = stream.codec_context.extradata
        for packet in container.demux(stream):
            for frame in context.decode(packet if packet.size else None):
                assert isinstance(frame, av.VideoFrame)
                form = frame.format.name
                alpha = form.startswith(("yuva", "gbra", "rgba", "bgra", "argb"))
                seconds.append(float((frame.pts or 0) * (stream.time_base or 1)))
                target = "rgba64le" if alpha else "rgb48le"
                frames.append(frame.reformat(format=target, src_colorspace="itu709").to_ndarray())
                tags = tuple(map(int, (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range)))
        return Seen(stream.codec_context.name, form, tuple(seconds), np.stack(frames), tags)


def psnr(first: Frames, second: Frames) -> float:
    """In dB, of uint16."""
    error = np.mean((first.astype(np.float64) - second) ** 2)
    return float(10 * np.log10(65535.0**2 / max(float(error), 1e-9)))
