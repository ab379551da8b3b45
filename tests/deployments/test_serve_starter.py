"""Processes that are forked for runs: their environment, their ends, and what becomes of them with their starter."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
    import os, socket, sys, threading, time
    from deployments.serve_starter import Starter

    loaded = [0]
    starter = Starter(socket.socket(fileno=int(sys.argv[1])), sys.stdin.fileno())
    environment = starter.serve()
    if environment is not None:
        os.environ.clear()
        os.environ.update(environment)
        assert threading.active_count() == 1
        assert sys.stdin.read() == ""
        if "SLEEP" in environment:
            time.sleep(float(environment["SLEEP"]))
        sys.exit(int(os.environ["STATUS"]))
"""


class Starting:
    """A starter in a process, and runs asked of it."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "starter")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(self.address)
            listener.listen()
            self.process = subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(PROGRAM), str(listener.fileno())],
                stdin=subprocess.PIPE,
                pass_fds=(listener.fileno(),),
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                start_new_session=True,
            )

    def ask(self, **environment: str) -> "Run":
        return Run(self.address, json.dumps(environment).encode())


class Run:
    def __init__(self, address: str, request: bytes) -> None:
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection.settimeout(30)
        self._connection.connect(address)
        self._connection.sendall(request + b"\n")
        self._lines = self._connection.makefile("rb")

    def hear(self) -> dict[str, int]:
        line = self._lines.readline()
        return dict(json.loads(line)) if line else {}

    def close(self) -> None:
        self._lines.close()
        self._connection.close()


@pytest.fixture
def starting(tmp_path: Path) -> Iterator[Starting]:
    made = Starting(tmp_path)
    yield made
    if made.process.poll() is None:
        os.killpg(made.process.pid, signal.SIGKILL)
    made.process.wait()


def _eventually(look: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not look():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def test_runs_have_their_own_environment_and_tell_their_ends(starting: Starting) -> None:
    runs = [starting.ask(STATUS=str(status)) for status in (0, 3, 7)]
    pids = [run.hear()["pid"] for run in runs]
    assert len({*pids, starting.process.pid}) == 4
    assert [run.hear() for run in runs] == [{"status": 0}, {"status": 3}, {"status": 7}]
    assert starting.process.poll() is None


def test_a_killed_run_tells_its_signal(starting: Starting) -> None:
    run = starting.ask(STATUS="0", SLEEP="60")
    os.kill(run.hear()["pid"], signal.SIGKILL)
    assert run.hear() == {"status": -9}


def test_what_is_no_request_starts_nothing(starting: Starting) -> None:
    for request in (b"no json", b"[1]", b"3"):
        assert Run(starting.address, request).hear() == {}
    assert starting.ask(STATUS="0").hear()["pid"] > 0


def test_a_run_outlives_the_runner_that_asked_for_it(starting: Starting) -> None:
    run = starting.ask(STATUS="0", SLEEP="1.5")
    pid = run.hear()["pid"]
    run.close()
    other = starting.ask(STATUS="5")
    other.hear()
    assert other.hear() == {"status": 5}
    assert psutil.pid_exists(pid)
    _eventually(lambda: not psutil.pid_exists(pid))
    assert starting.process.poll() is None


@pytest.mark.parametrize("way", ["signal", "parent gone"])
def test_at_its_end_it_ends_its_runs(starting: Starting, way: str) -> None:
    run = starting.ask(STATUS="0", SLEEP="60")
    pid = run.hear()["pid"]
    if way == "signal":
        starting.process.terminate()
    else:
        assert starting.process.stdin is not None
        starting.process.stdin.close()
    assert starting.process.wait(20) == 0
    assert run.hear() == {"status": -15}
    assert not psutil.pid_exists(pid)
