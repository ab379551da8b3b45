"""Prefect artifacts of a run: before and after side by side, the table of stages, the summary in words."""

import base64

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.context import FlowRunContext

from datasets.outputs import OutputPlace
from flows.reporting import previews
from flows.summary import ItemResult, RunSummary, stage_json
from tasks.context import RunContext

PICTURES_SHOWN = 12  # each is a row in Prefect's database; the report holds all of them


def publish_artifacts(run: RunContext, summary: RunSummary) -> None:
    """Show the run in the Prefect UI. Outside a flow run there is nobody to show it to."""
    if FlowRunContext.get() is None:
        return
    for item in summary.items[:PICTURES_SHOWN]:
        _picture(run, item)
    rows = [stage_json(stage) for item in summary.items for stage in item.stages]
    create_table_artifact(
        table=rows, key="stages", description="Every stage of every item, its time and its cache mark."
    )
    create_markdown_artifact(markdown=_words(summary), key="summary", description="What the run came to.")


def _picture(run: RunContext, item: ItemResult) -> None:
    before, after, _ = previews(lambda fingerprint: OutputPlace(run.storage, fingerprint), item)
    if before is None or after is None:
        return
    cells = " | ".join(f"![{name}](data:image/webp;base64,{_base64(data)})" for name, data in
                       (("before", before), ("after", after)))  # fmt: skip
    create_markdown_artifact(
        markdown=f"| before | after |\n|---|---|\n| {cells} |\n", key="before-after", description=item.item
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
    lines += ["", f"{len(stages)} stages, {cached} from the cache, {summary.seconds:.1f} s. Cost: 0.00 USD."]
    if summary.report:
        lines.append(f"Report: `{summary.report}`")
    return "\n".join(lines)
