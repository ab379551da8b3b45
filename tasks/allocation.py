"""How a process gets memory for frames from the system."""

import ctypes
import sys
from collections.abc import Callable

# Of glibc's malloc.h; other C libraries have no such settings.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
SMALLEST_MAPPED = 1 << 21  # bytes; a block from this size on is mapped for itself, and gone when it is freed
KEPT = 1 << 24  # bytes that stay at the heap's end when they are freed
LARGEST_KEPT = 1 << 28  # bytes of a block, and of the heap's end, that a worker keeps


def share_freed_memory() -> None:
    """Have what a clip takes depend on the clip alone, not on the order in which threads come to work.

    As a rule the C library gives every thread a heap of its own, whose freed memory no other can have, and keeps blocks
    there that grow with those that were freed. To be called before there are threads, by a process that is the
    project's own. Costs a few hundredths of the time: the system fills what is mapped with zeros.
    """
    _set({M_ARENA_MAX: 1, M_MMAP_THRESHOLD: SMALLEST_MAPPED, M_TRIM_THRESHOLD: KEPT})


def reuse_freed_memory() -> None:
    """Keep the memory of frames that are done for the next ones; for a process that works in one thread.

    Dask asks its workers to give everything back at once. Then every chunk of frames is mapped anew, and the system
    fills each of its pages with zeros.
    """
    _set({M_MMAP_THRESHOLD: LARGEST_KEPT, M_TRIM_THRESHOLD: LARGEST_KEPT})


def _set(options: dict[int, int]) -> None:
    mallopt: Callable[[int, int], int] | None = None
    if sys.platform.startswith("linux"):
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in options.items():
            mallopt(option, value)
