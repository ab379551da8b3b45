"""Shows a catalogue run: its progress by batches, its report, its artifacts in the Prefect UI."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.context import FlowRunContext

from datasets.storage import write_atomically
from flows.artifacts import cost_words, show_before_and_after
from flows.catalogue_summary import CatalogueSummary
from flows.catalogue_tally import Tally
from flows.reporting import page
from tasks.context import RunContext
from tasks.progress import Progress

ROWS = "rows"


class BatchProgress:
    """Tells a display of batches that are through; stages of single rows would be too many lines."""

    def __init__(self, inner: Progress) -> None:
        self._inner = inner

    def expect(self, stages: int) -> None:
        """How many batches there will be."""
        self._inner.expect(stages)

    def started(self, item: str, stage: str) -> None: ...

    def advanced(self, item: str, stage: str, done: int, total: int) -> None: ...

    def finished(self, item: str, stage: str, *, seconds: float, cached: bool, skipped: str | None) -> None:
        if stage == ROWS:
            self._inner.finished(item, stage, seconds=seconds, cached=cached, skipped=skipped)

    def dropped(self, item: str, stages: int) -> None: ...

    def again(self, item: str, stages: int) -> None: ...

    def noted(self, message: str) -> None:
        self._inner.noted(message)


def show_catalogue(run: RunContext, summary: CatalogueSummary, tally: Tally, folder: Path) -> CatalogueSummary:
    """Write the report beside the results, and artifacts for Prefect's UI. What was delivered does not hang on them."""
    path = folder / "report.html"
    try:
        write_atomically(path, page(run.ledger, run.storage, run.run_id, path))
    except OSError:
        return summary
    summary = replace(summary, report=str(path))
    if FlowRunContext.get() is not None:
        _artifacts(run, summary, tally)
    return summary


def _artifacts(run: RunContext, summary: CatalogueSummary, tally: Tally) -> None:
    for result in tally.shown:
        show_before_and_after(run, result)
    changes = [{"change": change, "products": count} for change, count in summary.changes.items()]
    create_table_artifact(table=changes, key="changes", description="What changed since the last run.")
    stages = [
        {"stage": name, "computed": count, "seconds": round(tally.stage_seconds.get(name, 0.0), 3)}
        for name, count in summary.executed.items()
    ]
    create_table_artifact(table=stages, key="stages", description="What was computed, and how long it took in all.")
    failed = [{"line": row["line"], "sku": row["sku"], "why": _why(row)} for row in summary.failed]
    if failed:
        create_table_artifact(table=failed, key="failed", description="Rows that failed, a hundred at most.")
    create_markdown_artifact(markdown=_words(summary), key="summary", description="What the run came to.")


def _why(row: Mapping[str, object]) -> str:
    reasons = row["reasons"]
    assert isinstance(reasons, list)
    return "; ".join(f"{reason['message']} [{reason['code']}]" for reason in reasons)


def _words(summary: CatalogueSummary) -> str:
    told = ", ".join(f"{count} {change}" for change, count in summary.changes.items()) or "no rows"
    lines = [
        f"# {summary.status}: {summary.catalogue} by recipe `{summary.recipe}`",
        "",
        f"{summary.rows} rows: {told}.",
    ]
    lines += [f"- **{reason['level']}**: {reason['message']}" for reason in summary.reasons]
    lines += ["", f"{summary.redone} products were made anew in {summary.seconds:.1f} s. {cost_words(summary.money)}"]
    paths = (("Manifest", summary.manifest), ("Changes", summary.changes_file), ("Report", summary.report))
    return "\n".join([*lines, *(f"{name}: `{path}`  " for name, path in paths if path)])
