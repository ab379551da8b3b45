"""Feeds a catalogue's rows to threads: pictures are asked for beside the work, and no row waits for the slowest.

A window of rows is on its way at a time, of as many batches as it takes; reading the table waits for it. Each host is
asked by so many threads at once as it is allowed, so that a slow one does not take those of the others. Of rows that
want the same made of the same picture, one is worked on and the others find it in the store.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter

from datasets.catalogue import BadRow, CatalogueRow
from datasets.ledger import CatalogueState, ItemNotes, NotesWriter
from datasets.ledger.lineage_rows import LineageRow
from flows.catalogue_identity import sku_key
from flows.catalogue_pictures import host_of
from flows.catalogue_rows import Looked, Rows
from flows.catalogue_tally import RowEnd, Tally
from tasks.batch_stages import Batch
from tasks.context import RunStoppedError

LOOKING = 24  # threads that ask for pictures
WINDOW = 4  # batches whose rows are on their way
Job = Callable[[], None]


class Turns:
    """Lets the jobs of one group take no more than so many of a pool's threads; the rest waits in order."""

    def __init__(self, pool: ThreadPoolExecutor, most: int) -> None:
        self._pool, self._most = pool, most
        self._busy: dict[str, int] = {}
        self._waiting: dict[str, deque[Job]] = {}
        self._lock = threading.Lock()

    def submit(self, group: str, job: Job) -> "Future[None]":
        """Run a job as soon as it is its turn; what it ends with is in the future."""
        done = Future[None]()
        with self._lock:
            if self._busy.get(group, 0) >= self._most:
                self._waiting.setdefault(group, deque()).append(partial(_settle, done, job))
                return done
            self._busy[group] = self._busy.get(group, 0) + 1
        self._pool.submit(self._run, group, partial(_settle, done, job))
        return done

    def _run(self, group: str, job: Job) -> None:
        try:
            job()
        finally:
            following = self._next(group)
            if following is not None:
                self._pool.submit(self._run, group, following)

    def _next(self, group: str) -> Job | None:
        with self._lock:
            if self._waiting.get(group):
                return self._waiting[group].popleft()
            self._waiting.pop(group, None)
            self._busy[group] -= 1
            if not self._busy[group]:
                del self._busy[group]
            return None


def _settle(done: "Future[None]", job: Job) -> None:
    try:
        job()
    except BaseException as error:
        done.set_exception(error)
    else:
        done.set_result(None)


