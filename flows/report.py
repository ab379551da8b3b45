"""The run report: one HTML file that holds everything it shows, and asks for nothing from outside."""

import base64
import hashlib
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from io import BytesIO
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image, UnidentifiedImageError

from flows.report_gates import EndView, GateView, ReportGate, ReportStop, end_view, fault_of, gate_views
from flows.report_models import ReportChoice
from flows.report_money import ItemMoney, ReportMoney, cost_words, money_view

OPEN_ITEMS = 12  # about as many as a reader scrolls through; the rest is collapsed
INDEX_FROM = 4  # fewer items than this are seen at a glance
FILTER_FROM = 13  # as soon as items are collapsed, looking for one needs help
DIGEST_SHOWN = 12  # hexadecimal digits, 48 bits: enough to compare by eye
MIME_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
BOXES = {"1-1": 1.0, "4-3": 4 / 3, "3-2": 3 / 2, "16-9": 16 / 9}  # a taller one would not fit a screen

# Surrogates cannot be encoded, control characters cannot be seen, and directional overrides make a name read
# as another one. None of them means anything in a report.
UNSHOWABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

RUN_WORDS = {
    "delivered": "Everything was delivered.",
    "partial": "Delivered, except for items that were stopped by a guardrail or put off by a budget.",
    "failed": "Something failed. What could be delivered was delivered.",
    "unreadable": "None of the inputs could be read as a picture.",
    "running": "The run had not ended when this report was written.",
    "crashed": "The run ended without finishing. Run it again: finished stages come from the cache.",
    "cancelled": "The run was cancelled. Run it again to go on: finished stages come from the cache.",
    "interrupted": "The run was interrupted. Run it again to go on: finished stages come from the cache.",
}
TONES = {"delivered": "good", "failed": "bad", "unreadable": "bad", "crashed": "bad"}
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
ITEM_ORDER = ("delivered", "held", "deferred", "stopped", "failed")


@dataclass(frozen=True)
class ReportItem:
    """One item of a run.

    Args:
        reasons: ``{code, message, facts, level}`` each, ``level`` being ``warning`` or ``error``.
        before: An encoded small picture (WebP, PNG or JPEG) of the source, or None.
        after: The same of the result, or None.
        after_role: Which of the outputs ``after`` shows.
        outputs: ``{role, path, sha256, width, height, bytes, format}`` each, ``path`` relative to the report's folder.
        gates: What gates said of it.
        stop: How it may go on, of a stopped item; ``after`` is then what was looked at and is not published.
    """

    item: str
    source: str
    status: str
    reasons: list[dict[str, object]]
    before: bytes | None
    after: bytes | None
    after_role: str | None
    outputs: list[dict[str, object]]
    gates: tuple[ReportGate, ...] = ()
    stop: ReportStop | None = None


@dataclass(frozen=True)
class ReportStage:
    """One stage of one item: what it took, or why it was skipped."""

    item: str
    stage: str
    model: str | None
    seconds: float
    cached: bool
    chunks: int
    skipped: str | None
    peak_memory_bytes: int | None
    device: str


@dataclass(frozen=True)
class ReportData:
    """Everything that the report shows. ``models`` maps a stage to its model; ``started_at`` knows its time zone.

    ``money`` is None for runs that had nothing to do with money.
    """

    run_id: str
    status: str
    recipe: str
    started_at: datetime
    seconds: float
    version: str
    models: dict[str, str]
    items: tuple[ReportItem, ...]
    stages: tuple[ReportStage, ...]
    command: str | None
    money: ReportMoney | None = None
    choices: tuple[ReportChoice, ...] = ()


@dataclass(frozen=True)
class Picture:
    """A preview as the page holds it, with its size in pixels. ``clear``: parts of it may be transparent."""

    uri: Markup
    width: int
    height: int
    clear: bool

    def fills(self, box: str) -> str:
        """Whether the picture reaches the sides of the box (``across``) or its top and bottom (``upright``)."""
        return "across" if self.width / self.height >= BOXES[box] else "upright"


@dataclass(frozen=True)
class Bar:
    """A stage with the length of its time bar, 0..100 of the longest."""

    stage: ReportStage
    percent: float


@dataclass(frozen=True)
class ItemView:
    """An item as the template wants it."""

    number: int
    item: ReportItem
    errors: list[dict[str, object]]
    warnings: list[dict[str, object]]
    bars: list[Bar]
    seconds: float
    before: Picture | None
    after: Picture | None
    box: str
    end: EndView | None
    gates: list[GateView]
    cost: str


