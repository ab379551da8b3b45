"""A command that is given again goes on with the run that it left paused, under the same id."""

import os
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound
from prefect.flow_engine import run_flow

from datasets.ledger import RunRecord
from datasets.ledger.processes import ORPHAN_AFTER, host_name
from datasets.ledger.session import is_gone
from datasets.ledger.tables import json_ready
from datasets.settings import Settings
from flows.opening import open_books
from flows.order import Order

TOLD = "command"  # how it was asked for says nothing about what is asked


def begin_or_go_on(flow: Any, order: Order, settings: Settings) -> State[Any]:
    """Run a flow: the paused run of the same order if there is one and its process has ended, else a new one."""
    flow_run = _adopted(order, settings) if order.approve != "none" else None
    if flow_run is None:
        state: State[Any] = flow(order, return_state=True)
        return state
    gone_on: Any = run_flow(flow, flow_run=flow_run, parameters={"order": order}, return_type="state")
    assert isinstance(gone_on, State)
    return gone_on


def _adopted(order: Order, settings: Settings) -> FlowRun | None:
    """The newest paused flow run of this order, this process's from now on."""
    storage, ledger = open_books(settings)
    with ledger.session(storage.tenant, read_only=True) as session:
        paused = [run for run in session.runs(limit=200, status="paused") if _is_same(run, order)]
    for run in paused:
        ours = (run.host, run.pid) == (host_name(), os.getpid())  # a notebook's kernel outlives its runs
        flow_run = _of_a_command(run) if ours or is_gone(run, ORPHAN_AFTER) else None
        if flow_run is None:
            continue
        with ledger.session(storage.tenant) as session:
            if session.adopt_run(run):
                return flow_run
    return None


def _is_same(run: RunRecord, order: Order) -> bool:
    asked = json_ready(order.model_dump(mode="json"))
    return run.flow == order.flow and _without_words(run.parameters) == _without_words(asked)


def _without_words(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name != TOLD}


def _of_a_command(run: RunRecord) -> FlowRun | None:
    """Its flow run, unless a runner takes care of it or Prefect does not know it."""
    if run.flow_run_id is None:
        return None
    try:
        with get_client(sync_client=True) as client:
            flow_run = client.read_flow_run(UUID(run.flow_run_id))
    except ObjectNotFound:
        return None
    waits = flow_run.state is not None and (flow_run.state.is_paused() or flow_run.state.is_running())
    return flow_run if waits and flow_run.deployment_id is None else None
