"""How processes get memory for frames from the system, and give it back."""

import ctypes
import gc
import sys
import threading
import time
from collections.abc import Callable

# Of glibc's malloc.h; other C libraries have no such settings.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST = 1 << 28  # bytes; blocks up to this size come from the heap, and as much of its end stays
TRIM_EVERY_S = 1.0  # looking through all objects takes about a tenth of a second


def reuse_freed_memory() -> None:
    """Keep the memory of frames that are done for the next ones, where the C library can.

    Dask asks its workers to give everything back at once. Then every chunk of frames is mapped anew, and the system
    fills each of its pages with zeros. For a process that works in one thread: others would each keep as much.
    """
    mallopt = _function("mallopt")
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, LARGEST)
        mallopt(M_MMAP_THRESHOLD, LARGEST)


class Trimming:
    """Gives back, now and then, what is done with.

    Frames hang in reference cycles of the libraries that stored and fetched them, where Python counts each of their
    arrays as one object however large it is; and each thread has a heap of its own with holes that pile up.
    """

    def __init__(self) -> None:
        self._trim = _function("malloc_trim")
        self._lock = threading.Lock()
        self._next = time.monotonic() + TRIM_EVERY_S

    def __call__(self) -> None:
        """To be called often; most calls do nothing."""
        if self._trim is None or time.monotonic() < self._next or not self._lock.acquire(blocking=False):
            return
        try:
            gc.collect()
            self._trim(0)
            self._next = time.monotonic() + TRIM_EVERY_S
        finally:
            self._lock.release()


def _function(name: str) -> Callable[..., int] | None:
    """A function of the C library, if it has it."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
