"""Loads the validation library beside a run's first stages, so that its first gate need not wait for it.

The thread that loads never holds anybody up: no run waits for it, and a process that ends tells it to stop.
"""

import atexit
import ctypes
import logging
import threading

from expectations.gate import Gate

LOG = logging.getLogger("stillmotion")
PATIENCE_S = 1.0  # for the library that is being loaded when the process ends
_begun = threading.Lock()


def warm_up() -> None:
    """Begin to load what the first decision needs, once in a process. Returns at once."""
    if _begun.acquire(blocking=False):
        thread = threading.Thread(target=_load, name="load-gates", daemon=True)
        thread.start()
        atexit.register(_end, thread)


def _load() -> None:
    try:
        Gate.warm_up()
    except (ImportError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        # The first gate will meet it again and tell whom it concerns.
        LOG.debug("what gates need could not be loaded beside the work: %s", error)


def _end(thread: threading.Thread) -> None:
    """Have the thread leave before the interpreter is taken down under it, which libraries do not survive."""
    if thread.is_alive() and thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
        thread.join(PATIENCE_S)
