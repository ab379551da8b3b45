"""What commands say in words."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.money import dollars
from flows.report import counted
from flows.summary import ItemResult, RunSummary

if TYPE_CHECKING:
    from datasets.ledger import Approval

HEADLINES = {
    "delivered": "everything delivered",
    "partial": "delivered, except what was stopped or deferred",
    "failed": "something failed",
    "unreadable": "not one of the inputs could be read",
    "planned": "nothing was computed; this is what would be",
    "paused": "paused before money is spent",
    "interrupted": "interrupted",
}


def describe(summary: RunSummary) -> Iterator[str]:
    """A run in a few lines: what was made, what went wrong, where the report is."""
    cached = sum(stage.cached for item in summary.items for stage in item.stages)
    stages = sum(len(item.stages) for item in summary.items)
    yield ""
    for item in summary.items:
        yield from _item(item)
    yield ""
    headline = HEADLINES.get(summary.status, summary.status)
    counts = f"{counted(len(summary.items), _kind(summary))}, {counted(stages, 'stage')}, {cached} from the cache"
    yield f"{headline}: {counts}, {summary.seconds:.1f} s"
    if summary.report:
        yield f"report: {short(Path(summary.report))}"
        yield f"run:    {summary.run_id}"
    if summary.approval is not None:
        yield from how_to_approve(summary.run_id, summary.approval)


def how_to_approve(run_id: str, asked: "Approval") -> Iterator[str]:
    """What a paused run asks for, and what a human says to it."""
    amount = dollars(asked.asked_micro_usd, 2)
    yield f"it asks for {counted(asked.purchases, 'purchase')} of {amount} USD at most; nothing was spent on them yet"
    yield f"  stillmotion approve {run_id[:8]}             # yes; --budget USD: as many as that pays for"
    yield f"  stillmotion approve {run_id[:8]} --reject    # no: nothing is bought"
    yield "then the same command goes on with this run"


def _kind(summary: RunSummary) -> str:
    stages = {stage.stage.split("+")[0] for item in summary.items for stage in item.stages}
    return "clip" if "decode" in stages else "picture" if stages else "item"


def _item(item: ItemResult) -> Iterator[str]:
    yield f"{item.item}: {item.status}"
    for reason in item.reasons:
        yield f"  {reason.level}: {reason.message} [{reason.code}]"
    for output in item.outputs:
        file = output.file
        yield f"  {file.role:<13} {file.width:>5} x {file.height:<5} {size(file.bytes):>9}  {short(output.path)}"


def size(count: int) -> str:
    """A number of bytes as people read it."""
    value, unit = float(count), "B"
    for larger in ("KB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def short(path: Path) -> str:
    """A path as seen from here, where that is shorter."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def table(headings: Iterable[str], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """Left-aligned columns as wide as their widest entry."""
    lines = [[str(cell) for cell in row] for row in (tuple(headings), *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
