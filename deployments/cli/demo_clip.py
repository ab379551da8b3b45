"""The demo's clip: a camera moving over a real photograph, with a sound of its own, so that nothing is downloaded."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

RATE = 12  # frames per second: few enough that smoothing them is seen
SECONDS = 4
SIZE = (200, 320)  # rows, columns
OPTIONS = {"crf": "16", "flags": "+bitexact", "x264-params": "asm=sse4.2"}  # the same bytes on every machine
SAMPLE_RATE = 44_100
NOTES_HZ = (220.0, 277.18, 329.63, 440.0)  # A major, one note a second


def make_clip_of(photo: Path, path: Path) -> Path:
    """The clip of a photograph file; one that is there already stays."""
    if not path.exists():
        picture = cv2.imread(str(photo), cv2.IMREAD_COLOR_RGB)
        make_clip(np.asarray(picture, dtype=np.uint8), path)
    return path


def make_clip(photo: NDArray[np.uint8], path: Path) -> None:
    """Write an MP4 (H.264, AAC) of a camera that draws nearer to a photograph (H, W, 3) while it turns a little.

    The same photograph gives the same bytes.
    """
    part = path.with_suffix(".part.mp4")
    options = {"fflags": "+bitexact", "movflags": "+faststart"}
    with av.open(str(part), "w", format="mp4", container_options=options) as container:
        video = container.add_stream("libx264", rate=RATE, options=dict(OPTIONS))
        video.height, video.width = SIZE
        video.pix_fmt = "yuv420p"
        video.time_base = Fraction(1, RATE)
        video.codec_context.thread_count = 1  # the bytes depend on it
        sound = container.add_stream("aac", rate=SAMPLE_RATE, options={"flags": "+bitexact"})
        sound.layout = "mono"
        for number, image in enumerate(_frames(photo)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p", threads=1)
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        _add_sound(container, sound)
    part.replace(path)


def _frames(photo: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    height, width = photo.shape[:2]
    total = RATE * SECONDS
    for number in range(total):
        way = number / (total - 1)
        zoom = max(SIZE[0] / height, SIZE[1] / width) * (1.2 + 0.6 * way)
        centre = (width * (0.5 + 0.05 * way), height * (0.52 - 0.04 * way))
        matrix = cv2.getRotationMatrix2D(centre, 4 * np.sin(np.pi * way), zoom)
        matrix[:, 2] += (SIZE[1] / 2 - centre[0], SIZE[0] / 2 - centre[1])
        moved = cv2.warpAffine(
            photo, matrix, (SIZE[1], SIZE[0]), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT_101
        )
        yield np.asarray(moved, dtype=np.uint8)


def _add_sound(container: av.container.OutputContainer, stream: av.AudioStream) -> None:
    times = np.arange(SAMPLE_RATE * SECONDS) / SAMPLE_RATE
    note = np.take(NOTES_HZ, np.minimum(times.astype(int), len(NOTES_HZ) - 1))
    fading = np.exp(-3 * (times % 1.0)) * np.minimum(1, (times % 1.0) * 200)
    samples = (0.3 * np.sin(2 * np.pi * note * times) * fading).astype(np.float32)
    step = 1024
    for start in range(0, len(samples), step):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + step], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, start
        frame.time_base = Fraction(1, SAMPLE_RATE)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
