"""Runs to report on, made from small arrays."""

from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO

import numpy as np
from PIL import Image

from flows.report import ReportData, ReportItem, ReportStage
from flows.report_gates import ReportGate, ReportStop
from flows.report_money import ItemMoney, ReportMoney, Saving

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


def checked(name: str, measure: str, observed: object, success: bool | None, **bound: object) -> dict[str, object]:
    facts = {"expectation": name, "measure": measure, "observed": observed, "bound": bound, "level": "stop"}
    return {**facts, "success": success, "skipped": success is None}


def failing(name: str, measure: str, observed: object, **bound: object) -> dict[str, object]:
    """A reason as a gate gives it."""
    facts = {"gate": "spend", "measure": measure, "observed": observed, "bound": bound}
    return {"code": name, "message": f"{name}: not met", "facts": facts, "level": "error"}


def stopped(name: str, **changes: object) -> ReportItem:
    gates = (
        ReportGate("intake", "pass", False, [checked("large_enough", "short_side", 640, True, min=64.0)]),
        ReportGate(
            "spend",
            "stop",
            False,
            [
                checked("sharp", "sharpness", 3.14159, False, min=8.0),
                checked("not_cut_off", "border", 0.04, True, max=0.1),
                checked("edge", "softness", None, None, max=0.7),
            ],
        ),
    )
    facts: dict[str, object] = {
        "gates": gates,
        "stop": ReportStop("spend", f'stillmotion release {name} --why "..."', "cutout"),
    }
    reasons = [failing("sharp", "sharpness", 3.14159, min=8.0)]
    item = ReportItem(
        name, f"shelf/{name}.jpg", "stopped", reasons, encoded(120, 80), encoded(90, 90, alpha=True), None, []
    )
    return replace(item, **{**facts, **changes})  # type: ignore[arg-type]


def waiting(name: str, status: str, code: str, **facts: object) -> ReportItem:
    reason: dict[str, object] = {"code": code, "message": f"{code} came", "facts": facts, "level": "error"}
    return ReportItem(name, f"shelf/{name}.jpg", status, [reason], encoded(120, 80), None, None, [])


BUDGET = {"scope": "run:1", "cap_micro_usd": 50_000, "spent_micro_usd": 39_000, "held_micro_usd": 0}


def purse(*items: ItemMoney, **changes: object) -> ReportMoney:
    """39 000 a picture: one bought, one from the cache, one a duplicate, two stopped of which one was released."""
    facts: dict[str, object] = {
        "spent": 39_500,
        "bought": 1,
        "savings": (
            Saving("cache_hit", 1, 39_000),
            Saving("duplicate", 1, 39_000),
            Saving("guardrail_stop", 2, 78_000),
        ),
        "reversed": 39_000,
        "guard_cost": 500,
        "held": 0,
        "unknown": 0,
        "cap": 50_000,
        "left": 10_500,
        "services": (("scenes", "2026-01"),),
        "items": items,
    }
    return ReportMoney(**{**facts, **changes})  # type: ignore[arg-type]


def paid_run() -> ReportData:
    """One item of every end."""
    items = (
        delivered("bought"),
        stopped("blurred"),
        waiting("dear", "deferred", "over_budget", **BUDGET, price_micro_usd=39_000),
        waiting("unsure", "held", "outcome_unknown", service="scenes"),
    )
    money = purse(
        ItemMoney("bought", 39_000, 0, 0, "bought in this run"),
        ItemMoney("blurred", 0, 39_000, 0, "stopped by a guardrail"),
        ItemMoney("dear", 0, 0, 0, "put off because the budget is used up"),
        ItemMoney("unsure", 0, 0, 39_000, "kept back because it may have been charged"),
        unknown=39_000,
    )
    return run_of(items, stages_of("bought"), status="partial", recipe="hero", money=money)


def hostile_paid_run() -> ReportData:
    """Everything that money and guardrails put on the page tries to get out."""
    twin: dict[str, object] = {
        "code": "not_bought_already", "message": HOSTILE, "facts": {"duplicate_of": HOSTILE}, "level": "error"
    }  # fmt: skip
    odd = failing(HOSTILE, HOSTILE, HOSTILE, one_of=[HOSTILE])
    gate = ReportGate(HOSTILE, HOSTILE, False, [checked(HOSTILE, HOSTILE, HOSTILE, False, one_of=[HOSTILE])])
    stop = ReportStop(HOSTILE, HOSTILE, HOSTILE, None, HOSTILE)
    items = (
        stopped(HOSTILE, reasons=[twin, odd], gates=(gate,), stop=stop),
        stopped("let go", stop=ReportStop("spend", HOSTILE, "cutout", HOSTILE, HOSTILE)),
        waiting("away", "deferred", "service_unavailable", service=HOSTILE),
    )
    money = purse(
        ItemMoney(HOSTILE, 0, 39_000, 0, HOSTILE),
        savings=(Saving(HOSTILE, 1, 39_000),),
        services=((HOSTILE, HOSTILE),),
    )
    return run_of(items, status="partial", money=money)
