"""Items in batches: one Prefect task per stage and batch, and one transaction for many items' facts.

A task of Prefect's costs tens of milliseconds, more than many a stage. In a batch the stages of items run bare; a task
for the stage and the batch begins with the first item that comes to it and ends when the batch is through.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar
from uuid import UUID, uuid4

from datasets.redaction import scrubbing
from tasks.context import current_run
from tasks.ends import NotDeliveredError

if TYPE_CHECKING:
    from datasets.ledger import ItemNotes, LedgerSession

END_PATIENCE_S = 30.0  # for Prefect to hear of a batch's end


class Passed(Protocol):
    """What a batch wants to know of what a stage came to."""

    @property
    def cached(self) -> bool: ...
    @property
    def seconds(self) -> float: ...


Outcome = TypeVar("Outcome", bound=Passed)


@dataclass
class BatchStage:
    """One stage of a batch, as it is shown in Prefect."""

    name: str
    number: int
    task_run_id: UUID = field(default_factory=uuid4)
    computed: int = 0
    cached: int = 0
    ended: int = 0
    failed: int = 0
    seconds: float = 0.0
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def label(self) -> str:
        return f"{self.name} batch {self.number}"

    @property
    def words(self) -> str:
        """What became of the batch's items here."""
        counts = ((self.computed, "computed"), (self.cached, "from the store"), (self.ended, "stopped or put off"))
        told = [f"{count} {what}" for count, what in (*counts, (self.failed, "failed")) if count]
        return f"{', '.join(told) or 'interrupted'}; {self.seconds:.1f} s in all"

    def count(self, outcome: Passed) -> None:
        with self.lock:
            self.computed += not outcome.cached
            self.cached += outcome.cached
            self.seconds += outcome.seconds


class Batch:
    """A batch of items under way. Its end is when ``end`` is called, whatever the order its items finish in.

    Args:
        number: From 1, in the order of the table.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._stages: dict[str, BatchStage] = {}
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def pass_through(self, name: str, stage: Callable[[], Outcome]) -> Outcome:
        """Run one item's stage bare, under the batch's task for it."""
        at = self._at(name)
        token = _STAGE.set(at)
        try:
            with scrubbing():
                outcome = stage()
        except NotDeliveredError:
            with at.lock:
                at.ended += 1
            raise
        except Exception:
            with at.lock:
                at.failed += 1
            raise
        finally:
            _STAGE.reset(token)
        at.count(outcome)
        return outcome

    @property
    def stages(self) -> list[BatchStage]:
        """What its items have come to so far."""
        with self._lock:
            return list(self._stages.values())

    @property
    def is_open(self) -> bool:
        """Whether Prefect has not heard of its end."""
        return any(thread.is_alive() for thread in self._threads)

    def end(self) -> None:
        """All items are through: their tasks end in Prefect, which need not be waited for."""
        for stage in self.stages:
            stage.over.set()

    def join(self) -> None:
        """Wait until Prefect knows."""
        for thread in self._threads:
            thread.join(END_PATIENCE_S)

    def _at(self, name: str) -> BatchStage:
        with self._lock:
            if name not in self._stages:
                self._stages[name] = BatchStage(name, self.number)
                self._show(self._stages[name])
            return self._stages[name]

    def _show(self, stage: BatchStage) -> None:
        """Keep a task of Prefect's for the stage. Outside a flow run there is nobody to show it to."""
        from prefect.context import FlowRunContext

        if FlowRunContext.get() is None:
            stage.task_run_id = UUID(int=0)
            return
        thread = threading.Thread(
            target=copy_context().run, args=(_follow, stage), name=stage.label.replace(" ", "-"), daemon=True
        )
        thread.start()
        self._threads.append(thread)


def _follow(stage: BatchStage) -> None:
    """A task that lasts until the batch is through the stage, and says then what became of it."""
    from prefect import task
    from prefect.cache_policies import NO_CACHE
    from prefect.states import Completed, Failed
    from prefect.task_engine import run_task_sync

    def body(label: str) -> object:  # noqa: ARG001 - shown in Prefect
        stage.over.wait()
        through = stage.computed + stage.cached + stage.ended
        if stage.failed and not through:
            return Failed(message=stage.words)
        name = "Cached" if stage.cached and not stage.computed else None
        return Completed(message=stage.words, name=name)

    followed = task(name=stage.name, task_run_name=stage.label, retries=0, cache_policy=NO_CACHE, persist_result=False)(
        body
    )
    run_task_sync(followed, task_run_id=stage.task_run_id, parameters={"label": stage.label}, return_type="state")


@dataclass(frozen=True)
class BatchItem:
    """The item that a thread works on, of a batch: where its facts are gathered."""

    batch: Batch
    notes: "ItemNotes"


_ITEM: ContextVar[BatchItem | None] = ContextVar("stillmotion_batch_item", default=None)
_STAGE: ContextVar[BatchStage | None] = ContextVar("stillmotion_batch_stage", default=None)


@contextmanager
def working_on(item: BatchItem) -> Iterator[None]:
    """Stages that run in the block belong to this item of a batch."""
    token = _ITEM.set(item)
    try:
        yield
    finally:
        _ITEM.reset(token)


def batched() -> bool:
    """Whether this thread works on an item of a batch."""
    return _ITEM.get() is not None


def batch_of_item() -> Batch | None:
    """The batch of the item that this thread works on."""
    item = _ITEM.get()
    return None if item is None else item.batch


def task_run_of_item() -> str | None:
    """Prefect's task run for the stage that this thread is at."""
    stage = _STAGE.get()
    return str(stage.task_run_id) if stage is not None and stage.task_run_id.int else None


@contextmanager
def books_of_item() -> "Iterator[LedgerSession | ItemNotes]":
    """Where the facts of the current item go: into the ledger now, or to those of its batch."""
    item = _ITEM.get()
    if item is not None:
        yield item.notes
        return
    run = current_run()
    with run.ledger.session(run.storage.tenant) as session:
        yield session
