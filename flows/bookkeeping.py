"""Keeps ledger and Prefect in step: runs begin, beat and end in both; hooks catch the ends that the flow cannot see."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from typing import Any

from prefect.context import FlowRunContext
from prefect.exceptions import Pause, TerminationSignal

from datasets.errors import NotFoundError
from datasets.ledger import ItemRecord, RunHeart, RunRecord
from datasets.ledger.processes import ORPHAN_AFTER, host_name
from datasets.settings import read_settings
from flows.choosing import choices_of, routing_of_run
from flows.opening import open_books
from flows.order import Order
from flows.orphans import closing_orphans
from flows.recipes import Recipe
from flows.summary import RunSummary
from flows.telling import tell_end, tell_start, told_of
from tasks.context import RunContext

OPEN = ("running", "paused", "scheduled", "late")  # what a run's row says before its end


def begin_run(run: RunContext, flow: str, order: Order, recipe: Recipe, names: Sequence[str]) -> RunRecord:
    """Write the run and its items down, and close runs whose process is gone.

    Args:
        names: Of its items; empty where items are written as they are through.

    Returns:
        The run's row.
    """
    now = datetime.now(UTC)
    context = FlowRunContext.get()
    flow_run_id = str(context.flow_run.id) if context and context.flow_run else None
    record = RunRecord(
        run_id=run.run_id,
        flow_run_id=flow_run_id,
        flow=flow,
        recipe=recipe.title,
        parameters=order.model_dump(mode="json"),
        status="running",
        started_at=now,
        finished_at=None,
        heartbeat_at=now,
        host=host_name(),
        pid=os.getpid(),
        version=installed_version("stillmotion"),
        purpose=order.purpose,
        summary=None,
    )
    items = [
        ItemRecord(run_id=run.run_id, item=name, position=position, source=source)
        for position, (name, source) in enumerate(zip(names, order.sources if names else (), strict=True))
    ]
    routing = routing_of_run()
    with run.ledger.session(run.storage.tenant) as session:
        for crashed in session.close_orphans(ORPHAN_AFTER):
            tell_end(session, crashed, told_of(run.ledger, run.storage.tenant, crashed))
        session.start_run(record)
        session.save_items(run.run_id, items)
        for choice in choices_of(routing.decisions, run.run_id) if routing else ():
            session.record_choice(choice)
        tell_start(session, run.run_id)
    return record


@contextmanager
def alive(run: RunContext) -> Iterator[None]:
    """While the block runs, the ledger hears that the run lives; interrupted, it is told so.

    Beside the work, runs that were killed are closed in Prefect too.
    """
    with RunHeart(run.ledger, run.storage.tenant, run.run_id), closing_orphans(run.ledger, run.storage.tenant):
        try:
            yield
        except Pause:  # somebody suspended it in Prefect: it is started again there
            with run.ledger.session(run.storage.tenant) as session:
                session.pause_run(run.run_id, "paused", {"message": "suspended in Prefect"})
            raise
        except (KeyboardInterrupt, TerminationSignal):
            told = told_of(run.ledger, run.storage.tenant, run.run_id)
            with run.ledger.session(run.storage.tenant) as session:
                session.finish_run(run.run_id, "interrupted", {"message": "interrupted by its user"})
                tell_end(session, run.run_id, told)
            raise


def end_run(run: RunContext, summary: RunSummary) -> None:
    """Write down how the run ended, and leave word of it for others, checks and charges included.

    One that asks for approval has not ended: it waits.
    """
    statuses = [item.status for item in summary.items]
    facts: dict[str, Any] = {
        "seconds": round(summary.seconds, 3),
        "items": {status: statuses.count(status) for status in sorted(set(statuses))},
        "stages": sum(len(item.stages) for item in summary.items),
        "cached": sum(stage.cached for item in summary.items for stage in item.stages),
        "exit_status": summary.exit_status,
    }
    if summary.approval is not None:
        with run.ledger.session(run.storage.tenant) as session:
            session.pause_run(run.run_id, "paused", facts)
        return
    told = told_of(run.ledger, run.storage.tenant, run.run_id)
    with run.ledger.session(run.storage.tenant) as session:
        session.finish_run(run.run_id, summary.status, facts)
        tell_end(session, run.run_id, told)


def close_failed(flow: Any, flow_run: Any, state: Any) -> None:  # noqa: ARG001 - Prefect's signature of a hook
    """What Prefect learns about a run's end, the ledger learns too: the flow failed before it could say so."""
    _close(flow_run, state, "failed")


def close_crashed(flow: Any, flow_run: Any, state: Any) -> None:  # noqa: ARG001
    """The run's infrastructure went away, or it was interrupted."""
    _close(flow_run, state, "crashed")


def close_cancelled(flow: Any, flow_run: Any, state: Any) -> None:  # noqa: ARG001
    """Somebody cancelled the run; the signal that ended its process was not its user's."""
    _close(flow_run, state, "cancelled", also=("interrupted",))


def _close(flow_run: Any, state: Any, status: str, also: tuple[str, ...] = ()) -> None:
    """Close the run in the ledger if the flow did not come to do so itself."""
    storage, ledger = open_books(read_settings())
    told = told_of(ledger, storage.tenant, str(flow_run.id))
    with ledger.session(storage.tenant) as session:
        try:
            record = session.find_run(str(flow_run.id))
        except NotFoundError:
            return  # it ended before it began to keep books
        if record.status in (*OPEN, *also):
            session.finish_run(record.run_id, status, {"message": state.message or ""})
            tell_end(session, record.run_id, told)
