"""Runs whose process was killed: what the ledger has closed, Prefect is told too. No hook fires on a kill."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType
from prefect.context import FlowRunContext, SyncClientContext
from prefect.exceptions import PrefectException
from prefect.states import Crashed

from datasets.ledger import Ledger

LOGGER = logging.getLogger(__name__)
LATEST = 200  # crashed runs of the ledger that are compared with Prefect; older ones were compared before
OPEN = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
DEAD = ("crashed", "interrupted")  # an interrupted command may leave before Prefect has heard of it
PATIENCE_S = 5.0  # a server too busy to answer is asked again by the next run


@contextmanager
def closing_orphans(ledger: Ledger, tenant: str) -> Iterator[None]:
    """While the block runs, close flow runs in Prefect that the ledger knows to have crashed; the work does not wait.

    The ledger is compared with Prefect, not told by whoever closed the run there: what one command did not come to do,
    the next one does. Outside a flow run nothing is done.
    """
    if FlowRunContext.get() is None:
        yield
        return
    thread = threading.Thread(
        target=copy_context().run, args=(_close, ledger, tenant), name="closing-orphans", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        thread.join(PATIENCE_S)


def _close(ledger: Ledger, tenant: str) -> None:
    with ledger.session(tenant) as session:
        dead = [run.flow_run_id for status in DEAD for run in session.runs(limit=LATEST, status=status)]
    crashed = [flow_run_id for flow_run_id in dead if flow_run_id]
    from flows.run_states import agree  # with all that is known of approvals; a run does not wait for it

    try:
        with SyncClientContext.get_or_create() as context:
            if crashed:
                close_flow_runs(context.client, crashed)
            agree(context.client, ledger, tenant)
    except (PrefectException, httpx.HTTPError) as error:
        LOGGER.info("crashed runs could not be closed in Prefect, the next run tries again: %s", error)


def close_flow_runs(client: SyncPrefectClient, flow_run_ids: list[str]) -> None:
    """Set those of these flow runs that are not at an end to Crashed, and their tasks with them.

    Raises:
        PrefectException, httpx.HTTPError: The API did not take it.
    """
    still_open = FlowRunFilter(
        id=FlowRunFilterId(any_=flow_run_ids),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=OPEN)),
    )
    tasks_open = TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=OPEN)))
    runs = client.read_flow_runs(flow_run_filter=still_open)
    if not runs:
        return
    for task_run in client.read_task_runs(flow_run_filter=still_open, task_run_filter=tasks_open):
        client.set_task_run_state(task_run.id, _process_gone(), force=True)
    for run in runs:  # after its tasks: once the run is closed, nobody looks at them again
        client.set_flow_run_state(run.id, _process_gone(), force=True)


def _process_gone() -> State[None]:
    return Crashed(message="Its process is gone.")
