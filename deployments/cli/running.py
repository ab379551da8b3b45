"""Runs a flow for a command and watches it. Imported only when something is to run: it imports Prefect."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import prefect.settings
from prefect.settings import temporary_settings
from pydantic import ValidationError

from datasets.errors import UsageError
from deployments.cli.display import open_display
from deployments.cli.options import Common
from flows.opening import watched_by
from flows.order import Order, ProductOrder
from flows.product import plan_product, product
from flows.summary import RunSummary
from tasks.prefect_stage import value_of

if TYPE_CHECKING:
    from flows.catalogue_summary import CatalogueSummary
    from flows.checking import CheckSummary

OrderKind = TypeVar("OrderKind", bound=Order)


def run_product(photos: Sequence[str], recipe: str, common: Common, *, command: str) -> RunSummary:
    """The product flow with a progress display; what it came to."""
    order = ProductOrder.model_validate({"photos": _absolute(photos), **_shared(recipe, common, command)})
    if common.dry_run:
        return plan_product(order, common.settings)
    return _watched(product, order)


def run_check(
    photos: Sequence[str], gate: str, thresholds: dict[str, Any], docs: Path | None, common: Common
) -> "CheckSummary":
    """The check flow with a progress display; what it came to."""
    from flows.checking import CheckOrder, CheckSummary, check

    order = CheckOrder.model_validate(
        {
            "photos": _absolute(photos),
            "gate": gate,
            "thresholds": thresholds,
            "docs": str(docs.absolute()) if docs else None,
            "models": common.models,
            "weights": common.weights,
            "purpose": common.purpose,
        }
    )
    state = _final_state(check, order)
    found = value_of(state)
    summary = found if isinstance(found, CheckSummary) else state.result()
    assert isinstance(summary, CheckSummary)
    return summary


def run_video(
    clips: Sequence[str], recipe: str, common: Common, *, command: str, mask: str | None = None
) -> RunSummary:
    """The video flow with a progress display; what it came to."""
    from flows.video import plan_video, video
    from flows.video_order import VideoOrder

    given = {"mask": str(Path(mask).absolute())} if mask else {}
    order = VideoOrder.model_validate({"clips": _absolute(clips), **given, **_shared(recipe, common, command)})
    if common.dry_run:
        return plan_video(order, common.settings)
    return _watched(video, order)


def run_catalogue(given: dict[str, object], recipe: str, common: Common, *, command: str) -> "CatalogueSummary":
    """The catalogue flow with a progress display; what it came to."""
    from flows.catalogue import CatalogueOrder, CatalogueSummary, catalogue, plan_catalogue

    order = checked_order(CatalogueOrder, {**given, **_shared(recipe, common, command)})
    if common.dry_run:
        return plan_catalogue(order, common.settings)
    state = _final_state(catalogue, order)
    found = value_of(state)
    summary = found if isinstance(found, CatalogueSummary) else state.result()
    assert isinstance(summary, CatalogueSummary)
    return summary


def checked_order(kind: type[OrderKind], values: dict[str, object]) -> OrderKind:
    """An order whose fields hold.

    Raises:
        UsageError: One does not; the message names it.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{where} does not hold: {first['msg']}", field=where) from error


def _absolute(sources: Sequence[str]) -> list[str]:
    return [str(Path(source).absolute()) for source in sources]


def _shared(recipe: str, common: Common, command: str) -> dict[str, object]:
    return {
        "recipe": str(Path(recipe).absolute()) if recipe.endswith(".json") else recipe,
        "out": str(Path(common.out).absolute()),
        "models": common.models,
        "weights": common.weights,
        "purpose": common.purpose,
        "budget_usd": common.budget_usd,
        "quality": common.quality,
        "max_cost_usd": common.max_cost_usd,
        "max_latency_s": common.max_latency_s,
        "prefer": common.prefer,
        "keep": common.keep,
        "restyle": common.restyle,
        "command": command,
    }


def _watched(flow: Any, order: Order) -> RunSummary:
    return summary_of(_final_state(flow, order))


def _final_state(flow: Any, order: Order) -> Any:
    with open_display() as display, watched_by(display), _without_heartbeat():
        return flow(order, return_state=True)


def begin_torch() -> None:
    """Load torch beside what this process has to wait for; a second that the first model need not take."""
    threading.Thread(target=import_module, args=("torch",), name="load-torch").start()


def summary_of(state: Any) -> RunSummary:
    """The summary in a final state; what kept the flow from making one is raised."""
    summary = value_of(state)
    if isinstance(summary, RunSummary):
        return summary
    result = state.result()
    assert isinstance(result, RunSummary)
    return result


@contextmanager
def _without_heartbeat() -> Iterator[None]:
    """Joining Prefect's heartbeat thread costs every flow a second; the ledger has a heartbeat of its own."""
    with temporary_settings({prefect.settings.PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield
