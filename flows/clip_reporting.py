"""Gathers what the report shows of a run's clips, from ledger and store."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from datasets.errors import NotFoundError, OutputDamagedError, OutputIncompleteError
from datasets.ledger import ItemRecord, OutputRecord, StageRecord
from datasets.outputs import Manifest, OutputPlace, StoredFile, read_manifest
from flows.report import ReportStage
from flows.report_clips import ClipMeasures, ClipReport
from tasks import clip_measures

FindPlace = Callable[[str], OutputPlace]
UNREADABLE = (OutputIncompleteError, OutputDamagedError, NotFoundError)
Facts = Mapping[str, object]


def clip_report(
    find: FindPlace,
    item: ItemRecord,
    stages: Sequence[StageRecord],
    outputs: Sequence[OutputRecord],
    path: Path,
    *,
    status: str,
    bars: Sequence[ReportStage],
    files: Sequence[dict[str, object]],
) -> ClipReport:
    """One clip of a run.

    Args:
        find: Where the output of a fingerprint lies.
        path: The report's own place; others are told relative to it.
        status: The item's, or the run's while the item has none.
        bars: Its stages as the page shows them.
        files: Its delivered files as the page lists them.
    """
    source = _manifest(find, next((stage.fingerprint for stage in stages if stage.stage == "decode"), None))
    clip = next((output for output in outputs if output.role == "clip"), None)
    made = _manifest(find, clip.fingerprint if clip else None)
    measures, shots = _measures(find, source)
    return ClipReport(
        item=item.item,
        source=item.source,
        status=status,
        reasons=list(item.reasons or []),
        before=os.path.relpath(item.source, path.parent) if clip else None,
        after=os.path.relpath(clip.path, path.parent) if clip else None,
        poster=_file(find, outputs, "poster"),
        contact_sheet=_file(find, outputs, "contact_sheet"),
        width=clip.width if clip else 16,
        height=clip.height if clip else 9,
        measures=measures,
        shots=shots,
        facts=_facts(source.facts if source else {}, made.facts if made else {}, item, clip),
        outputs=files,
        stages=bars,
    )


def _manifest(find: FindPlace, fingerprint: str | None) -> Manifest | None:
    if fingerprint is None:
        return None
    try:
        return read_manifest(find(fingerprint))
    except UNREADABLE:
        return None


def _measures(find: FindPlace, source: Manifest | None) -> tuple[ClipMeasures | None, list[tuple[int, int]]]:
    if source is None or clip_measures.MEASURES not in source.files:
        return None, []
    try:
        held = clip_measures.ClipMeasures.load(find(source.fingerprint), source.files)
    except UNREADABLE:
        return None, []
    frames = held.frames
    shown = ClipMeasures(held.times_s, frames.luma_mean, frames.sharpness, frames.difference)
    return shown, clip_measures.shots(held.cuts, len(frames))


def _file(find: FindPlace, outputs: Sequence[OutputRecord], role: str) -> bytes | None:
    output = next((output for output in outputs if output.role == role), None)
    if output is None:
        return None
    stored = str(output.extra.get("stored", ""))
    try:
        return find(output.fingerprint).read_file(stored, StoredFile(output.sha256, output.bytes))
    except UNREADABLE:
        return None


def _facts(before: Facts, after: Facts, item: ItemRecord, clip: OutputRecord | None) -> list[tuple[str, str, str]]:
    """The table of what the clip was and is."""
    source = before.get("source")
    came: Facts = source if isinstance(source, dict) else {}
    shown = after.get("shown")
    size = f"{shown[0]} × {shown[1]}" if isinstance(shown, list) else ""
    return [
        ("Size", f"{came['width']} × {came['height']}" if "width" in came else "", size),
        ("Frames", _text(before, "frames"), _text(after, "frames")),
        ("Frames per second", _number(came, "fps"), _number(after, "fps")),
        ("Seconds", _number(before, "seconds"), _number(after, "seconds")),
        ("Codec", _text(came, "codec"), _text(after, "codec")),
        ("Container", _text(came, "container"), _text(after, "container")),
        ("Pixels", _text(came, "pixel_format"), _text(after, "pixel_format")),
        ("Shots", str(len(_list(before, "cuts")) + 1) if before else "", ""),
        ("Bytes", _bytes(item.source), f"{clip.bytes:,}" if clip else ""),
    ]


def _bytes(path: str) -> str:
    try:
        return f"{Path(path).stat().st_size:,}"
    except OSError:
        return ""


def _text(facts: Facts, name: str) -> str:
    return str(facts.get(name, "") or "")


def _list(facts: Facts, name: str) -> list[object]:
    value = facts.get(name)
    return value if isinstance(value, list) else []


def _number(facts: Facts, name: str) -> str:
    value = facts.get(name)
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, int | float) else ""
