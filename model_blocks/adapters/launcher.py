"""Starts a command apart from everything else and ends all that came of it. Runs as a program of its own.

It is started as a file and imports the standard library only: limits are set and namespaces left here, in a process
with one thread, and not in a fork of one with many.

Where the system allows it, the command gets namespaces of its own: when the first process in them ends, the kernel ends
all others, whatever sessions they made, and no network can be reached. Elsewhere this process takes in whatever its
children leave behind and ends it by looking for it.

On standard input it is told what to do, on the descriptor ``told`` it says in one line of JSON what it could do.
Exit status: the command's; 128 and a signal's number; 127 if the command could not be started.
"""

import ctypes
import json
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38  # linux/prctl.h
NEW_MOUNTS, NEW_IPC, NEW_USER, NEW_PROCESSES, NEW_NETWORK = 0x20000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
MS_REC, MS_PRIVATE, MS_GUARDED = 0x4000, 0x40000, 0xE  # linux/mount.h; nosuid, nodev, noexec
NOT_STARTED = 127
SWEEPS, SWEEP_S = 200, 0.005


class _EndedError(BaseException):
    """Whoever started this process wants it to end."""


class _OrphanedError(_EndedError):
    """Whoever started this process is gone."""


def main() -> int:
    spec = json.load(sys.stdin.buffer)
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGHUP, _orphan)
    _prctl(PR_SET_PDEATHSIG, signal.SIGHUP)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    orphaned = False
    try:
        if os.getppid() != spec["parent"]:
            return NOT_STARTED
        apart = _leave(network=spec["network"])
        os.write(spec["told"], json.dumps(apart).encode() + b"\n")
        os.close(spec["told"])
        return _waited(os.fork() or _first(spec, apart))
    except _EndedError as end:
        orphaned = isinstance(end, _OrphanedError)  # at once: other threads of a killed parent may be there for a while
        return 128 + signal.SIGTERM
    finally:
        for name in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(name, signal.SIG_IGN)
        _sweep()
        if orphaned or os.getppid() != spec["parent"]:  # nobody else is left to do it
            shutil.rmtree(spec["folder"], ignore_errors=True)


def _end(*_: object) -> NoReturn:
    raise _EndedError


def _orphan(*_: object) -> NoReturn:
    raise _OrphanedError


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _leave(*, network: bool) -> dict[str, bool]:
    """Leave as many namespaces as the system allows; what came of it."""
    wanted = NEW_PROCESSES | NEW_IPC | (0 if network else NEW_NETWORK)
    if sys.platform != "linux":
        return {"processes": False, "network": False, "user": False}
    user, group = os.getuid(), os.getgid()
    for flags in (wanted, wanted | NEW_USER):
        if ctypes.CDLL(None, use_errno=True).unshare(flags) == 0:
            if flags & NEW_USER:
                _write("/proc/self/setgroups", "deny")
                _write("/proc/self/uid_map", f"{user} {user} 1")
                _write("/proc/self/gid_map", f"{group} {group} 1")
            return {"processes": True, "network": not network, "user": bool(flags & NEW_USER)}
    return {"processes": False, "network": False, "user": False}


def _write(path: str, text: str) -> None:
    with suppress(OSError):
        Path(path).write_text(text, encoding="ascii")


def _first(spec: dict[str, Any], apart: dict[str, bool]) -> NoReturn:
    """The child: the command itself, or, in namespaces of its own, the first process, which waits for the command."""
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_DFL)
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if not apart["processes"]:
        _become(spec, apart)
    _own_proc()
    command = os.fork()
    if command == 0:
        _become(spec, apart)
    os._exit(_waited(command))


def _own_proc() -> None:
    """Show the command its own processes alone; where that cannot be, it sees the machine's."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_MOUNTS) == 0 and libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None) == 0:
        libc.mount(b"proc", b"/proc", b"proc", MS_GUARDED, None)


def _become(spec: dict[str, Any], apart: dict[str, bool]) -> NoReturn:
    """Set the limits and become the command."""
    try:
        for name, value in spec["limits"].items():
            if name != "RLIMIT_NPROC" or apart["user"]:  # elsewhere it counts all processes of the user
                _limit(getattr(resource, name, None), value)
        _prctl(PR_SET_NO_NEW_PRIVS, 1)
        os.umask(0o077)
        os.chdir(spec["folder"])
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.execvpe(spec["command"][0], spec["command"], spec["environment"])  # noqa: S606 - the user's own command
    except OSError as error:
        os.write(2, f"{spec['command'][0]}: {error.strerror}\n".encode())
    finally:
        os._exit(NOT_STARTED)


def _limit(kind: int | None, value: int) -> None:
    if kind is not None:
        _, hard = resource.getrlimit(kind)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        later = kind == resource.RLIMIT_CPU and hard == resource.RLIM_INFINITY  # at once it would be SIGKILL
        resource.setrlimit(kind, (value, value + 1 if later else value))


def _waited(child: int) -> int:
    """Wait for a child, and for whatever else ends meanwhile; its exit status."""
    while True:
        ended, status = os.wait()
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _sweep() -> None:
    """End everything that came of this process. What is in namespaces of its own ends with its first process."""
    for _ in range(SWEEPS):
        found = list(_descendants())
        for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped first: what stands still does not fork
            for pid in found:
                with suppress(OSError):
                    os.kill(pid, number)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue
        if not found:
            return
        time.sleep(SWEEP_S)


def _descendants() -> Iterator[int]:
    """The processes that this one is an ancestor of, as /proc has it."""
    parents = {}
    for entry in Path("/proc").iterdir() if sys.platform == "linux" else ():
        with suppress(OSError, ValueError):  # it ended meanwhile
            if entry.name.isdigit():
                state, parent = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
                if state not in "ZX":
                    parents[int(entry.name)] = int(parent)
    family = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    yield from family - {os.getpid()}


if __name__ == "__main__":
    sys.exit(main())
