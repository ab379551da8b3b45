"""A clip's part of the run report: contact sheet, player of before and after, and what was measured of its frames."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from flows.report import UNSHOWABLE, Bar, Picture, ReportStage, environment, percent, picture

PLOT_WIDTH, PLOT_HEIGHT = 600, 56  # units of the drawings, stretched to the page's width
POINTS = 600  # of a line; more would lie on the same pixel
STEPS = 20_000  # frames whose times the page carries; in longer clips of uneven rate steps are the average
EVEN_S = 0.001  # by which frame times of a constant rate may differ: containers round to milliseconds
MEASURED = (
    ("luma", "Luma", "mean brightness, 0 to 255"),
    ("sharpness", "Sharpness", "variance of the Laplacian"),
    ("difference", "Difference", "to the frame before, 0 to 255"),
)


@dataclass(frozen=True)
class ClipMeasures:
    """What was measured of each frame, (T,) each, with the time at which it is shown.

    Attributes:
        times_s: Seconds from the first frame, rising.
        luma: Mean luma, 0..255.
        sharpness: Variance of the Laplacian.
        difference: Mean absolute difference to the frame before, 0..255.
    """

    times_s: NDArray[np.floating]
    luma: NDArray[np.floating]
    sharpness: NDArray[np.floating]
    difference: NDArray[np.floating]


@dataclass(frozen=True)
class ClipReport:
    """A clip of a run. All words in it may be hostile.

    Attributes:
        reasons: ``{code, message, facts, level}`` each, ``level`` being ``warning`` or ``error``.
        before: Path of the source relative to the report's folder, or None.
        after: Path of the delivered clip relative to the report's folder, or None.
        poster: An encoded small picture (WebP, PNG or JPEG), shown until the clip plays.
        contact_sheet: The same of the contact sheet.
        width: Columns of the delivered clip as it is seen.
        height: Its rows.
        measures: Of the delivered clip, or of the source where nothing was delivered.
        shots: Half open ranges of frames.
        facts: Name, value before, value after; an empty value is shown as a dash.
        outputs: ``{role, path, sha256, width, height, bytes, format}`` each, ``path`` relative to the report's folder.
    """

    item: str
    source: str
    status: str
    reasons: Sequence[dict[str, object]] = ()
    before: str | None = None
    after: str | None = None
    poster: bytes | None = None
    contact_sheet: bytes | None = None
    width: int = 16
    height: int = 9
    measures: ClipMeasures | None = None
    shots: Sequence[tuple[int, int]] = ()
    facts: Sequence[tuple[str, str, str]] = ()
    outputs: Sequence[dict[str, object]] = ()
    stages: Sequence[ReportStage] = ()


@dataclass(frozen=True)
class Plot:
    """One measure as a drawing: ``path`` is SVG path data, ``values`` JSON."""

    name: str
    title: str
    unit: str
    path: str
    values: str
    low: float
    mean: float
    high: float


@dataclass(frozen=True)
class ClipView:
    """A clip as its template wants it. ``steps`` is JSON: frame times, or their distance."""

    number: str
    item: ClipReport
    errors: list[dict[str, object]]
    warnings: list[dict[str, object]]
    bars: list[Bar]
    seconds: float
    poster: Picture | None
    sheet: Picture | None
    plots: list[Plot]
    cuts: list[float]
    steps: str


def clip_section(report: ClipReport, number: int = 1) -> str:
    """The HTML of one clip, for ``render_report(data, clips=[...])``.

    Args:
        number: Tells the clips of a page apart.
    """
    view = _view(report, number)
    html = environment().get_template("clip.html.j2").render(
        view=view, run={"models": {}}, plot_width=PLOT_WIDTH, plot_height=PLOT_HEIGHT
    )  # fmt: skip
    return UNSHOWABLE.sub("\N{REPLACEMENT CHARACTER}", html)


def _view(report: ClipReport, number: int) -> ClipView:
    longest = max((stage.seconds for stage in report.stages), default=0.0)
    measures = report.measures if report.measures is not None and len(report.measures.times_s) else None
    return ClipView(
        number=f"clip-{number}",
        item=report,
        errors=[reason for reason in report.reasons if reason.get("level") == "error"],
        warnings=[reason for reason in report.reasons if reason.get("level") != "error"],
        bars=[Bar(stage, percent(stage.seconds, longest)) for stage in report.stages],
        seconds=sum(stage.seconds for stage in report.stages),
        poster=picture(report.poster),
        sheet=picture(report.contact_sheet),
        plots=_plots(measures) if measures else [],
        cuts=_cuts(measures, report.shots) if measures else [],
        steps=_steps(measures) if measures else "{}",
    )


def _plots(measures: ClipMeasures) -> list[Plot]:
    edges = np.unique(np.linspace(0, len(measures.times_s), POINTS + 1).astype(int))
    times = _along(measures)[edges[:-1]]
    return [
        _plot(name, title, unit, np.asarray(getattr(measures, name), dtype=float), edges, times)
        for name, title, unit in MEASURED
    ]


def _plot(
    name: str, title: str, unit: str, values: NDArray[np.float64], edges: NDArray[np.int64], times: NDArray[np.float64]
) -> Plot:
    """Long clips are drawn by the highest value of each stretch, so that no cut and no flash is lost."""
    values = np.where(np.isfinite(values), values, 0.0)
    shown = np.array([values[start:end].max() for start, end in pairwise(edges)])
    low, high = min(0.0, float(shown.min())), float(shown.max())
    heights = PLOT_HEIGHT - 2 - (PLOT_HEIGHT - 4) * (shown - low) / ((high - low) or 1.0)
    points = [f"{x * PLOT_WIDTH:.1f} {y:.1f}" for x, y in zip(times, heights, strict=True)]
    pairs = [[round(float(x), 5), round(float(y), 2)] for x, y in zip(times, shown, strict=True)]
    path = f"M{'L'.join(points)}H{PLOT_WIDTH}"
    return Plot(
        name, title, unit, path, json.dumps(pairs, separators=(",", ":")),
        float(values.min()), float(values.mean()), float(values.max()),
    )  # fmt: skip


def _along(measures: ClipMeasures) -> NDArray[np.float64]:
    """Where each frame begins on the way from the first frame to the end of the last, 0..1."""
    times = np.asarray(measures.times_s, dtype=np.float64)
    return np.asarray((times - times[0]) / _length(times))


def _length(times: NDArray[np.float64]) -> float:
    last = times[-1] - times[-2] if len(times) > 1 else 1.0
    return max(float(times[-1] - times[0] + last), 1e-6)


def _cuts(measures: ClipMeasures, shots: Sequence[tuple[int, int]]) -> list[float]:
    along = _along(measures)
    return [round(float(along[start]) * PLOT_WIDTH, 1) for start, _ in shots if 0 < start < len(along)]


def _steps(measures: ClipMeasures) -> str:
    times = np.asarray(measures.times_s, dtype=np.float64)
    times = times - times[0]
    count, step = len(times), _length(times) / len(times)
    even = np.abs(times - np.arange(count) * step).max() < EVEN_S
    if even or count > STEPS:
        return json.dumps({"count": count, "step": round(step, 6)})
    return json.dumps({"times": [round(float(time), 4) for time in times], "end": round(_length(times), 4)})
