"""Gathers a run's facts into the report, at the end of a run or later from ledger and store."""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from pathlib import Path

from datasets.errors import NotFoundError, OutputDamagedError, OutputIncompleteError
from datasets.ledger import ItemRecord, Ledger, OutputRecord, RunRecord, StageRecord
from datasets.outputs import OutputPlace, read_manifest
from datasets.storage import Storage, write_atomically
from flows.gate_reporting import Guarded, guarded
from flows.money_reporting import read_money
from flows.report import ReportData, ReportItem, ReportStage, render_report
from flows.report_models import report_choices
from flows.summary import ItemResult, RunSummary
from tasks.context import RunContext
from tasks.intake import PREVIEW

LARGEST_SHOWN = 1 << 20  # bytes
SHOWN_FIRST = ("poster", "placed", "rendered", "packshot", "composed", "restored", "cutout", "enlarged", "thumbnail")
CATALOGUE = "catalogue"  # the flow whose items are too many to show them all
VIDEO = "video"  # the flow whose items are clips
FindPlace = Callable[[str], OutputPlace]


def write_report(run: RunContext, summary: RunSummary, folder: Path) -> RunSummary:
    """Write ``report.html`` beside the results and note its path in the summary; without a place it is left out."""
    path = folder / "report.html"
    try:
        write_atomically(path, page(run.ledger, run.storage, run.run_id, path))
    except OSError:
        return summary  # a full disk must not turn delivered pictures into a failed run
    return replace(summary, report=str(path))


def page(ledger: Ledger, storage: Storage, run_id: str, path: Path) -> bytes:
    """The report of a run as it is to lie at a path.

    Raises:
        NotFoundError: The ledger knows no such run.
    """
    with ledger.session(storage.tenant, read_only=True) as session:
        record = session.find_run(run_id)
    if record.flow == CATALOGUE:
        from flows.catalogue_report import catalogue_page

        return catalogue_page(ledger, storage, record, path)
    data = gather(ledger, storage, record.run_id, path)
    if record.flow != VIDEO:
        return render_report(data).encode()
    clips = _clips(ledger, storage, record, data, path)
    return render_report(replace(data, items=()), clips).encode()


def _clips(ledger: Ledger, storage: Storage, record: RunRecord, data: ReportData, path: Path) -> list[str]:
    from flows.clip_reporting import clip_report
    from flows.report_clips import clip_section

    with ledger.session(storage.tenant, read_only=True) as session:
        items, stages = session.items(record.run_id), session.stages(record.run_id)
        outputs = session.outputs(record.run_id)
    return [
        clip_section(
            clip_report(
                lambda fingerprint: OutputPlace(storage, fingerprint),
                item,
                [stage for stage in stages if stage.item == item.item],
                [output for output in outputs if output.item == item.item],
                path,
                status=shown.status,
                bars=[bar for bar in data.stages if bar.item == item.item],
                files=shown.outputs,
            ),
            number,
        )
        for number, (item, shown) in enumerate(zip(items, data.items, strict=True), start=1)
    ]


def gather(ledger: Ledger, storage: Storage, run_id: str, path: Path) -> ReportData:
    """Everything the report shows, from ledger and store.

    Raises:
        NotFoundError: The ledger knows no such run.
    """
    with ledger.session(storage.tenant) as session:
        record = session.find_run(run_id)
        items, stages = session.items(record.run_id), session.stages(record.run_id)
        chosen = session.choices(record.run_id)
        outputs, gates = session.outputs(record.run_id), session.gate_records(record.run_id)
        holds = {item.item: session.held(item=item.item) for item in items if item.status == "stopped"}
    find = lambda fingerprint: OutputPlace(storage, fingerprint)  # noqa: E731 - a one-line factory
    return ReportData(
        run_id=record.run_id,
        status=record.status,
        recipe=record.recipe,
        started_at=record.started_at,
        seconds=run_seconds(record),
        version=record.version or installed_version("stillmotion"),
        models=_models(stages),
        items=tuple(
            _item(
                find,
                item.item,
                item.source,
                item.status or record.status,
                list(item.reasons or []),
                [stage for stage in stages if stage.item == item.item],
                [output for output in outputs if output.item == item.item],
                path,
                guarded(
                    storage,
                    item,
                    [gate for gate in gates if gate.item == item.item],
                    [stage for stage in stages if stage.item == item.item],
                    holds.get(item.item, []),
                ),
            )
            for item in items
        ),
        stages=tuple(report_stage(stage) for stage in stages),
        command=_command(record),
        choices=report_choices(chosen),
        money=read_money(ledger, storage.tenant, record.run_id, items),
    )


