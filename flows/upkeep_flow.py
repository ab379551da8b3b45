"""The upkeep flow: what an installation does regularly, as a deployment with a schedule and a form."""

from contextlib import closing
from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Completed, Failed

from datasets.redaction import install, scrubbing
from datasets.settings import Settings, read_settings
from flows.opening import open_books
from flows.upkeep import Part, Place
from flows.upkeep_order import UpkeepOrder, UpkeepPart
from flows.upkeep_parts import done_parts

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
        done = run_upkeep(order, read_settings())
        failed = [part for part in done if part.failed]
        if failed:
            return Failed(message="; ".join(f"{part.name}: {part.failed}" for part in failed), data=done)
        return Completed(message=f"{len(done)} parts done", data=done)


def run_upkeep(order: UpkeepOrder, settings: Settings) -> list[Part]:
    """The flow's body: the parts that the order names, one after the other; shown in the UI if this is a flow run."""
    storage, ledger = open_books(settings)
    with closing(ledger):
        done = list(done_parts(Place(settings, storage, ledger, _is_connected), order))
    if FlowRunContext.get() is not None:
        rows = [{"part": part.name, "said": part.failed or "; ".join(part.lines)} for part in done]
        create_table_artifact(table=rows, key="upkeep", description="What came of every part of upkeep.")
    return done


def _is_connected() -> None:
    """Inside a flow, Prefect's server answers already."""
