"""Clips whose pictures turn white at the moments their sound beeps, and how both are found again in any clip."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

HEIGHT, WIDTH = 90, 160
RATE = 25  # frames per second, or the average of them
TICK = Fraction(1, 12_800)  # of the pictures
SAMPLES = 48_000  # per second of sound
FLASH_S, BEEP_S = Fraction(3, 25), Fraction(1, 10)
BRIGHT = 0.79  # of the way to white: a mixture counts by its nearer side for 25 frames a second shown at 60
LOUD = 0.25  # of the loudest sample


@dataclass(frozen=True)
class FlashAndBeep:
    """A clip in H.264 and AAC that flashes and beeps every ``every`` seconds.

    Attributes:
        seconds: How long it is.
        irregular: Frames of changing length; those of the flashes keep their moments.
        sound_starts: Seconds after zero at which the sound begins.
        pictures_start: Seconds after zero at which the pictures begin.
        every: Whole seconds from one flash to the next; the first comes after as many.
    """

    seconds: int = 7
    irregular: bool = False
    sound_starts: Fraction = Fraction(0)
    pictures_start: Fraction = Fraction(0)
    every: int = 2

    @property
    def moments(self) -> list[int]:
        """Seconds at which it flashes and beeps."""
        return list(range(self.every, self.seconds, self.every))

    def save(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w", format="mp4") as container:
            pictures = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "crf": "18"})
            sound = container.add_stream("aac", rate=SAMPLES, layout="mono")
            pictures.height, pictures.width, pictures.pix_fmt = HEIGHT, WIDTH, "yuv420p"
            pictures.codec_context.time_base = pictures.time_base = TICK
            for picture in self._pictures():
                container.mux(pictures.encode(picture))
            container.mux(pictures.encode(None))
            for piece in self._sound():
                container.mux(sound.encode(piece))
            container.mux(sound.encode(None))
        return path

    def _pictures(self) -> Iterator[av.VideoFrame]:
        shades = {white: np.full((HEIGHT, WIDTH, 3), 240 if white else 30, np.uint8) for white in (True, False)}
        for ticks in self._times():
            past = ticks * TICK % self.every
            picture = av.VideoFrame.from_ndarray(
                shades[past < FLASH_S and ticks * TICK >= self.every], format="rgb24"
            ).reformat(format="yuv420p")
            picture.pts, picture.time_base = ticks, TICK
            yield picture

    def _times(self) -> list[int]:
        """Ticks of all frames; irregular ones lie up to a third of a frame away from where they would be."""
        step = int(1 / RATE / TICK)
        times = np.arange(self.seconds * RATE, dtype=np.int64) * step
        if self.irregular:
            away = np.random.default_rng(0).integers(-step // 3, step // 3, len(times))
            times += np.where(times % int(1 / TICK) == 0, 0, away)
        return [ticks for ticks in map(int, times) if ticks * TICK >= self.pictures_start]

    def _sound(self) -> Iterator[av.AudioFrame]:
        whole = np.arange(self.seconds * SAMPLES)
        past = whole % (self.every * SAMPLES)
        beeping = (past < int(BEEP_S * SAMPLES)) & (whole >= self.every * SAMPLES)
        wave = np.where(beeping, 0.5 * np.sin(2 * np.pi * 1000 * whole / SAMPLES), 0).astype(np.float32)
        for start in range(int(self.sound_starts * SAMPLES), len(wave), 1024):
            piece = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], format="fltp", layout="mono")
            piece.sample_rate, piece.pts, piece.time_base = SAMPLES, start, Fraction(1, SAMPLES)
            yield piece


def flashes(path: Path) -> NDArray[np.float64]:
    """Seconds at which the first frame of every flash is shown."""
    times, light = [], []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            times.append(frame.time or 0.0)
            light.append(frame.to_ndarray(format="gray").mean())
    bright = np.array(light) >= min(light) + BRIGHT * (max(light) - min(light))
    began: NDArray[np.float64] = np.array(times)[1:][bright[1:] & ~bright[:-1]]
    return began


def beeps(path: Path, apart_s: float = 0.5) -> NDArray[np.float64]:
    """Seconds at which every beep begins, as a player hears them: priming samples are skipped by the decoder."""
    times, loudness = [], []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            samples = np.abs(frame.to_ndarray().astype(np.float64))
            mixed = samples.max(axis=0) if frame.format.is_planar else samples.ravel()[:: len(frame.layout.channels)]
            times.append((frame.time or 0.0) + np.arange(len(mixed)) / frame.sample_rate)
            loudness.append(mixed)
    heard = np.concatenate(times)[(values := np.concatenate(loudness)) > LOUD * values.max()]
    began: NDArray[np.float64] = heard[np.insert(np.diff(heard) > apart_s, 0, True)]
    return began
