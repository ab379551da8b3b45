"""Models in the processes that work: told what to keep, asked what they have. They tell facts; drivers write them."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from datasets.errors import PipelineError
from model_blocks import runtime
from model_blocks.choice import ModelRef
from model_blocks.shelf_facts import ShelfRules, ShelfStatistics
from tasks.executor import Executor

SWEEP_S = 30.0  # a worker that waits lets go of idle models, too
LOG = logging.getLogger("stillmotion")
Answer = TypeVar("Answer")


@runtime_checkable
class Team(Protocol):
    """An executor with processes of its own."""

    def everywhere(self, function: Callable[..., Answer], *arguments: object) -> list[Answer]:
        """Call a function on every worker that is there; those that do not answer are left out."""
        ...

    def at_start(self, plugin: Any) -> None:
        """Have every worker, present and to come, set up a plugin."""
        ...


@dataclass(frozen=True)
class ModelOrders:
    """What a process is to keep.

    Attributes:
        rules: What its shelf goes by.
        bring: Models that a worker loads when it starts, also when it is started again after a crash.
    """

    rules: ShelfRules
    bring: tuple[ModelRef, ...] = ()


def give_orders(executor: Executor, orders: ModelOrders) -> None:
    """Have the processes of an executor keep models so.

    This process loads nothing ahead: what its run needs is loaded when it is needed, and it ends with its run.
    """
    if isinstance(executor, Team):
        executor.at_start(_keeper(orders))
    else:
        runtime.SHELF.obey(orders.rules)


def gather(executor: Executor, *, tell: bool = True) -> list[ShelfStatistics]:
    """What the processes of an executor have to tell of their models."""
    if isinstance(executor, Team):
        return executor.everywhere(told_here, tell)
    return [told_here(tell)]


def told_here(tell: bool = True) -> ShelfStatistics:
    """What this process has to tell. Idle models go first."""
    runtime.SHELF.sweep()
    return runtime.SHELF.statistics(tell=tell)


def take_orders(orders: ModelOrders) -> threading.Thread:
    """Go by the rules, and load what is to be there beside the work: nobody waits for a worker to start."""
    runtime.SHELF.obey(orders.rules)
    thread = threading.Thread(target=_bring, args=(orders.bring,), name="bring-models", daemon=True)
    thread.start()
    return thread


def _bring(refs: tuple[ModelRef, ...]) -> None:
    for ref in refs:
        try:
            runtime.bring(ref)
        except (PipelineError, ImportError, MemoryError, OSError, RuntimeError, ValueError) as error:
            # The shelf has noted it; whoever asks for the model will meet it again and tell whom it concerns.
            LOG.debug("%s could not be loaded ahead: %s", ref.name, error)


def _keeper(orders: ModelOrders) -> Any:
    from distributed import WorkerPlugin

    class ModelKeeper(WorkerPlugin):
        name = "models"

        def setup(self, worker: Any) -> None:
            from tornado.ioloop import PeriodicCallback

            take_orders(orders)
            self.sweeping = PeriodicCallback(runtime.SHELF.sweep, SWEEP_S * 1000)
            self.sweeping.start()

        def teardown(self, worker: Any) -> None:
            self.sweeping.stop()

    return ModelKeeper()
