"""Who works here, and whether a process that was written down still lives."""

import os
import socket
from datetime import timedelta
from pathlib import Path

import psutil

FIRST_PID_NAMESPACE = 0xEFFFFFFC  # Linux, include/linux/proc_ns.h: the namespace outside all containers
ORPHAN_AFTER = timedelta(minutes=5)  # a run on another host that was silent for so long is taken for dead
CLOCK_TOLERANCE_S = 1.0  # a process's birth is known to a clock tick, and the boot time it counts from to a second


def host_name() -> str:
    """This host's name; in a container also its process namespace.

    Containers may share a host's name but not its process numbers: what one cannot see may well live in another.
    """
    try:
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:  # not Linux: no namespaces
        return socket.gethostname()
    return socket.gethostname() if namespace == FIRST_PID_NAMESPACE else f"{socket.gethostname()}/{namespace}"


def own_birth() -> float:
    """When this process began, in seconds since the epoch."""
    return psutil.Process(os.getpid()).create_time()


def is_alive(pid: int, *, born_by: float, born_after: float = 0.0) -> bool:
    """Whether a process of this host lives, and is not a later one that got the number again.

    Args:
        pid: Its number.
        born_by: A moment at which it lived, in seconds since the epoch.
        born_after: A moment before which it cannot have begun.
    """
    try:
        process = psutil.Process(pid)
        fits = born_after - CLOCK_TOLERANCE_S <= process.create_time() <= born_by + CLOCK_TOLERANCE_S
        return fits and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True  # it is there, but not ours to look at
