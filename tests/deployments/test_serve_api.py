"""Taking a home's API server over: an idle one makes room, a second ``stillmotion serve`` is refused."""

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments import api_server
from deployments.api_server import FOLDER, ApiServerError, listen, read_record, try_lock
from deployments.serve_api import hold

IDLE_SERVER = """
    import fcntl, json, os, sys, time
    folder = sys.argv[1]
    lock = os.open(folder + "/server.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    json.dump({"port": 1, "auth_string": "old:word", "pid": os.getpid()}, open(folder + "/server.json", "w"))
    print("holds", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _own_leases(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(api_server, "_leases", {})
    yield
    for lease in api_server._leases.values():
        os.close(lease)


@pytest.fixture
def idle_server(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    (tmp_path / FOLDER).mkdir()
    code = textwrap.dedent(IDLE_SERVER)
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / FOLDER)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()


def test_port_and_password_stay_and_are_the_owners_alone(tmp_path: Path) -> None:
    first = hold(tmp_path, 0)
    port, word = first.port, first.server.auth_string
    first.close()
    again = hold(tmp_path, port)
    assert (again.port, again.server.auth_string) == (port, word)
    assert (tmp_path / FOLDER / "server.json").stat().st_mode & 0o077 == 0
    again.close()


def test_a_port_that_is_taken_is_replaced(tmp_path: Path) -> None:
    with listen(0) as other:
        taken = other.getsockname()[1]
        held = hold(tmp_path, taken)
        assert held.port != taken
        record = read_record(tmp_path / FOLDER)
        assert record is not None
        assert record.port == held.port
        held.close()


def test_the_users_own_password_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "me:word")
    held = hold(tmp_path, 0)
    assert held.server.auth_string == "me:word"
    assert held.environment()["PREFECT_SERVER_API_AUTH_STRING"] == "me:word"
    held.close()


def test_a_second_one_is_refused_and_nobody_else_gets_the_lock(tmp_path: Path) -> None:
    held = hold(tmp_path, 0)
    assert try_lock(tmp_path / FOLDER / "server.lock") is None
    with pytest.raises(ApiServerError, match=r"already runs in .*end that one"):
        hold(tmp_path, 0)
    held.close()


def test_a_server_that_only_waits_for_clients_makes_room(tmp_path: Path, idle_server: "subprocess.Popen[str]") -> None:
    told = list[str]()
    held = hold(tmp_path, 0, told.append)
    assert idle_server.wait(10) == -15
    assert (held.server.auth_string, told) == ("old:word", [])
    held.close()


def test_a_server_in_use_is_waited_for(tmp_path: Path, idle_server: "subprocess.Popen[str]") -> None:
    lease = try_lock(tmp_path / FOLDER / "lease.lock", shared=True)  # as a command that runs holds it
    assert lease is not None
    told = list[str]()

    def end_it(line: str) -> None:
        told.append(line)
        time.sleep(0.5)
        assert idle_server.poll() is None
        os.close(lease)

    held = hold(tmp_path, 0, end_it)
    assert idle_server.wait(10) == -15
    assert [line.endswith("waiting for it to end") for line in told] == [True]
    held.close()
