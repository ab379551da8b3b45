"""Prefect artifacts of a run: before and after side by side, the table of stages, the summary in words."""

import base64
import threading
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import httpx
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException

from datasets.ledger import GateRecord
from datasets.money import MICRO, digits_of
from datasets.outputs import OutputPlace
from expectations.decisions import asked_words
from flows.money_reporting import read_money
from flows.report_money import money_rows, usd
from flows.reporting import previews
from flows.summary import ItemResult, RunSummary, stage_json
from flows.sums import Money
from tasks.context import RunContext

PICTURES_SHOWN = 12  # each is a row in Prefect's database; the report holds all of them


def publish_artifacts(run: RunContext, summary: RunSummary) -> None:
    """Show the run in the Prefect UI. Outside a flow run there is nobody to show it to."""
    if FlowRunContext.get() is None:
        return
    for item in summary.items[:PICTURES_SHOWN]:
        show_before_and_after(run, item)
    rows = [stage_json(stage) for item in summary.items for stage in item.stages]
    create_table_artifact(
        table=rows, key="stages", description="Every stage of every item, its time and its cache mark."
    )
    _gates(run)
    create_markdown_artifact(markdown=_words(summary), key="summary", description="What the run came to.")
    _money(run)


def _gates(run: RunContext) -> None:
    """What gates said, one row for each expectation that an item did not meet."""
    with run.ledger.session(run.storage.tenant, read_only=True) as session:
        records = session.gate_records(run.run_id)
    if records:
        create_table_artifact(
            table=gate_rows(records), key="gates", description="What every gate said of every item, and why."
        )


def gate_rows(records: Sequence[GateRecord]) -> list[dict[str, Any]]:
    """Rows of a table: one for each expectation that was not met, one for an item that met all."""
    rows = list[dict[str, Any]]()
    for record in records:
        said = {"item": record.item, "gate": record.gate, "decision": record.decision, "released": record.released}
        failed = [each for each in record.expectations if each["success"] is False]
        rows += [
            {**said, "failed": each["expectation"], "observed": each["observed"], "bound": asked_words(each["bound"])}
            for each in failed
        ] or [{**said, "failed": None, "observed": None, "bound": None}]
    return rows


class ProgressArtifacts:
    """A bar for every item in the Prefect UI. A server that does not answer must not stop the work."""

    def __init__(self) -> None:
        self._bars: dict[str, UUID] = {}
        self._lock = threading.Lock()

    def show(self, item: str, percent: float) -> None:
        """Move the item's bar, 0 to 100. Outside a flow run, and after many items, nothing is shown."""
        if FlowRunContext.get() is None:
            return
        try:
            with self._lock:
                self._move(item, percent)
        except (PrefectException, httpx.HTTPError):
            return

    def _move(self, item: str, percent: float) -> None:
        if item in self._bars:
            update_progress_artifact(artifact_id=self._bars[item], progress=percent)
        elif len(self._bars) < PICTURES_SHOWN:
            made = create_progress_artifact(progress=percent, key="progress", description=item)
            assert isinstance(made, UUID)
            self._bars[item] = made


def show_before_and_after(run: RunContext, item: ItemResult) -> None:
    """An item's pictures side by side, if it has both."""
    before, after, _ = previews(lambda fingerprint: OutputPlace(run.storage, fingerprint), item)
    if before is None or after is None:
        return
    cells = " | ".join(f"![{name}](data:image/webp;base64,{_base64(data)})" for name, data in
                       (("before", before), ("after", after)))  # fmt: skip
    create_markdown_artifact(
        markdown=f"| before | after |\n|---|---|\n| {cells} |\n", key="before-after", description=item.item
    )


def _money(run: RunContext) -> None:
    """What was spent, avoided by which reason, and what that comes to; nothing for runs without anything paid."""
    with run.ledger.session(run.storage.tenant, read_only=True) as session:
        items = session.items(run.run_id)
    money = read_money(run.ledger, run.storage.tenant, run.run_id, items)
    if money is not None:
        create_table_artifact(
            table=money_rows(money), key="money", description="What the run spent, and what it did not have to spend."
        )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _words(summary: RunSummary) -> str:
    lines = [f"# {summary.status}: {len(summary.items)} items by recipe `{summary.recipe}`", ""]
    for item in summary.items:
        reasons = "; ".join(reason.message for reason in item.reasons)
        lines.append(f"- **{item.item}**: {item.status}, {len(item.outputs)} files{'. ' + reasons if reasons else ''}")
    stages = [stage for item in summary.items for stage in item.stages]
    cached = sum(stage.cached for stage in stages)
    lines += [
        "",
        f"{len(stages)} stages, {cached} from the cache, {summary.seconds:.1f} s. {cost_words(summary.money)}",
    ]
    if summary.report:
        lines.append(f"Report: `{summary.report}`")
    return "\n".join(lines)


def cost_words(money: Money) -> str:
    """Spent and avoided in US dollars, exact to the last digit."""
    spent, avoided = round(money.spent * MICRO), round(money.avoided_net * MICRO)
    decimals = digits_of([spent, avoided])
    return f"Cost: {usd(spent, decimals)} USD, avoided: {usd(avoided, decimals)} USD."