@dataclass(frozen=True)
class StageTotal:
    """A stage summed over all items. Runs that were skipped count only as skipped."""

    stage: str
    runs: int
    cached: int
    skipped: int
    seconds: float
    longest: float
    percent: float
    peak_memory_bytes: int | None
    devices: str


def render_report(data: ReportData, clips: Sequence[str] = ()) -> str:
    """The report of a run as one HTML page: style, script and pictures inside, no request to anywhere.

    ``clips`` are sections of ``flows.report_clips.clip_section``; their videos are files beside the page.

    Names and messages are taken as hostile: all of it is escaped, and the page's content security policy lets
    nothing run but the page's own script, named by its SHA-256 digest (W3C, Content Security Policy Level 3).
    """
    more = ["clips"] if clips else []
    style = "".join(page_part(f"{name}.css") for name in ("report", "guards", *more))
    script = "".join(page_part(f"{name}.js") for name in ("report", *more))
    page = environment().get_template("report.html.j2").render(
        run=data,
        style=Markup(style),  # noqa: S704 - the page's own, hashed into its policy
        script=Markup(script),  # noqa: S704
        policy=content_policy(style, script, media=bool(clips)),
        clips=[Markup(clip) for clip in clips],  # noqa: S704 - escaped where they were made
        headline=headline(data.items) if data.items or not clips else counted(len(clips), "clip"),
        words=RUN_WORDS.get(data.status, ""),
        shares=shares(data.items),
        items=views(data),
        money=money_view(data.money) if data.money else None,
        numbers={item.item: number for number, item in enumerate(data.items, start=1)},
        totals=stage_totals(data.stages),
        ran=sum(stage.skipped is None for stage in data.stages),
        cached=sum(stage.cached for stage in data.stages),
        open_items=OPEN_ITEMS,
        index=len(data.items) >= INDEX_FROM,
        filters=len(data.items) >= FILTER_FROM,
    )  # fmt: skip
    return UNSHOWABLE.sub("\N{REPLACEMENT CHARACTER}", page)


def content_policy(style: str, script: str, *, media: bool = False) -> str:
    """A policy that allows pictures inside the page, this style, this script, videos beside it, and nothing else."""
    videos = "media-src 'self' file: data:; " if media else ""
    return (
        f"default-src 'none'; img-src data:; {videos}style-src '{_source_hash(style)}'; "
        f"script-src '{_source_hash(script)}'; base-uri 'none'; form-action 'none'"
    )


def headline(items: Sequence[ReportItem]) -> str:
    """What became of a run, counted: ``13 pictures, 12 delivered, 1 failed``."""
    if not items:
        return "No pictures"
    counts = ", ".join(f"{count} {status}" for status, count in shares(items))
    return f"{counted(len(items), 'picture')}, {counts}"


def shares(items: Sequence[ReportItem]) -> list[tuple[str, int]]:
    """How many items have which status, the good ones first."""
    counts = Counter(item.status for item in items)
    return [(name, counts.pop(name)) for name in ITEM_ORDER if name in counts] + sorted(counts.items())


def stage_totals(stages: Iterable[ReportStage]) -> list[StageTotal]:
    """Time, cache marks and memory summed by stage, in the order in which the stages first appear."""
    groups: dict[str, list[ReportStage]] = {}
    for stage in stages:
        groups.setdefault(stage.stage, []).append(stage)
    longest = max((sum(stage.seconds for stage in group) for group in groups.values()), default=0.0)
    return [_total(name, group, longest) for name, group in groups.items()]


def _total(name: str, group: list[ReportStage], longest: float) -> StageTotal:
    ran = [stage for stage in group if stage.skipped is None]
    seconds = sum(stage.seconds for stage in group)
    return StageTotal(
        stage=name,
        runs=len(ran),
        cached=sum(stage.cached for stage in ran),
        skipped=len(group) - len(ran),
        seconds=seconds,
        longest=max((stage.seconds for stage in ran), default=0.0),
        percent=percent(seconds, longest),
        peak_memory_bytes=max((stage.peak_memory_bytes for stage in ran if stage.peak_memory_bytes), default=None),
        devices=", ".join(sorted({stage.device for stage in ran})),
    )


def views(data: ReportData) -> list[ItemView]:
    """The items as the template wants them."""
    stages: dict[str, list[ReportStage]] = {}
    for stage in data.stages:
        stages.setdefault(stage.item, []).append(stage)
    costs = {each.item: each for each in data.money.items} if data.money else {}
    return [
        _view(number, item, stages.get(item.item, []), data.money, costs.get(item.item))
        for number, item in enumerate(data.items, start=1)
    ]


