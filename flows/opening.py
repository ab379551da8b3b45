"""Opening what a run needs: storage, ledger, workers, models. Everything that can be refused is refused here."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.ledger import Ledger, open_ledger
from datasets.lineage.keys import KeyFolder
from datasets.probe import FALLBACK, probed
from datasets.settings import MEBIBYTE, Settings
from datasets.storage import Storage, open_storage
from flows.choosing import Routing, routed_by
from flows.dashboard import tell_dashboard
from flows.order import Order
from flows.recipes import Recipe
from flows.tending import models_tended
from model_blocks.choice import ModelRef, gpu_of
from model_blocks.model_states import unavailable_models
from model_blocks.object_access import access_options
from tasks.chunks import Limits
from tasks.cluster import refuse_missing, refuse_unshared, settle
from tasks.context import RunContext, within_run
from tasks.executor import Executor, open_executor
from tasks.gate_keeper import GateKeeper
from tasks.plan import memory_limit
from tasks.progress import Progress, Silent

if TYPE_CHECKING:
    from flows.approval import SpendCheck
    from tasks.buying import PaidService

_PROGRESS: ContextVar[Progress] = ContextVar("stillmotion_progress")


def progress_of_caller() -> Progress:
    """The progress display of whoever called the flow in this process; silent if nobody watches."""
    return _PROGRESS.get(Silent())


@contextmanager
def watched_by(progress: Progress) -> Iterator[None]:
    """Flows called inside tell their progress to this display."""
    token = _PROGRESS.set(progress)
    try:
        yield
    finally:
        _PROGRESS.reset(token)


def open_books(settings: Settings) -> tuple[Storage, Ledger]:
    """The tenant's storage and the ledger of these settings."""
    storage = open_storage(settings.storage_root, settings.tenant, access_options(settings.storage_root, settings))
    if settings.local_root is not None:
        Path(settings.local_root).mkdir(parents=True, exist_ok=True)
    return storage, open_ledger(settings.ledger, owner_url=settings.ledger_owner_url)


def _checked(storage: Storage, progress: Progress) -> Storage:
    """The storage with what it can do found out; what it cannot is said."""
    storage = probed(storage)
    if not storage.atomic_create:
        progress.noted(FALLBACK.format(root=storage.root))
    return storage


@contextmanager
def open_run(
    run_id: str, settings: Settings, order: Order, recipe: Recipe, progress: Progress, *, dry: bool = False,
    threads: int = 1,
) -> Iterator[RunContext]:  # fmt: skip
    """The means of a run, current in this thread until the block ends.

    Args:
        threads: Items on their way at a time in this process, for recipes of array functions alone.
    """
    if settings.signing_key is not None:
        KeyFolder(settings.signing_key).check()
    refuse_unshared(settings)
    storage, ledger = open_books(settings)
    storage = storage if dry else _checked(storage, progress)
    with (
        open_executor(settings, storage, threads=threads, take_turns=recipe.is_paid) as executor,
        closing(GateKeeper(items_at_once(settings, recipe))) as gates,
    ):
        settings = settle(settings, executor)
        routing = Routing(settings, order, recipe, ledger, _out_of_service(ledger, settings.tenant))
        models = _models(routing)
        refuse_missing(executor, gpu_of(*models.values()))
        service = _service(settings, ledger, run_id, None if dry else progress) if recipe.is_paid else None
        limits = Limits(_memory(settings, executor), settings.disk_reserve_mb * MEBIBYTE)
        context = RunContext(
            run_id, settings, storage, ledger, executor, limits, progress, models, dry, service=service, gates=gates,
            approval=None if dry else _approval(ledger, settings.tenant, run_id, order, recipe),
        )  # fmt: skip
        if not dry:
            tell_dashboard(executor, progress)
        with within_run(context), routed_by(routing), models_tended(context):
            yield context


def _memory(settings: Settings, executor: Executor) -> int:
    """Bytes that a task may plan with: a worker's own, or this process's share for each of its items."""
    limit = memory_limit(settings, executor.workers)
    shared = executor.in_process and settings.memory_limit_mb is not None
    return limit // executor.workers if shared else limit


def items_at_once(settings: Settings, recipe: Recipe) -> int:
    """How many items are on their way: one for each worker, and those that wait for an answer of a paid service."""
    return settings.workers + (settings.paid_calls if recipe.is_paid else 0)


def _service(settings: Settings, ledger: Ledger, run_id: str, progress: Progress | None) -> "PaidService":
    from flows.services import open_service

    return open_service(settings, ledger, run_id, None if progress is None else progress.noted)


def _approval(ledger: Ledger, tenant: str, run_id: str, order: Order, recipe: Recipe) -> "SpendCheck | None":
    if order.approve == "none":
        return None  # most runs need none of what asks
    from flows.approval import spend_check

    return spend_check(ledger, tenant, run_id, order, recipe)


def choose_models(settings: Settings, order: Order, recipe: Recipe) -> dict[str, ModelRef]:
    """A model for every capability the recipe needs, with its weights found; nothing is known of earlier runs."""
    return _models(Routing(settings, order, recipe))


def _out_of_service(ledger: Ledger, tenant: str) -> frozenset[str]:
    """Models that were turned off, or that kept failing of late."""
    with ledger.session(tenant, read_only=True) as session:
        return frozenset(unavailable_models(session))


def _models(routing: Routing) -> dict[str, ModelRef]:
    return {capability: routing.ref(decision.chosen) for capability, decision in routing.decisions.items()}
