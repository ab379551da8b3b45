"""Scheduled runs that nobody started: the ledger lists them, too, so that whoever looks there misses none."""

from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateName,
)
from prefect.client.schemas.objects import FlowRun

from datasets.ledger import Ledger, RunRecord
from datasets.redaction import redact_all

FLOWS = ["product", "video", "catalogue", "upkeep"]
TENANT_TAG = "tenant:"  # of a deployment, and so of its runs; one without is whoever's looks first
MOST = 200


def note_late_runs(client: SyncPrefectClient, ledger: Ledger, tenant: str) -> list[str]:
    """Write late runs of the tenant down that the ledger does not know; begun, they are overwritten.

    Returns:
        Their ids.
    """
    ours = FlowFilter(name=FlowFilterName(any_=FLOWS))
    is_late = FlowRunFilter(state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Late"])))
    late = client.read_flow_runs(flow_filter=ours, flow_run_filter=is_late, limit=MOST)
    if not late:
        return []
    names = {flow.id: flow.name for flow in client.read_flows(flow_filter=ours)}
    records = [_record(run, names[run.flow_id]) for run in _of_tenant(late, tenant) if run.flow_id in names]
    with ledger.session(tenant) as session:
        return [record.run_id for record in records if session.note_run(record)]


def _of_tenant(flow_runs: list[FlowRun], tenant: str) -> Iterator[FlowRun]:
    for run in flow_runs:
        tagged = [tag.removeprefix(TENANT_TAG) for tag in run.tags or () if tag.startswith(TENANT_TAG)]
        if not tagged or tenant in tagged:
            yield run


def _record(run: FlowRun, flow: str) -> RunRecord:
    parameters: dict[str, Any] = (run.parameters or {}).get("order") or {}
    recipe = parameters.get("recipe")
    due = run.expected_start_time or datetime.now(UTC)
    return RunRecord(
        run_id=str(run.id),
        flow_run_id=str(run.id),
        flow=flow,
        recipe=recipe if isinstance(recipe, str) else "own",
        parameters=redact_all(parameters),
        status="late",
        started_at=due,
        finished_at=None,
        heartbeat_at=due,
        host="",
        pid=0,
        version=installed_version("stillmotion"),
        purpose=str(parameters.get("purpose") or "commercial"),
        summary={"message": f"due {due:%Y-%m-%d %H:%M:%S} UTC and not started"},
    )
