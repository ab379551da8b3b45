"""Runs show the same in Prefect and in the ledger: both are compared, and whoever knows less is told.

Prefect owns the state of a run, the ledger the facts. Where a process died neither was told; what was done in Prefect
while no process was there (cancelled, resumed, late) the ledger has not heard. Compared by every run beside its work
and by upkeep. A run whose process lives is left alone: it speaks for itself.

    ledger                           Prefect
    running                          Running
    paused                           Suspended (deployments), Paused (commands)
    scheduled                        Scheduled, Resuming, AwaitingRetry: to be started again
    late                             Late
    delivered, partial               Completed
    failed, unreadable               Failed
    cancelled                        Cancelled
    crashed, interrupted             Crashed
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Cancelled, Completed, Failed

from datasets.ledger import Approval, Ledger, RunRecord
from datasets.ledger.processes import ORPHAN_AFTER
from datasets.ledger.session import is_gone
from flows.approval import ask_in_prefect, take_answer
from flows.deciding import carry_out
from flows.late_runs import note_late_runs
from flows.orphans import DEAD, LATEST, OPEN, close_flow_runs
from flows.telling import tell_end, told_of

WAITING = ("paused", "scheduled", "late")
ENDED = ("delivered", "partial", "failed", "unreadable", "cancelled")
COMPARED_FOR = timedelta(days=2)  # runs that ended before were compared by the runs since
PAGE = 200  # flow runs that Prefect lists at once
NOT_CRASHED = [each for each in StateType if each not in (StateType.CRASHED, StateType.COMPLETED)]


@dataclass(frozen=True)
class Change:
    """What one side was told.

    Attributes:
        side: ``ledger`` or ``Prefect``.
        was: Its state before.
        became: Its state now.
    """

    run_id: str
    side: str
    was: str
    became: str


@dataclass(frozen=True)
class Books:
    """Both sides of one tenant."""

    client: SyncPrefectClient
    ledger: Ledger
    tenant: str


Compare = Callable[[Books, RunRecord, FlowRun], Iterator[Change]]


def agree(client: SyncPrefectClient, ledger: Ledger, tenant: str) -> list[Change]:
    """Bring the tenant's runs in ledger and Prefect in step.

    Returns:
        What was changed, on whichever side.

    Raises:
        PrefectException, httpx.HTTPError: The API did not take it.
    """
    books = Books(client, ledger, tenant)
    changes = list(_close_dead(books))
    ended_since = datetime.now(UTC) - COMPARED_FOR
    with ledger.session(tenant, read_only=True) as session:
        dead = session.runs_in(DEAD, LATEST)
        waiting = session.runs_in(WAITING, LATEST)
        ended = session.runs_in(ENDED, LATEST, ended_since)
    changes += _compared(books, dead, NOT_CRASHED, _dead)
    changes += _compared(books, waiting, list(StateType), _waiting)
    changes += _compared(books, ended, OPEN, _ended)
    changes += [Change(run_id, "ledger", "unknown", "late") for run_id in note_late_runs(client, ledger, tenant)]
    return changes


def _close_dead(books: Books) -> Iterator[Change]:
    """Runs that the ledger takes for running and whose process is gone."""
    with books.ledger.session(books.tenant) as session:
        for run_id in session.close_orphans(ORPHAN_AFTER):
            tell_end(session, run_id, told_of(books.ledger, books.tenant, run_id))
            yield Change(run_id, "ledger", "running", "crashed")


def _compared(
    books: Books, records: Sequence[RunRecord], states: Sequence[StateType], compare: Compare
) -> Iterator[Change]:
    """The changes to those of the runs that Prefect has in one of these states."""
    by_flow_run = {run.flow_run_id: run for run in records if run.flow_run_id}
    for flow_run in _flow_runs(books.client, by_flow_run, states):
        if flow_run.state is not None:
            yield from compare(books, by_flow_run[str(flow_run.id)], flow_run)


def _flow_runs(
    client: SyncPrefectClient, wanted: Mapping[str, RunRecord], states: Sequence[StateType]
) -> Iterator[FlowRun]:
    for begin in range(0, len(wanted), PAGE):
        yield from client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                id=FlowRunFilterId.model_validate({"any_": list(wanted)[begin : begin + PAGE]}),
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states))),
            ),
            limit=PAGE,
        )


def _dead(books: Books, run: RunRecord, flow_run: FlowRun) -> Iterator[Change]:
    """Its process died, or was interrupted."""
    state = _state(flow_run)
    match state.type:
        case StateType.PENDING | StateType.RUNNING:
            close_flow_runs(books.client, [str(flow_run.id)])
            yield Change(run.run_id, "Prefect", str(state.name), "Crashed")
        case StateType.CANCELLING:
            yield _tell_prefect(books, run, flow_run, Cancelled(message="Its process is gone."))
            yield _close(books, run, "cancelled", "cancelled in Prefect")
        case StateType.CANCELLED:
            yield _close(books, run, "cancelled", state.message or "cancelled in Prefect")
        case StateType.FAILED if run.status == "crashed":
            yield _close(books, run, "failed", state.message or "failed")
        case StateType.PAUSED | StateType.SCHEDULED:
            yield _wait(books, run, _waiting_name(state))


def _waiting(books: Books, run: RunRecord, flow_run: FlowRun) -> Iterator[Change]:
    """It waits in the ledger: for a human, for its runner, for its first start."""
    state = _state(flow_run)
    match state.type:
        case StateType.PAUSED | StateType.SCHEDULED if run.status != _waiting_name(state):
            yield _wait(books, run, _waiting_name(state))
        case StateType.CANCELLED | StateType.CANCELLING | StateType.COMPLETED:
            yield _close(books, run, "cancelled", state.message or f"{state.name} in Prefect")
        case StateType.FAILED | StateType.CRASHED:
            status = "failed" if state.type == StateType.FAILED else "crashed"
            yield _close(books, run, status, state.message or status)
        case StateType.RUNNING if is_gone(run, ORPHAN_AFTER):
            yield from _running(books, run, flow_run)


def _running(books: Books, run: RunRecord, flow_run: FlowRun) -> Iterator[Change]:
    """Prefect has it running, the ledger has not heard that it began."""
    with books.ledger.session(books.tenant, read_only=True) as session:
        asked = next(iter(reversed(session.approvals(run.run_id))), None)
    answered = asked is not None and (asked.state != "asked" or _answered(books, flow_run, asked))
    if asked is not None and run.status == "paused" and not answered:
        ask_in_prefect(books.client, flow_run, asked)  # it was killed between telling the one side and the other
        yield Change(run.run_id, "Prefect", "Running", "asking")
    elif asked is not None and flow_run.deployment_id is None:
        yield _resumed_without_process(books, run)
    elif _state(flow_run).timestamp < datetime.now(UTC) - ORPHAN_AFTER:
        close_flow_runs(books.client, [str(flow_run.id)])  # it died before it kept books
        yield _close(books, run, "crashed", "its process is gone")


def _resumed_without_process(books: Books, run: RunRecord) -> Change:
    """A command's run was resumed in Prefect: it waits for its command with the answer known, or is over."""
    with books.ledger.session(books.tenant, read_only=True) as session:
        approval = session.approvals(run.run_id)[-1]
    goes_on = carry_out(books.client, books.ledger, books.tenant, run, approval)
    return Change(run.run_id, "Prefect", "Running", "Paused" if goes_on == "command" else "Completed")


