"""Rows that come one by one from several threads, decided together: one validation costs as much as a thousand rows."""

import queue
import threading
import time
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Self

from expectations.gate import Decision, Gate, GateError

if TYPE_CHECKING:
    from polars import DataFrame

MOST = 64  # items
LONGEST_WAIT_S = 2.0  # of the first item of a batch
Waiting = tuple["DataFrame", "Future[Decision]"]


class MicroBatcher:
    """Gathers rows and has a gate decide them together.

    A batch is decided when it has ``most`` rows, or ``wait_s`` after its first row came. Rows that come while a batch
    is being decided make the next one.

    Args:
        gate: Who decides.
        most: Rows of a batch. Where fewer threads than that submit and each waits for its decision, their number:
            nobody else can come then, and nobody needs to be waited for.
        wait_s: Seconds that a row waits for others.
    """

    def __init__(self, gate: Gate, *, most: int = MOST, wait_s: float = LONGEST_WAIT_S) -> None:
        if not 1 <= most <= MOST:
            raise ValueError(f"a micro-batch has 1 to {MOST} rows, got {most}")
        self._gate, self._most, self._wait_s = gate, most, wait_s
        self._queue: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, row: "DataFrame") -> "Future[Decision]":
        """Hand in one row; its decision comes later.

        Raises:
            GateError: It is not one row, or lacks a column, or the batcher was closed. Nobody else's row suffers.
        """
        if row.height != 1:
            raise GateError(f"expected one row, got {row.height}", rows=row.height)
        row = self._gate.fitted(row)
        waiting: Future[Decision] = Future()
        with self._lock:
            if self._closed:
                raise GateError("the gate was closed; no more rows are taken")
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="gate", daemon=True)
                self._thread.start()
            self._queue.put((row, waiting))
        return waiting

    def decide(self, row: "DataFrame") -> Decision:
        """Hand in one row and wait for its decision.

        Raises:
            GateError: It could not be evaluated.
        """
        return self.submit(row).result()

    def close(self) -> None:
        """Decide what waits, then end. May be called twice."""
        with self._lock:
            self._closed = True
            thread = self._thread
            self._queue.put(None)
        if thread is not None:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _work(self) -> None:
        open_still = True
        while open_still:
            batch, open_still = self._gather()
            if batch:
                self._answer(batch)

    def _gather(self) -> tuple[list[Waiting], bool]:
        """The next batch, and whether more may come."""
        batch: list[Waiting] = []
        deadline = float("inf")
        while len(batch) < self._most:
            try:
                entry = self._queue.get(timeout=max(0.0, deadline - time.monotonic()) if batch else None)
            except queue.Empty:
                break
            if entry is None:
                return batch, False
            if not batch:
                deadline = time.monotonic() + self._wait_s
            batch.append(entry)
        return batch, True

    def _answer(self, batch: list[Waiting]) -> None:
        import polars as pl

        live = [(row, waiting) for row, waiting in batch if waiting.set_running_or_notify_cancel()]
        if not live:
            return
        try:
            decisions = self._gate.decide(pl.concat([row for row, _ in live], how="vertical"))
        except BaseException as error:  # whoever waits must be told, whatever it was
            for _, waiting in live:
                waiting.set_exception(error)
            return
        for (_, waiting), decision in zip(live, decisions, strict=True):
            waiting.set_result(decision)