def _view(
    number: int, item: ReportItem, own: Sequence[ReportStage], money: ReportMoney | None, cost: ItemMoney | None
) -> ItemView:
    longest = max((stage.seconds for stage in own), default=0.0)
    before, after = picture(item.before), picture(item.after)
    box = box_for([picture.width / picture.height for picture in (before, after) if picture])
    errors = [reason for reason in item.reasons if reason.get("level") == "error"]
    end = end_view(item.status, errors, item.stop, cost.paid if cost else 0)
    return ItemView(
        number=number,
        item=item,
        errors=[] if end else errors,
        warnings=[reason for reason in item.reasons if reason.get("level") != "error"],
        bars=[Bar(stage, percent(stage.seconds, longest)) for stage in own],
        seconds=sum(stage.seconds for stage in own),
        before=before,
        after=after,
        box=box,
        end=end,
        gates=gate_views(item.gates),
        cost=cost_words(cost, money.decimals) if cost and money else "",
    )


def box_for(ratios: Sequence[float]) -> str:
    """The box shape that wastes least room on pictures with these aspect ratios (width / height)."""
    middle = math.exp(sum(math.log(ratio) for ratio in ratios) / len(ratios)) if ratios else BOXES["4-3"]
    return min(BOXES, key=lambda name: abs(math.log(BOXES[name] / middle)))


def picture(data: bytes | None) -> Picture | None:
    """The preview as a data URI, or None for bytes that no browser would show."""
    if not data:
        return None
    try:
        with Image.open(BytesIO(data), formats=tuple(MIME_TYPES)) as image:
            mime, (width, height) = MIME_TYPES[image.format or ""], image.size
            clear = image.has_transparency_data
    except (UnidentifiedImageError, OSError, KeyError):
        return None
    uri = Markup(f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}")  # noqa: S704
    return Picture(uri, width, height, clear)


@cache
def page_part(name: str) -> str:
    """A style or script of pages."""
    return files("flows.templates").joinpath(name).read_text(encoding="utf-8")


def _source_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


@cache
def environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("flows", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        duration=duration, size=human_size, fault=fault_of, day=day, clock=clock, link=relative_link, counted=counted,
        words=in_words, model=model_words,
    )  # fmt: skip
    environment.globals.update(tone=tone, digest_shown=DIGEST_SHOWN)
    return environment


def tone(status: str) -> str:
    """The colour family of a status: ``good``, ``bad`` or ``mild``."""
    return TONES.get(status, "mild")


def in_words(name: str) -> str:
    """A role or stage as a reader says it: ``contact_sheet`` becomes ``contact sheet``."""
    return name.replace("_", " ")


def model_words(names: str) -> str:
    """The models of a stage, joined by ``+``; where all of them are embedded it says that no weights are needed."""
    embedded = all(name.startswith("embedded") for name in names.split(" + "))
    return f"{names} (built in, needs no weights)" if embedded else names


def counted(number: int, noun: str) -> str:
    """``1 picture``, ``2 pictures``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(seconds: float) -> str:
    """A time for people: ``240 ms``, ``4.2 s``, ``2 min 05 s``, ``1 h 02 min``."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def human_size(number: float) -> str:
    """A number of bytes in decimal units, as file managers show it: ``512 B``, ``1.5 kB``, ``12.3 MB``."""
    if number < 1000:
        return f"{number:.0f} B"
    for unit in ("kB", "MB", "GB"):
        number /= 1000
        if number < 999.95:
            return f"{number:.1f} {unit}"
    return f"{number / 1000:.1f} TB"


def day(when: datetime) -> str:
    """``21 November 2026``."""
    return f"{when.day} {MONTHS[when.month - 1]} {when.year}"


def clock(when: datetime) -> str:
    """``03:04 UTC``."""
    return f"{when:%H:%M %Z}".strip()


def relative_link(path: str) -> str:
    """A path as a relative reference, percent-encoded (RFC 3986).

    It starts with ``./`` or ``../``, so that no name is read as a scheme or as a host.
    """
    encoded = quote(path.replace(os.sep, "/"), safe="/", errors="surrogateescape")
    return encoded if encoded.startswith("../") else f"./{encoded}"


def percent(part: float, whole: float) -> float:
    return round(100 * part / whole, 1) if whole > 0 else 0.0
