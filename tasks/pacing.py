"""How many calls to a service are on their way at once: one at first, more as it answers, one again when it does not.

A service that is down is then met by one call of a process and not by as many as it has items. Where it goes down
while several calls are on their way, those cannot be called back: each of them may still be refused. After the first
refusal no other begins, the circuit is open as soon as a refusal says ``Retry-After``, and when that has passed one
call of all processes tries. So a service that refuses for some time sees, of this process, at most the calls that were
on their way (``most``) and one for each time that the circuit tries again; the waits between these double.

Source: Chiu and Jain 1989, additive increase and multiplicative decrease, with the decrease down to one.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOOK_S = 0.1  # how often a waiting item looks whether the run is being stopped


class Pace:
    """The calls to one service from this process.

    Args:
        most: Calls that may be on their way at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = 1
        self._under_way = 0
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, refuse_if_stopping: Callable[[], None]) -> Iterator[None]:
        """Wait until a call may begin; it is on its way while the block runs."""
        with self._changed:
            while self._under_way >= self._limit:
                self._changed.wait(LOOK_S)
                refuse_if_stopping()
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def answered(self) -> None:
        """The service did what it was asked for."""
        with self._changed:
            self._limit = min(self._most, self._limit + 1)
            self._changed.notify_all()

    def unwell(self) -> None:
        """It did not, or is left alone."""
        with self._changed:
            self._limit = 1