class Twins:
    """Of jobs with the same name one runs at a time; those that came meanwhile follow it."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[Job]] = {}
        self._lock = threading.Lock()

    def may_begin(self, name: str, job: Job) -> bool:
        """Whether nobody is at it; else the job is kept for later."""
        with self._lock:
            if name in self._waiting:
                self._waiting[name].append(job)
                return False
            self._waiting[name] = []
            return True

    def done(self, name: str) -> list[Job]:
        """The jobs that waited; they are free to run."""
        with self._lock:
            return self._waiting.pop(name, [])


@dataclass
class Open:
    """A batch under way. ``left``: rows that are not through."""

    batch: Batch
    left: int
    begun: float = field(default_factory=perf_counter)


class Feed:
    """Takes all rows of a table through. Closed, it waits for what is under way.

    Args:
        at_once: Rows that are worked on at a time.
        per_host: Requests that one host gets at once.
        size: Rows of a batch.
    """

    def __init__(
        self, rows: Rows, writer: NotesWriter, tally: Tally, *, at_once: int, per_host: int, size: int
    ) -> None:
        self._rows, self._writer, self._tally, self._size = rows, writer, tally, size
        self._looking = ThreadPoolExecutor(LOOKING, thread_name_prefix="look")
        self._working = ThreadPoolExecutor(at_once, thread_name_prefix="item")
        self._turns, self._twins = Turns(self._looking, per_host), Twins()
        self._window = WINDOW * size + at_once
        self._slots = threading.Semaphore(self._window)
        self._lock = threading.Lock()
        self._ended: list[Batch] = []
        self._failure: BaseException | None = None
        self._stop = threading.Event()

    @property
    def stopped(self) -> bool:
        """Whether rows are left out because too many failed."""
        return self._stop.is_set()

    def run(self, batches: Iterable[tuple[list[CatalogueRow], list[BadRow]]]) -> None:
        """Feed all rows and wait until they are through.

        Raises:
            BaseException: Whatever ended the run.
        """
        try:
            for number, (good, bad) in enumerate(batches, start=1):
                self._feed(number, good, bad)
                if self._is_over():
                    break
            for _ in range(self._window):
                self._slots.acquire()
        except BaseException:
            self._rows.run.stopping.set()  # rows under way end at their next chunk
            raise
        finally:
            self._close()
        if self._failure is not None:
            raise self._failure

    def _is_over(self) -> bool:
        if not self._stop.is_set() and self._tally.over_budget:
            self._stop.set()
        return self._stop.is_set()

    def _close(self) -> None:
        for pool in (self._looking, self._working):
            pool.shutdown(wait=False, cancel_futures=True)
        if not self._rows.run.stopping.is_set():
            for batch in self._ended:
                batch.join()

    def _feed(self, number: int, good: Sequence[CatalogueRow], bad: Sequence[BadRow]) -> None:
        states = self._states(good, bad)
        for refused in bad:
            notes = self._notes()
            known = states.get(sku_key(refused.sku)) if refused.sku else None
            self._keep(notes, self._rows.refuse(refused, known, notes))
        batch = Open(Batch(number), len(good) + 1)  # one for this method
        for row in good:
            self._slots.acquire()
            if self._is_over():
                self._slots.release()
                self._through(batch)
                continue
            state = states.get(sku_key(row.sku))
            self._turns.submit(host_of(row.image), partial(copy_context().run, self._look, row, state, batch))
        self._through(batch)

    def _states(self, good: Sequence[CatalogueRow], bad: Sequence[BadRow]) -> dict[str, CatalogueState]:
        skus = [*(row.sku for row in good), *(row.sku for row in bad)]
        keys = [sku_key(sku) for sku in skus if sku]
        run = self._rows.run
        with run.ledger.session(run.storage.tenant, read_only=True) as session:
            return session.catalogue_states(self._rows.catalogue, keys)

    def _look(self, row: CatalogueRow, state: CatalogueState | None, batch: Open) -> None:
        try:
            if self._is_over():
                self._free(batch)
                return
            begun = perf_counter()
            looked = self._rows.look(row, state)
            self._tally.look(perf_counter() - begun)
            if looked.kind in ("same", "settled"):
                assert state is not None
                notes = self._notes()
                self._keep(notes, self._rows.leave(row, state, looked, notes))
                self._free(batch)
                return
            self._begin(looked.identity, partial(copy_context().run, self._work, row, state, looked, batch))
        except BaseException as error:
            self._fail(error, batch)

    def _begin(self, identity: str | None, job: Job) -> None:
        if identity is None or self._twins.may_begin(identity, job):
            self._working.submit(job)

    def _work(self, row: CatalogueRow, state: CatalogueState | None, looked: Looked, batch: Open) -> None:
        try:
            if not self._is_over():
                notes = self._notes()
                self._keep(notes, self._rows.work(row, state, looked, batch.batch, notes))
            self._free(batch)
        except BaseException as error:
            self._fail(error, batch)
        finally:
            for job in self._twins.done(looked.identity) if looked.identity else ():
                self._working.submit(job)

    def _fail(self, error: BaseException, batch: Open) -> None:
        """Something that is no row's own fault: the run ends. Rows of a run that is being stopped say nothing."""
        if not isinstance(error, RunStoppedError) and self._failure is None:
            self._failure = error
        self._stop.set()
        self._free(batch)

    def _free(self, batch: Open) -> None:
        self._through(batch)
        self._slots.release()

    def _through(self, batch: Open) -> None:
        with self._lock:
            batch.left -= 1
            if batch.left:
                return
            self._ended = [*(each for each in self._ended if each.is_open), batch.batch]
        batch.batch.end()
        self._rows.run.progress.finished(
            f"batch {batch.batch.number}", "rows", seconds=perf_counter() - batch.begun, cached=False, skipped=None
        )

    def _notes(self) -> ItemNotes:
        return ItemNotes(self._rows.record, self._known)

    def _known(self, digests: Sequence[str]) -> list[LineageRow]:
        run = self._rows.run
        with run.ledger.session(run.storage.tenant, read_only=True) as session:
            return session.lineages_of(digests)

    def _keep(self, notes: ItemNotes, end: RowEnd) -> None:
        self._writer.add(notes)
        self._tally.add(end)
