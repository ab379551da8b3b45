"""Clips made for the occasion: transparency, depth, odd pixels, several tracks, a late start."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from datasets.planar import PLANAR

SIZE, COUNT, RATE = (48, 64), 6, 25  # rows and columns; frames; frames per second


def planes_clip(
    path: Path,
    codec: str,
    pixel_format: str,
    options: dict[str, str] | None = None,
    *,
    aspect: Fraction = Fraction(1),
    first: int = 0,
    more: Callable[[av.container.OutputContainer], Callable[[], None]] | None = None,
    size: tuple[int, int] = SIZE,
) -> Path:
    """Soft noise in any planar format; the first frame at ``first`` ticks; ``more`` adds streams and then packets."""
    rng, form = np.random.default_rng(7), PLANAR[pixel_format]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, options=options or {})
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = size
        stream.pix_fmt = pixel_format
        stream.codec_context.sample_aspect_ratio = aspect
        finish = more(container) if more else None
        for number in range(COUNT):
            frame = av.VideoFrame(stream.width, stream.height, pixel_format)
            for plane in frame.planes:
                rows = np.zeros((plane.height, plane.line_size // np.dtype(form.dtype).itemsize), form.dtype)
                rows[:] = rng.integers(0, 1 << form.depth, rows.shape)
                plane.update(rows.tobytes())
            frame.pts, frame.time_base = first + number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if finish:
            finish()
    return path


def two_sounds_and_a_text(container: av.container.OutputContainer) -> Callable[[], None]:
    """Two languages of sound, subtitles, two chapters and a title."""
    container.metadata["title"] = "Turntable"
    tracks = []
    for language in ("eng", "deu"):
        sound = container.add_stream("aac", rate=48_000, layout="mono")
        sound.metadata["language"] = language
        tracks.append(sound)
    container.set_chapters(
        [
            {"id": n, "start": n * 120, "end": (n + 1) * 120, "time_base": Fraction(1, 1000), "metadata": {"title": t}}
            for n, t in enumerate(("front", "back"))
        ]
    )

    def finish() -> None:
        for number, sound in enumerate(tracks):
            for block in range(11):
                wave = np.sin(np.arange(1024) * (0.02 + 0.03 * number) + block).astype(np.float32)[None] * 0.3
                frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
                frame.sample_rate, frame.pts = 48_000, block * 1024
                container.mux(sound.encode(frame))
            container.mux(sound.encode())

    return finish


def late_sound(container: av.container.OutputContainer) -> Callable[[], None]:
    """Sound from 0.2 s on."""
    sound = container.add_stream("aac", rate=48_000, layout="mono")

    def finish() -> None:
        for block in range(6):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48_000, 9600 + block * 1024
            container.mux(sound.encode(frame))
        container.mux(sound.encode())

    return finish


def made_clips(folder: Path) -> dict[str, Path]:
    """All of them, by what they are."""
    folder.mkdir(parents=True, exist_ok=True)
    clip, deep = planes_clip, "yuva444p10le"
    prores, prores_xq = ({"profile": each, "alpha_bits": "16"} for each in ("4444", "4444xq"))
    quiet = {"x265-params": "log-level=error"}
    return {
        "vp9_alpha": clip(folder / "vp9_alpha.webm", "libvpx-vp9", "yuva420p", {"auto-alt-ref": "0"}),
        "prores_alpha_10": clip(folder / "prores10.mov", "prores_ks", deep, prores),
        "prores_alpha_12": clip(folder / "prores12.mov", "prores_ks", deep, prores_xq),
        "hevc_10": clip(folder / "hevc10.mp4", "libx265", "yuv420p10le", quiet, size=(144, 160)),
        "wide_pixels": clip(folder / "wide_pixels.mp4", "libx264", "yuv420p", aspect=Fraction(4, 3)),
        "tracks": clip(folder / "tracks.mkv", "libx264", "yuv420p", more=two_sounds_and_a_text),
        "late": clip(folder / "late.mkv", "libx264", "yuv420p", {"bf": "0"}, first=10, more=late_sound),
        "thin": clip(folder / "thin.mkv", "ffv1", "yuv420p10le", {"level": "1"}, size=(400, 1)),
    }  # fmt: skip
