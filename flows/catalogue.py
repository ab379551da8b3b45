"""The catalogue flow: every row of a product table becomes publishable pictures; only what changed is made again."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from datasets.redaction import install, scrubbing
from datasets.settings import Settings, read_settings
from flows.bookkeeping import close_cancelled, close_crashed, close_failed
from flows.catalogue_order import CatalogueOrder
from flows.catalogue_summary import CatalogueSummary


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
        failed when a row failed.
    """
    install()
    with scrubbing():  # Prefect keeps an error's text
        return final_state(run_catalogue(order, read_settings()))


def run_catalogue(order: CatalogueOrder, settings: Settings) -> CatalogueSummary:
    """The flow's body: reads the table, takes what changed through the recipe, writes manifests and report."""
    raise NotImplementedError


def plan_catalogue(order: CatalogueOrder, settings: Settings) -> CatalogueSummary:
    """A dry run: what would run, what is unchanged, what it may cost at most, how long it should take."""
    raise NotImplementedError


def final_state(summary: CatalogueSummary) -> State[Any]:
    """How Prefect shows the end."""
    raise NotImplementedError
