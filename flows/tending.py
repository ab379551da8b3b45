"""A run's models: its workers are told what is wanted of them, and what they tell is written down at its end."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from datasets.errors import StorageUnavailableError
from datasets.ledger import LedgerSession, ModelEvent, ModelInProcess
from datasets.settings import MEBIBYTE, Settings
from datasets.thermal import Wanted
from model_blocks.choice import ModelRef
from model_blocks.model_states import refs_to_bring, wanted_states
from model_blocks.shelf_facts import FAILURES, ModelCounts, ShelfEvent, ShelfRules, ShelfStatistics
from tasks.context import RunContext
from tasks.worker_models import ModelOrders, gather, give_orders

LOG = logging.getLogger("stillmotion")


def shelf_rules(settings: Settings, wanted: dict[str, Wanted], workers: int) -> ShelfRules:
    """What the shelves of a run go by."""
    limit = None if settings.model_memory_mb is None else settings.model_memory_mb * MEBIBYTE
    return ShelfRules(memory_bytes=limit, workers=workers, idle_s=settings.model_idle_s, wanted=wanted)


@contextmanager
def models_tended(run: RunContext) -> Iterator[None]:
    """While the block runs, workers keep models as is wanted; afterwards the ledger knows what became of them."""
    if run.dry:
        yield
        return
    tenant, settings = run.storage.tenant, run.settings
    wanted = wanted_states(run.ledger, tenant)
    bring = () if run.executor.in_process else _bring(run, wanted)
    give_orders(run.executor, ModelOrders(shelf_rules(settings, wanted, run.executor.workers), bring))
    with run.ledger.session(tenant, read_only=True) as session:
        failed = {name for name, state in session.model_states().items() if state.circuit.circuit != "closed"}
    _begin_tries(run, failed)
    try:
        yield
    finally:
        if not run.stopping.is_set():  # an interrupted run leaves at once
            _write_down(run)


def _bring(run: RunContext, wanted: dict[str, Wanted]) -> tuple[ModelRef, ...]:
    settings = run.settings
    return refs_to_bring(wanted, run.models.values(), weights_dir=settings.weights_dir, device=settings.device)


def _begin_tries(run: RunContext, failed: set[str]) -> None:
    """A model whose circuit was open is used again: that is its one try."""
    names = failed & {ref.name for ref in run.models.values()}
    if names:
        with run.ledger.session(run.storage.tenant) as session:
            for name in sorted(names):
                session.model_tried(name)


def _write_down(run: RunContext) -> None:
    told = [each for each in gather(run.executor) if each.events or each.new_requests]
    if not told:
        return
    try:
        with run.ledger.session(run.storage.tenant) as session:
            for statistics in told:
                write_statistics(session, statistics, run.run_id)
    except StorageUnavailableError as error:
        LOG.warning("what became of the models was not written down: %s", error)


def write_statistics(session: LedgerSession, told: ShelfStatistics, run_id: str | None = None) -> None:
    """What a process told of its models: where they are, what happened, and how they fare."""
    session.record_model_process(told.host, told.pid, [_in_process(told, counts) for counts in told.models])
    session.record_model_events([_event(told, event, run_id) for event in told.events])
    failed: set[str] = set()
    for event in told.events:
        if event.kind in FAILURES:
            failed.add(event.model)
            session.model_failed(event.model, f"{event.kind}: {event.detail or ''}", at=event.at)
    for name in sorted(set(told.new_requests) - failed):
        session.model_worked(name)


def _in_process(told: ShelfStatistics, counts: ModelCounts) -> ModelInProcess:
    return ModelInProcess(
        host=told.host,
        pid=told.pid,
        model=counts.model,
        device=counts.device,
        bytes=counts.bytes,
        loaded_at=counts.loaded_at,
        last_used_at=counts.last_used_at,
        requests_per_minute=counts.requests_per_minute,
        loads=counts.loads,
        hits=counts.hits,
        evictions=counts.evictions,
        told_at=told.at,
    )


def _event(told: ShelfStatistics, event: ShelfEvent, run_id: str | None) -> ModelEvent:
    return ModelEvent(
        host=told.host,
        pid=told.pid,
        model=event.model,
        device=event.device,
        kind=event.kind,
        at=event.at,
        seconds=event.seconds,
        bytes=event.bytes,
        detail=event.detail,
        run_id=run_id,
    )
