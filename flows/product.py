"""The product flow: photographs become publishable pictures by a recipe."""

import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Completed, Failed

from datasets.errors import SettingsError
from datasets.settings import Settings, read_settings
from datasets.storage import sweep_parts
from flows.artifacts import publish_artifacts
from flows.bookkeeping import alive, begin_run, close_cancelled, close_crashed, close_failed, end_run
from flows.items import grouped, plan_item, process_item
from flows.opening import open_run, progress_of_caller
from flows.order import ProductOrder
from flows.recipes import Recipe, parse_recipe
from flows.reporting import write_report
from flows.summary import ItemResult, RunSummary
from tasks.context import RunContext
from tasks.ops.names import safe_item_names
from tasks.progress import Silent


@flow(
    name="product",
    retries=0,
    persist_result=False,
    on_failure=[close_failed],
    on_crashed=[close_crashed],
    on_cancellation=[close_cancelled],
)
def product(order: ProductOrder) -> State[Any]:
    """Take photographs through a recipe: cut out, enlarge, compose, publish. Items fail apart from each other.

    Returns:
        A state that holds the ``RunSummary``: completed when everything was delivered or stopped on purpose, failed
        when an item failed.
    """
    summary = run_product(order, read_settings())
    if summary.exit_status in (1, 2):
        failed = sum(item.status == "failed" for item in summary.items)
        return Failed(message=f"{failed} of {len(summary.items)} items failed", data=summary)
    return Completed(message=f"{len(summary.items)} items delivered", data=summary)


def run_product(order: ProductOrder, settings: Settings) -> RunSummary:
    """The flow's body: opens what the run needs, takes all items through, writes report and artifacts."""
    begun = time.perf_counter()
    recipe = replace(parse_recipe(order.recipe), keep=order.keep)
    names = safe_item_names(order.photos)
    _make_folder(order)
    with open_run(_run_id(), settings, order, recipe, progress_of_caller()) as run:
        run.storage.sweep()
        sweep_parts(order.out_folder)
        begin_run(run, order, recipe, names)
        run.progress.expect(len(names) * (len(grouped(recipe)) + 1))
        with alive(run):
            items = _process_all(run, recipe, list(zip(names, order.photos, strict=True)), order)
        summary = RunSummary(run.run_id, recipe.title, items, time.perf_counter() - begun)
        end_run(run, summary)
        summary = write_report(run, summary, order.out_folder)
        publish_artifacts(run, summary)
    return summary


def plan_product(order: ProductOrder, settings: Settings) -> RunSummary:
    """A dry run: what is in the store already and what would be computed. Nothing is computed or written."""
    begun = time.perf_counter()
    recipe = replace(parse_recipe(order.recipe), keep=order.keep)
    names = safe_item_names(order.photos)
    with open_run(str(uuid.uuid4()), settings, order, recipe, Silent(), dry=True):
        items = tuple(
            plan_item(name, photo, recipe, order.out_folder) for name, photo in zip(names, order.photos, strict=True)
        )
    status = "" if any(item.status == "failed" for item in items) else "planned"
    return RunSummary("", recipe.title, items, time.perf_counter() - begun, status=status)


def _run_id() -> str:
    """The flow run's own id, so that ledger and Prefect speak of the same thing."""
    context = FlowRunContext.get()
    return str(context.flow_run.id) if context and context.flow_run else str(uuid.uuid4())


def _make_folder(order: ProductOrder) -> None:
    try:
        order.out_folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"the output folder {order.out!r} cannot be made: {error.strerror}; choose another with --out",
            out=order.out,
        ) from error


def _process_all(
    run: RunContext, recipe: Recipe, items: Sequence[tuple[str, str]], order: ProductOrder
) -> tuple[ItemResult, ...]:
    """All items, as many at a time as there are workers; each thread carries the flow's context."""
    pool = ThreadPoolExecutor(max_workers=run.executor.workers, thread_name_prefix="item")
    futures = [pool.submit(copy_context().run, _process, run, recipe, item, source, order) for item, source in items]
    try:
        return tuple(future.result() for future in futures)
    except BaseException:
        run.stopping.set()  # items under way end at their next chunk
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _process(run: RunContext, recipe: Recipe, item: str, source: str, order: ProductOrder) -> ItemResult:
    result = process_item(item, source, recipe, order.out_folder)
    with run.ledger.session(run.storage.tenant) as session:
        session.finish_item(
            run.run_id, item, result.status, [reason.to_json() for reason in result.reasons], asset_digest=result.asset
        )
    return result
