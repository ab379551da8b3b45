"""What flows have in common: opening a run, taking its items through, closing it with report and artifacts."""

import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, Protocol, runtime_checkable

from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Completed, Failed

from datasets.errors import SettingsError
from datasets.lineage.outbox import draining
from datasets.settings import Settings
from datasets.storage import sweep_parts
from flows.artifacts import publish_artifacts
from flows.bookkeeping import alive, begin_run, end_run
from flows.money import money_of_run, set_run_budget
from flows.opening import items_at_once, open_run, progress_of_caller
from flows.order import Order
from flows.recipes import Recipe
from flows.reporting import write_report
from flows.summary import ItemResult, RunSummary
from tasks.context import RunContext
from tasks.ops.names import safe_item_names
from tasks.progress import Progress, Silent


@runtime_checkable
class Attached(Protocol):
    """A progress that tells the run's own books, too."""

    def attach(self, run: RunContext) -> None: ...


Process = Callable[[str, str], ItemResult]  # an item's name and source to what became of it


def work(
    flow: str,
    order: Order,
    recipe: Recipe,
    settings: Settings,
    process: Process,
    *,
    stages: int,
    watch: Callable[[Progress], Progress] = lambda progress: progress,
) -> RunSummary:
    """A flow's body: opens what the run needs, takes all items through, writes report and artifacts.

    Args:
        flow: Its name.
        process: Takes one item through the recipe; called in as many threads as there are workers.
        stages: How many stages an item goes through.
        watch: Makes, of the caller's display, what is told of progress.
    """
    begun = time.perf_counter()
    names = safe_item_names(order.sources)
    make_folder(order)
    progress = watch(progress_of_caller())
    with open_run(run_id_here(), settings, order, recipe, progress) as run:
        run.storage.sweep()
        sweep_parts(order.out_folder)
        begin_run(run, flow, order, recipe, names)
        set_run_budget(run, order)
        run.progress.expect(len(names) * stages)
        if isinstance(progress, Attached):
            progress.attach(run)
        with alive(run):
            at_once = max(run.executor.workers, items_at_once(settings, recipe))
            items = process_all(run, process, list(zip(names, order.sources, strict=True)), at_once)
        money = money_of_run(run.ledger, run.storage.tenant, run.run_id)
        summary = RunSummary(run.run_id, recipe.title, items, time.perf_counter() - begun, money=money)
        end_run(run, summary)
        with draining(run.ledger, run.storage, settings):
            summary = write_report(run, summary, order.out_folder)
            publish_artifacts(run, summary)
    return summary


def plan(order: Order, recipe: Recipe, settings: Settings, process: Process) -> RunSummary:
    """A dry run: what is in the store already and what would be computed. Nothing is computed or written."""
    begun = time.perf_counter()
    names = safe_item_names(order.sources)
    with open_run(str(uuid.uuid4()), settings, order, recipe, Silent(), dry=True):
        items = tuple(process(name, source) for name, source in zip(names, order.sources, strict=True))
    status = "" if any(item.status == "failed" for item in items) else "planned"
    return RunSummary("", recipe.title, items, time.perf_counter() - begun, status=status)


def final_state(summary: RunSummary) -> State[Any]:
    """Completed when everything was delivered or stopped on purpose, failed when an item failed."""
    if summary.exit_status in (1, 2):
        failed = sum(item.status == "failed" for item in summary.items)
        return Failed(message=f"{failed} of {len(summary.items)} items failed", data=summary)
    return Completed(message=f"{len(summary.items)} items delivered", data=summary)


def run_id_here() -> str:
    """The flow run's own id, so that ledger and Prefect speak of the same thing."""
    context = FlowRunContext.get()
    return str(context.flow_run.id) if context and context.flow_run else str(uuid.uuid4())


def make_folder(order: Order) -> None:
    try:
        order.out_folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"the output folder {order.out!r} cannot be made: {error.strerror}; choose another with --out",
            out=order.out,
        ) from error


def process_all(
    run: RunContext, process: Process, items: Sequence[tuple[str, str]], at_once: int
) -> tuple[ItemResult, ...]:
    """All items, so many at a time; each thread carries the flow's context."""
    pool = ThreadPoolExecutor(max_workers=at_once, thread_name_prefix="item")
    futures = [pool.submit(copy_context().run, _process, run, process, item, source) for item, source in items]
    try:
        return tuple(future.result() for future in futures)
    except BaseException:
        run.stopping.set()  # items under way end at their next chunk
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _process(run: RunContext, process: Process, item: str, source: str) -> ItemResult:
    result = process(item, source)
    with run.ledger.session(run.storage.tenant) as session:
        session.finish_item(
            run.run_id, item, result.status, [reason.to_json() for reason in result.reasons], asset_digest=result.asset
        )
    return result
