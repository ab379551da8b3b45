"""What a run holds while it goes: storage, ledger, executor, progress. Stages find it here; it never travels."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Event

from datasets.ledger import Ledger
from datasets.settings import Settings
from datasets.storage import Storage
from model_blocks.choice import ModelRef
from tasks.chunks import Limits
from tasks.executor import Executor
from tasks.progress import Progress


@dataclass(frozen=True)
class RunContext:
    """The means of one run. ``models`` holds the chosen model of every capability the recipe needs.

    A dry run takes outputs from the store, computes nothing and writes nothing. Once ``stopping`` is set, no stage
    begins any more.
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
    stopping: Event = field(default_factory=Event)


_CURRENT: ContextVar[RunContext] = ContextVar("stillmotion_run")


def current_run() -> RunContext:
    """The run this thread works for."""
    return _CURRENT.get()


@contextmanager
def within_run(context: RunContext) -> Iterator[RunContext]:
    """Make a run the current one of this thread and of those that copy its context."""
    token = _CURRENT.set(context)
    try:
        yield context
    finally:
        _CURRENT.reset(token)