def report_item(
    find: FindPlace, item: ItemRecord, stages: list[StageRecord], outputs: list[OutputRecord], path: Path
) -> ReportItem:
    """An item that no gate has anything to say of."""
    reasons = list(item.reasons or [])
    return _item(find, item.item, item.source, item.status or "", reasons, stages, outputs, path, Guarded())


def _item(
    find: FindPlace,
    item: str,
    source: str,
    status: str,
    reasons: list[dict[str, object]],
    stages: list[StageRecord],
    outputs: list[OutputRecord],
    path: Path,
    guards: Guarded,
) -> ReportItem:
    before = _preview(find, next((stage.fingerprint for stage in stages if stage.stage == "intake"), None))
    shown = min(outputs, key=lambda output: _rank(output.role), default=None)
    after = _preview(find, shown.fingerprint if shown else None, str(shown.extra.get("stored", "")) if shown else "")
    return ReportItem(
        item=item,
        source=source,
        status=status,
        reasons=reasons,
        before=before,
        after=guards.measured if guards.stop else after,
        after_role=shown.role if shown and after else None,
        outputs=[_output(output, path) for output in outputs],
        gates=guards.gates,
        stop=guards.stop,
    )


def _output(output: OutputRecord, path: Path) -> dict[str, object]:
    return {
        "role": output.role,
        "path": os.path.relpath(output.path, path.parent),
        "sha256": output.sha256,
        "width": output.width,
        "height": output.height,
        "bytes": output.bytes,
        "format": output.format,
    }


def report_stage(stage: StageRecord) -> ReportStage:
    """A stage as the page shows it."""
    return ReportStage(
        item=stage.item,
        stage=stage.stage,
        model=stage.model,
        seconds=stage.seconds,
        cached=stage.cached,
        chunks=stage.chunks,
        skipped=stage.skipped,
        peak_memory_bytes=stage.peak_memory_bytes,
        device=stage.device or "cpu",
    )


def previews(find: FindPlace, item: ItemResult) -> tuple[bytes | None, bytes | None, str | None]:
    """Small pictures of an item before and after, and the role of the second."""
    before = _preview(find, item.stages[0].picture.fingerprint if item.stages else None)
    shown = min(item.outputs, key=lambda output: _rank(output.file.role), default=None)
    after = _preview(find, shown.file.fingerprint if shown else None, shown.file.stored if shown else "")
    return before, after, shown.file.role if shown else None


def _rank(role: str) -> int:
    """A role's place in ``SHOWN_FIRST``; those that are not there come last."""
    return SHOWN_FIRST.index(role) if role in SHOWN_FIRST else len(SHOWN_FIRST)


def _preview(find: FindPlace, fingerprint: str | None, stored: str = "") -> bytes | None:
    """The preview that a stage left, or the picture it made; None where it is gone, or too large to be shown small."""
    return None if fingerprint is None else stored_preview(find(fingerprint), stored)


def stored_preview(place: OutputPlace, stored: str = "") -> bytes | None:
    """The preview in an output, or the file of that name where it is small; None where there is neither."""
    try:
        files = read_manifest(place).files
        name = PREVIEW if PREVIEW in files else stored
        return place.read_file(name, files[name]) if name in files and files[name].bytes <= LARGEST_SHOWN else None
    except (OutputIncompleteError, OutputDamagedError, NotFoundError):
        return None


def _models(stages: list[StageRecord]) -> dict[str, str]:
    return {stage.stage: stage.model for stage in stages if stage.model}


def run_seconds(record: RunRecord) -> float:
    """How long a run took, or has taken so far."""
    ended: datetime = record.finished_at or datetime.now(UTC)
    return (ended - record.started_at).total_seconds()


def _command(record: RunRecord) -> str | None:
    command = record.parameters.get("command")
    return str(command) if command else None