def _answered(books: Books, flow_run: FlowRun, asked: Approval) -> bool:
    return take_answer(books.client, books.ledger, books.tenant, flow_run, asked) is not None


def _ended(books: Books, run: RunRecord, flow_run: FlowRun) -> Iterator[Change]:
    """It came to its end and died before Prefect heard of it."""
    if not is_gone(run, ORPHAN_AFTER):
        return
    message = f"{run.status}; its process ended before it said so."
    state: State[None] = Completed(message=message)
    if run.status in ("failed", "unreadable"):
        state = Failed(message=message)
    if run.status == "cancelled":
        state = Cancelled(message=message)
    yield _tell_prefect(books, run, flow_run, state)


def _waiting_name(state: State[object]) -> str:
    if state.type == StateType.PAUSED:
        return "paused"
    return "late" if state.name == "Late" else "scheduled"


def _state(flow_run: FlowRun) -> State[object]:
    assert flow_run.state is not None
    return flow_run.state


def _tell_prefect(books: Books, run: RunRecord, flow_run: FlowRun, state: State[None]) -> Change:
    books.client.set_flow_run_state(flow_run.id, state, force=True)
    return Change(run.run_id, "Prefect", str(_state(flow_run).name), str(state.name))


def _wait(books: Books, run: RunRecord, status: str) -> Change:
    with books.ledger.session(books.tenant) as session:
        session.pause_run(run.run_id, status, run.summary or {})
    return Change(run.run_id, "ledger", run.status, status)


def _close(books: Books, run: RunRecord, status: str, message: str) -> Change:
    told = told_of(books.ledger, books.tenant, run.run_id)
    with books.ledger.session(books.tenant) as session:
        session.finish_run(run.run_id, status, {"message": message})
        tell_end(session, run.run_id, told)
    return Change(run.run_id, "ledger", run.status, status)
