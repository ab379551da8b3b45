"""Clips to report on: small WebM files of a moving bar, and their reports."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from flows.report_clips import ClipMeasures, ClipReport
from tasks.ops.video.posters import measure_frames
from tests.flows.report_samples import HOSTILE, WARNING, encoded, output, stages_of

FRAMES, RATE = 40, 25


def moving_bar(count: int = FRAMES, width: int = 160, height: int = 90, ground: int = 90) -> np.ndarray:
    """(T, H, W, 3): a bar that walks to the right; the second half stands on another ground."""
    frames = np.full((count, height, width, 3), ground, dtype=np.uint8)
    frames[count // 2 :] = 200 - ground // 2
    for number, frame in enumerate(frames):
        left = number * (width - 10) // count
        frame[:, left : left + 10] = (220, 80, 40)
    return frames


def save_clip(path: Path, frames: np.ndarray) -> Path:
    """VP8 in WebM: every browser plays it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx", rate=Fraction(RATE))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def measures_of(frames: np.ndarray) -> ClipMeasures:
    found = measure_frames(frames)
    return ClipMeasures(np.arange(len(frames)) / RATE, found.luma_mean, found.sharpness, found.difference)


def sample_clip(name: str = "walk", **changes: object) -> ClipReport:
    facts: dict[str, object] = {
        "source": f"shelf/{name}.webm", "status": "delivered", "reasons": [WARNING],
        "before": f"in/{name}.webm", "after": f"out/{name}.webm", "poster": encoded(160, 90),
        "contact_sheet": encoded(640, 300), "width": 160, "height": 90, "measures": measures_of(moving_bar()),
        "shots": [(0, 20), (20, 40)], "facts": [("Frames", "40", "40"), ("Codec", "vp8", "h264"), ("Audio", "", "aac")],
        "outputs": [output("clip", f"out/{name}.webm")], "stages": stages_of(name),
    }  # fmt: skip
    return ClipReport(name, **{**facts, **changes})  # type: ignore[arg-type]


def hostile_clip() -> ClipReport:
    reason: dict[str, object] = {"code": HOSTILE, "message": HOSTILE, "facts": {}, "level": "error"}
    return sample_clip(
        HOSTILE, source=HOSTILE, status=HOSTILE, reasons=[reason], before=f"in/{HOSTILE}.webm",
        after="//outside.example/x.webm", facts=[(HOSTILE, HOSTILE, HOSTILE)], outputs=[output(HOSTILE, HOSTILE)],
        stages=stages_of(HOSTILE),
    )  # fmt: skip
