"""One time limit for all that happens for a URL. A limit per read would let a byte a second go on for ever."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Deadline:
    """So many seconds from now on."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def seconds(self) -> float:
        """Seconds left; zero or less when they have passed."""
        return self._end - time.monotonic()

    def left(self) -> float:
        """Seconds left, more than zero.

        Raises:
            TimeoutError: They have passed.
        """
        left = self.seconds
        if left <= 0:
            raise TimeoutError("the time limit has passed")
        return left

    def within(self, seconds: float) -> "Deadline":
        """An earlier end for one step."""
        return Deadline(min(seconds, self.left()))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time spent here does not count: it is spent on others."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self._end += time.monotonic() - begun
