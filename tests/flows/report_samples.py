"""Runs to report on, made from small arrays."""

from datetime import UTC, datetime
from io import BytesIO

import numpy as np
from PIL import Image

from flows.report import ReportData, ReportItem, ReportStage

HOSTILE = "<script>window.stolen = 1</script>\"'><img src=x onerror=stolen=1>"
WARNING: dict[str, object] = {
    "code": "object_enlarged",
    "message": "The product was enlarged 2.4 times to fill the canvas and may look soft.",
    "facts": {"enlarged_by": 2.4},
    "level": "warning",
}
ERROR: dict[str, object] = {
    "code": "truncated",
    "message": "The file ends before the picture does; send it again.",
    "facts": {"bytes": 1200},
    "level": "error",
}


def encoded(width: int, height: int, *, alpha: bool = False, form: str = "PNG") -> bytes:
    """A picture of two colour ramps; with alpha its outer quarter is transparent."""
    ramp = np.zeros((height, width, 4 if alpha else 3), dtype=np.uint8)
    ramp[..., 0] = np.linspace(30, 220, width, dtype=np.uint8)
    ramp[..., 1] = np.linspace(90, 160, height, dtype=np.uint8)[:, None]
    ramp[..., 2] = 140
    if alpha:
        ramp[height // 4 : -height // 4, width // 4 : -width // 4, 3] = 255
    stream = BytesIO()
    Image.fromarray(ramp).save(stream, format=form)
    return stream.getvalue()


def output(role: str, path: str, **changes: object) -> dict[str, object]:
    facts = {"role": role, "path": path, "sha256": "0123456789abcdef" * 4, "width": 2000, "height": 1500}
    return {**facts, "bytes": 1_234_567, "format": "jpeg", **changes}


def delivered(name: str, *, reasons: tuple[dict[str, object], ...] = ()) -> ReportItem:
    outputs = [
        output("packshot", f"{name}/packshot.jpg"),
        output("thumbnail", f"{name}/thumbnail.webp", width=320, height=320, bytes=9_800, format="webp"),
    ]
    before, after = encoded(120, 80), encoded(90, 90, alpha=True)
    return ReportItem(name, f"shelf/{name}.jpg", "delivered", list(reasons), before, after, "packshot", outputs)


def failed(name: str) -> ReportItem:
    return ReportItem(name, f"shelf/{name}.jpg", "failed", [ERROR], None, None, None, [])


def stages_of(name: str, *, cached: bool = False) -> tuple[ReportStage, ...]:
    return (
        ReportStage(name, "intake", None, 0.25, cached, 4, None, 40_000_000, "cpu"),
        ReportStage(name, "cutout", "embedded-segmenter + embedded-matter", 3.0, cached, 12, None, 310_000_000, "cpu"),
        ReportStage(name, "upscale", None, 0.0, False, 0, "the picture is large enough", None, "cpu"),
        ReportStage(name, "publish", None, 1.0, False, 1, None, 90_000_000, "cpu"),
    )


def run_of(items: tuple[ReportItem, ...], stages: tuple[ReportStage, ...] = (), **changes: object) -> ReportData:
    facts: dict[str, object] = {
        "run_id": "01J9ZK6Q5V",
        "status": "failed" if any(item.status == "failed" for item in items) else "delivered",
        "recipe": "packshot",
        "started_at": datetime(2026, 3, 4, 5, 6, tzinfo=UTC),
        "seconds": 83.0,
        "version": "0.1.0",
        "models": {"cutout": "embedded-segmenter + embedded-matter"},
        "items": items,
        "stages": stages,
        "command": "stillmotion product shelf --recipe packshot",
    }
    return ReportData(**{**facts, **changes})  # type: ignore[arg-type]


def sample_run(count: int = 3) -> ReportData:
    """``count`` pictures: the second with a warning, the last one failed if there are three or more."""
    names = [f"item-{number:03d}" for number in range(1, count + 1)]
    items = [delivered(name, reasons=(WARNING,) if number == 1 else ()) for number, name in enumerate(names)]
    if count >= 3:
        items[-1] = failed(names[-1])
    stages = [stage for number, name in enumerate(names) for stage in stages_of(name, cached=number == 1)]
    return run_of(tuple(items), tuple(stages))


def hostile_run() -> ReportData:
    """A name, a source, a path, a message, a reason to skip, a command: all of them try to get out."""
    reason: dict[str, object] = {"code": HOSTILE, "message": HOSTILE, "facts": {HOSTILE: HOSTILE}, "level": "warning"}
    item = ReportItem(
        HOSTILE,
        HOSTILE,
        "delivered",
        [reason],
        encoded(40, 30),
        encoded(40, 30),
        HOSTILE,
        [
            output(HOSTILE, f"out/{HOSTILE}.jpg", sha256=HOSTILE, format=HOSTILE),
            output("packshot", "javascript:window.stolen=1"),
            output("clip", "//outside.example/x.mp4"),
        ],
    )
    stage = ReportStage(HOSTILE, HOSTILE, HOSTILE, 1.0, False, 1, HOSTILE, None, HOSTILE)
    return run_of((item,), (stage,), run_id=HOSTILE, recipe=HOSTILE, models={HOSTILE: HOSTILE}, command=HOSTILE)
