"""How a worker gets memory for frames from the system."""

import ctypes
import sys

# Of glibc's malloc.h; other C libraries have no such settings.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST = 1 << 28  # bytes; blocks up to this size come from the heap, and as much of its end stays


def reuse_freed_memory() -> None:
    """Keep the memory of frames that are done for the next ones, where the C library can.

    Dask asks its workers to give everything back at once. Then every chunk of frames is mapped anew, and the system
    fills each of its pages with zeros. For a process that works in one thread: others would each keep as much.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, LARGEST)
        mallopt(M_MMAP_THRESHOLD, LARGEST)
