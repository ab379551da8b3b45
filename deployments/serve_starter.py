"""Starts flow runs at once: a process that has imported everything a run needs, and forks for each one.

A run in a new interpreter imports Prefect and the flows for three to six seconds before its first stage. This process
has done so, and nothing else: it has one thread, no connection and no open transaction, so that a fork of it is as
good as a new process. Who asks is ``deployments/warm_start.py``; runs outlive the runner that asked for them.

Run as ``python -m deployments.serve_starter FOLDER FILE LISTENER``. One connection is one run: a line of JSON with its
environment comes in, its process id goes out when it is started, its exit status when it has ended.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import time
import warnings
from pathlib import Path

from deployments.deployment_file import read_deployments
from deployments.serve_child import say_ready

RUN_MODULES = (
    "prefect.flow_engine",
    "prefect.task_engine",
    "prefect.events.clients",
    "prefect.artifacts",
    "anyio._backends._asyncio",
    "distributed",
)
ENDING = (signal.SIGCHLD, signal.SIGTERM)
END_S = 25.0  # runs tell ledger and server that they were ended
LONGEST_REQUEST = 1 << 20


class Starter:
    """Forks on request and tells of ends, in one thread.

    Args:
        listener: Where requests come in.
        parent: Descriptor that closes when the parent is gone.
    """

    def __init__(self, listener: socket.socket, parent: int) -> None:
        self._listener, self._parent = listener, parent
        self._asking: dict[int, socket.socket] = {}  # who waits for the end of which process
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._selector.register(parent, selectors.EVENT_READ, self._parent_gone)
        woken, waker = socket.socketpair()
        for end in (woken, waker):
            end.setblocking(False)
        self._woken, self._waker = woken, waker
        self._selector.register(woken, selectors.EVENT_READ, self._wake)
        self._is_ending = False

    def serve(self) -> dict[str, str] | None:
        """Start runs until told to end.

        Returns:
            In a forked process, the environment of the run to do; None in this one, at the end.
        """
        signal.set_wakeup_fd(self._waker.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "_is_ending", True))
        while not self._is_ending:
            for key, _ in self._selector.select():
                environment = key.data(key.fileobj)
                if environment is not None:
                    return environment  # type: ignore[no-any-return]  # what the methods below return
            self._reap()
        self._end_runs()
        return None

    def _accept(self, _: object) -> dict[str, str] | None:
        connection, _address = self._listener.accept()
        with contextlib.suppress(OSError, ValueError, AttributeError):  # not a request
            return self._fork(connection, _read_request(connection))
        connection.close()
        return None

    def _fork(self, connection: socket.socket, environment: dict[str, str]) -> dict[str, str] | None:
        """Become two: the run goes home with its environment, this one tells its number."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # the run must not take one as this process does
        child = os.fork()
        if child == 0:
            self._forget(connection)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if child == 0:
            return environment
        self._asking[child] = connection
        _tell(connection, pid=child)
        return None

    def _forget(self, connection: socket.socket) -> None:
        """In the run: nothing of the parent's is left open, signals are as at the start of a program."""
        signal.set_wakeup_fd(-1)
        for number in ENDING:
            signal.signal(number, signal.SIG_DFL)
        self._selector.close()
        for one in (self._listener, self._woken, self._waker, connection, *self._asking.values()):
            one.close()
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, self._parent)
        os.close(nothing)

    def _wake(self, _: object) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._woken.recv(4096):
                pass

    def _parent_gone(self, _: object) -> None:
        self._is_ending = not os.read(self._parent, 1024)

    def _reap(self) -> None:
        """Tell of all runs that have ended."""
        while self._asking:
            with contextlib.suppress(ChildProcessError):
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid:
                    connection = self._asking.pop(pid)
                    _tell(connection, status=os.waitstatus_to_exitcode(status))
                    connection.close()
                    continue
            return

    def _end_runs(self) -> None:
        """Tell the runs to end and give them time to say so; whoever started this process kills what is left."""
        for pid in self._asking:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + END_S
        while self._asking and time.monotonic() < deadline:
            self._reap()
            time.sleep(0.05)


def _read_request(connection: socket.socket) -> dict[str, str]:
    connection.settimeout(5.0)
    with connection.makefile("rb") as file:
        environment = json.loads(file.readline(LONGEST_REQUEST))
    return {str(name): str(value) for name, value in environment.items()}


def _tell(connection: socket.socket, **facts: int) -> None:
    """A runner that is gone hears nothing; its run goes on."""
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps(facts).encode() + b"\n")


def run(environment: dict[str, str]) -> None:
    """Be the run: what ``python -m prefect.engine`` does, with everything imported already."""
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["prefect.engine"]
    warnings.filterwarnings("ignore", message=".*prefect.engine.* found in sys.modules", category=RuntimeWarning)
    runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)


def load(file: Path) -> None:
    """Import what runs of these deployments need."""
    for module in (*RUN_MODULES, *(declared.module for declared in read_deployments(file).deployments)):
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # or the collector touches, and so copies, the shared memory in every run


def main(folder: Path, file: Path, listener: int) -> None:
    load(file)
    starter = Starter(socket.socket(fileno=listener), sys.stdin.fileno())
    say_ready(folder, "starter")
    environment = starter.serve()
    if environment is not None:
        run(environment)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
