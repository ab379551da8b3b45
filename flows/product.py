"""The product flow: photographs become publishable pictures by a recipe."""

from dataclasses import replace
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from datasets.redaction import install, scrubbing
from datasets.settings import Settings, read_settings
from flows.bookkeeping import close_cancelled, close_crashed, close_failed
from flows.items import plan_item, process_item, stages_of
from flows.order import ProductOrder
from flows.recipes import Recipe, parse_recipe
from flows.summary import RunSummary
from flows.working import final_state, plan, work


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
    install()
    with scrubbing():  # Prefect keeps an error's text
        return final_state(run_product(order, read_settings()))


def run_product(order: ProductOrder, settings: Settings) -> RunSummary:
    """The flow's body: opens what the run needs, takes all items through, writes report and artifacts."""
    recipe = _recipe(order)
    return work(
        "product",
        order,
        recipe,
        settings,
        lambda item, source: process_item(item, source, recipe, order.out_folder),
        stages=stages_of(recipe),
    )


def plan_product(order: ProductOrder, settings: Settings) -> RunSummary:
    """A dry run: what is in the store already and what would be computed. Nothing is computed or written."""
    recipe = _recipe(order)
    return plan(order, recipe, settings, lambda item, source: plan_item(item, source, recipe, order.out_folder))


def _recipe(order: ProductOrder) -> Recipe:
    return replace(parse_recipe(order.recipe, restyle=order.restyle), keep=order.keep)
