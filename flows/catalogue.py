"""The catalogue flow: every row of a product table becomes publishable pictures; only what changed is made again."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from datasets.redaction import install, scrubbing
from datasets.settings import Settings, read_settings
from flows.bookkeeping import close_cancelled, close_crashed, close_failed
from flows.catalogue_order import CatalogueOrder
from flows.catalogue_run import plan_catalogue, run_catalogue
from flows.catalogue_summary import CatalogueSummary

__all__ = ["CatalogueOrder", "CatalogueSummary", "catalogue", "final_state", "plan_catalogue", "run_catalogue"]


@flow(
    name="catalogue",
    retries=0,
    persist_result=False,
    on_failure=[close_failed],
    on_crashed=[close_crashed],
    on_cancellation=[close_cancelled],
)
def catalogue(order: CatalogueOrder) -> State[Any]:
    """Take a product table through a recipe. Rows fail apart from each other; what has not changed is left alone.

    Returns:
        A state that holds the ``CatalogueSummary``: completed when everything was delivered or stopped on purpose,
        failed when a row failed, paused when it asks before it spends.
    """
    install()
    with scrubbing():  # Prefect keeps an error's text
        return final_state(_asked(order, read_settings()))


def _asked(order: CatalogueOrder, settings: Settings) -> CatalogueSummary:
    return plan_catalogue(order, settings) if order.dry_run else run_catalogue(order, settings)


def final_state(summary: CatalogueSummary) -> State[Any]:
    """How Prefect shows the end.

    Raises:
        Pause: It asks for approval and has a deployment: it is suspended.
    """
    if summary.approval is not None:
        from flows.approval import pause

        return pause(summary)
    told = ", ".join(f"{count} {change}" for change, count in summary.changes.items()) or "no rows"
    if summary.exit_status in (1, 2):
        stopped = [str(reason["message"]) for reason in summary.reasons if reason.get("level") in ("stop", "error")]
        return Failed(message="; ".join(stopped) or f"{summary.rows} rows: {told}", data=summary)
    return Completed(message=f"{summary.rows} rows: {told}", data=summary)
