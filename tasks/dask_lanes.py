"""The way of tasks to the workers of a Dask cluster and back, and who may have tasks there."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any


class Floor:
    """Who may have tasks on the cluster: many at a time, or one suspect alone.

    When a worker dies, Dask suspects every task that was there, also those that only waited. Alone on the cluster a
    task shows whether it is the one.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._shared = 0
        self._suspects = 0  # waiting or at work; they go before everybody else
        self._alone = False

    def enter(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._suspects)
            self._shared += 1

    def leave(self) -> None:
        with self._changed:
            self._shared -= 1
            self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:
            self._suspects += 1
            self._changed.wait_for(lambda: not self._shared and not self._alone)
            self._alone = True
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._suspects -= 1
                self._changed.notify_all()


class Lane:
    """One run's tasks on their way to the workers and back, a bounded number at a time.

    A thread of its own takes the tasks: the next one may have to be waited for, and results that are there by then
    are handed on all the same.
    """

    def __init__(self, submit: Callable[[Any], Any], tasks: Iterable[Any], floor: Floor, room: int) -> None:
        self._submit, self._floor = submit, floor
        self._room = threading.Semaphore(room)
        self._lock = threading.Lock()
        self._pending: dict[Any, tuple[int, Any]] = {}
        self._closed = False
        # Futures that are done; at last how many tasks there were, or what went wrong.
        self._events: SimpleQueue[Any] = SimpleQueue()
        take = partial(copy_context().run, self._take, tasks)
        threading.Thread(target=take, name="tasks", daemon=True).start()

    def finished(self) -> Iterator[tuple[Any, int, Any]]:
        """Futures as they are done, each with its task and that task's position."""
        taken, returned, all_taken = 0, 0, False
        while not all_taken or returned < taken:
            event = self._events.get()
            if isinstance(event, Exception):
                raise event
            if isinstance(event, int):
                taken, all_taken = event, True
                continue
            yield event, *self._pending[event]
            with self._lock:
                del self._pending[event]
            self._room.release()
            returned += 1

    def close(self) -> list[Any]:
        """Take no more tasks; returns the futures that are still on their way."""
        with self._lock:
            self._closed = True
        self._room.release()
        return list(self._pending)

    def _take(self, tasks: Iterable[Any]) -> None:
        position = -1
        try:
            for position, task in enumerate(tasks):
                self._room.acquire()
                self._floor.enter()
                with self._lock:
                    if self._closed:
                        self._floor.leave()
                        return
                    try:
                        future = self._submit(task)
                    except BaseException:
                        self._floor.leave()
                        raise
                    self._pending[future] = (position, task)
                future.add_done_callback(self._done)
        except Exception as error:  # raised where the results are read
            self._events.put(error)
        else:
            self._events.put(position + 1)

    def _done(self, future: Any) -> None:
        self._floor.leave()
        self._events.put(future)
