"""The report of a catalogue run: counts and failures first, a few pictures; it does not grow with the table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from datasets.ledger import Ledger, RunRecord
from datasets.ledger.run_sums import StageSum
from datasets.outputs import OutputPlace
from datasets.storage import Storage
from flows.money import money_of_run
from flows.report import (
    OPEN_ITEMS,
    RUN_WORDS,
    UNSHOWABLE,
    ReportData,
    StageTotal,
    content_policy,
    counted,
    environment,
    page_part,
    percent,
    views,
)
from flows.reporting import report_item, report_stage, run_seconds

SHOWN = 12  # pictures
GOOD, BAD = ("added", "changed", "unchanged", "recovered"), ("failed",)
ORDER = ("failed", "added", "changed", "recovered", "retired", "stopped", "deferred", "held", "unchanged")


def catalogue_page(ledger: Ledger, storage: Storage, run: RunRecord, path: Path) -> bytes:
    """The report of a catalogue run as it is to lie at a path."""
    data = _gather(ledger, storage, run, path)
    with ledger.session(storage.tenant, read_only=True) as session:
        sums = session.stage_sums(run.run_id)
    summary: Mapping[str, Any] = run.summary or {}
    style, script = "".join(page_part(f"{name}.css") for name in ("report", "guards")), page_part("report.js")
    page = environment().get_template("catalogue.html.j2").render(
        run=data,
        style=Markup(style),  # noqa: S704 - the page's own, hashed into its policy
        script=Markup(script),  # noqa: S704
        policy=content_policy(style, script),
        headline=headline(summary),
        words=RUN_WORDS.get(data.status, ""),
        changes=_changes(summary),
        failed=summary.get("failed") or [],
        codes=sorted((summary.get("codes") or {}).items(), key=lambda each: (-each[1], each[0])),
        reasons=summary.get("reasons") or [],
        files=[each["name"] for each in summary.get("files") or []],
        pace=summary.get("pace") or {},
        rows=int(summary.get("rows", 0)),
        money=money_of_run(ledger, storage.tenant, run.run_id),
        items=views(data),
        totals=_totals(sums),
        open_items=OPEN_ITEMS,
    )  # fmt: skip
    return UNSHOWABLE.sub("\N{REPLACEMENT CHARACTER}", page).encode()


def headline(summary: Mapping[str, Any]) -> str:
    """What a run found, counted: ``10,000 rows, 37 changed, 5 added, 12 retired``."""
    told = [f"{each['count']:,} {each['name']}" for each in _changes(summary)]
    return ", ".join([counted_rows(int(summary.get("rows", 0))), *told])


def counted_rows(rows: int) -> str:
    return counted(rows, "row") if rows < 1000 else f"{rows:,} rows"


def _changes(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The changes in an order for readers, what failed first."""
    found = dict(summary.get("changes") or {})
    names = [name for name in ORDER if name in found] + sorted(set(found) - set(ORDER))
    tones = {**dict.fromkeys(GOOD, "good"), **dict.fromkeys(BAD, "bad")}
    return [{"name": name, "count": int(found[name]), "tone": tones.get(name, "mild")} for name in names]


def _gather(ledger: Ledger, storage: Storage, run: RunRecord, path: Path) -> ReportData:
    with ledger.session(storage.tenant, read_only=True) as session:
        items = session.some_items(run.run_id, "delivered", SHOWN)
        names = [item.item for item in items]
        stages, outputs = session.stages_of(run.run_id, names), session.outputs_of(run.run_id, names)
        sums = session.stage_sums(run.run_id)

    def find(fingerprint: str) -> OutputPlace:
        return OutputPlace(storage, fingerprint)

    command = run.parameters.get("command")
    return ReportData(
        run_id=run.run_id,
        status=run.status,
        recipe=run.recipe,
        started_at=run.started_at,
        seconds=run_seconds(run),
        version=run.version,
        models={each.stage: each.model for each in sums if each.model},
        items=tuple(
            report_item(
                find,
                item,
                [stage for stage in stages if stage.item == item.item],
                [output for output in outputs if output.item == item.item],
                path,
            )
            for item in items
        ),
        stages=tuple(report_stage(stage) for stage in stages),
        command=str(command) if command else None,
    )


def _totals(sums: list[StageSum]) -> list[StageTotal]:
    longest = max((each.seconds for each in sums), default=0.0)
    return [
        StageTotal(
            stage=each.stage,
            runs=each.runs,
            cached=each.cached,
            skipped=each.skipped,
            seconds=each.seconds,
            longest=each.longest,
            percent=percent(each.seconds, longest),
            peak_memory_bytes=each.peak_memory_bytes,
            devices=each.device or "",
        )
        for each in sums
    ]
