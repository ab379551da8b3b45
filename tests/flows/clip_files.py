"""Clips with motion, noise and sound, written by the tests themselves."""

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from datasets.frame_spec import Pixels

RATE = 25  # frames per second
SAMPLES = 48_000  # of sound per second


def save_moving_clip(
    path: Path, seconds: float, *, width: int = 160, height: int = 120, sound: bool = True, noise: int = 12
) -> Path:
    """H.264 with a key frame every second: noise, a square that moves, another ground every five seconds, a tone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        options = {"preset": "ultrafast", "crf": "23", "g": str(RATE)}
        stream = container.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = width, height, "yuv420p", 2
        tone = container.add_stream("aac", rate=SAMPLES, layout="mono") if sound else None
        for number, luma in enumerate(moving_luma(round(seconds * RATE), height, width, noise)):
            frame = av.VideoFrame.from_ndarray(_with_chroma(luma, number), format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
            if tone is not None:
                container.mux(tone.encode(_tone(number)))
        container.mux(stream.encode())
        if tone is not None:
            container.mux(tone.encode())
    return path


def moving_luma(count: int, height: int, width: int, noise: int) -> Iterator[Pixels]:
    """(H, W) uint8 for every frame."""
    rng = np.random.default_rng(7)
    grain = rng.integers(0, max(1, noise), (height * 2, width * 2), dtype=np.uint8)
    side = height // 3
    for number in range(count):
        down, right = rng.integers(0, (height, width))
        luma = grain[down : down + height, right : right + width] + np.uint8(40 + 60 * (number // (5 * RATE) % 3))
        left = number * 3 % (width - side)
        luma[side : 2 * side, left : left + side] += np.uint8(70)
        yield luma


def _with_chroma(luma: Pixels, number: int) -> Pixels:
    rows = luma.shape[0] // 2
    chroma = np.full((rows, luma.shape[1]), 118 + number // (5 * RATE) % 3 * 10, dtype=np.uint8)
    return np.concatenate([luma, chroma])


def _tone(number: int) -> av.AudioFrame:
    count = SAMPLES // RATE
    at = np.arange(number * count, (number + 1) * count) / SAMPLES
    frame = av.AudioFrame.from_ndarray(np.sin(at * 2764.6).astype(np.float32)[None] * 0.3, format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = SAMPLES, number * count, Fraction(1, SAMPLES)
    return frame


def found(folder: Path, pattern: str) -> list[Path]:
    """The files below a folder in which a run is at work: what goes away while one looks is looked for again."""
    while True:
        with suppress(FileNotFoundError):
            return list(folder.rglob(pattern))
