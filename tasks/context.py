"""What a run holds while it goes: storage, ledger, executor, progress. Stages find it here; it never travels."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import datetime
from threading import Event
from typing import TYPE_CHECKING

from datasets.errors import PipelineError
from datasets.ledger import Ledger
from datasets.settings import Settings
from datasets.storage import Storage
from model_blocks.choice import ModelRef
from tasks.approving import Approver
from tasks.chunks import Limits
from tasks.executor import Executor
from tasks.gate_keeper import GateKeeper
from tasks.growing import Growing
from tasks.progress import Progress

if TYPE_CHECKING:
    from tasks.buying import PaidService


@dataclass(frozen=True)
class RunContext:
    """The means of one run. ``models`` holds the chosen model of every capability the recipe needs.

    A dry run takes outputs from the store, computes nothing and writes nothing. Once ``stopping`` is set, no stage
    begins any more. ``growing`` holds, by item and fingerprint, the frames that are being made and that another stage
    may begin on; ``began`` says when stages did so, on the clock that measures and on the wall. ``service`` is there if
    the recipe has a paid stage; ``gates`` decide about pictures; ``approval`` is there if a human is asked before money
    is spent.
    """

    run_id: str
    settings: Settings
    storage: Storage
    ledger: Ledger
    executor: Executor
    limits: Limits
    progress: Progress
    models: Mapping[str, ModelRef]
    dry: bool = False
    service: "PaidService | None" = None
    gates: GateKeeper = field(default_factory=GateKeeper)
    approval: Approver | None = None
    stopping: Event = field(default_factory=Event)
    growing: dict[tuple[str, str], Growing] = field(default_factory=dict)
    began: dict[tuple[str, str], tuple[float, datetime]] = field(default_factory=dict)

    @property
    def paid(self) -> "PaidService":
        """The paid service of the run, opened where its recipe needs one."""
        assert self.service is not None
        return self.service

    def refuse_if_stopping(self) -> None:
        """Called before every stage and after every chunk.

        Raises:
            RunStoppedError: The run was interrupted; nothing begins any more.
        """
        if self.stopping.is_set():
            raise RunStoppedError("the run is being stopped; the same command goes on here")

    def growing_of(self, item: str, fingerprint: str) -> Growing:
        """Where a stage tells what it has finished, whether anybody listens or not."""
        return self.growing.get((item, fingerprint)) or Growing()

    def chunk_done(self, item: str, stage: str, done: int, total: int) -> None:
        """Tell the progress display, and end here if the run is being stopped."""
        self.progress.advanced(item, stage, done, total)
        if done * 4 // max(1, total) > (done - 1) * 4 // max(1, total):
            LOG.info("%s: %s has done %d of %d", item, stage, done, total)
        self.refuse_if_stopping()


class RunStoppedError(PipelineError):
    code = "run_stopped"


LOG = logging.getLogger("stillmotion")
_CURRENT: ContextVar[RunContext] = ContextVar("stillmotion_run")


def current_run() -> RunContext:
    """The run this thread works for."""
    return _CURRENT.get()


def change_models(models: Mapping[str, ModelRef]) -> None:
    """From here on, until its block ends, this thread's run works with other models."""
    _CURRENT.set(replace(_CURRENT.get(), models=models))


@contextmanager
def within_run(context: RunContext) -> Iterator[RunContext]:
    """Make a run the current one of this thread and of those that copy its context."""
    token = _CURRENT.set(context)
    try:
        yield context
    finally:
        _CURRENT.reset(token)
