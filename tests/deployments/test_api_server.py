"""The embedded API server, with real processes in temporary homes."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from deployments import api_server
from deployments.api_server import (
    ApiServer,
    ApiServerError,
    attach_or_start,
    environment,
    wait_until_ready,
)

CLIENT = """
import os, sys
from pathlib import Path
from deployments.api_server import attach_or_start, environment, wait_until_ready
server = attach_or_start(Path(os.environ["PREFECT_HOME"]), idle_s=float(os.environ["IDLE_S"]))
"""
FLOW = """
os.environ.update(environment(server))
wait_until_ready(server, timeout_s=120)
from prefect import flow, task
@task
def one(number): return number
@flow
def many(): return sum(future.result() for future in [one.submit(number) for number in range(20)])
assert many() == 190
"""
TELL = "print(server.url, server.pid, server.started_here, flush=True)\n"
STAY = "import time; time.sleep(120)\n"


def _clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}


class Home:
    """A Prefect home and the client processes in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path / api_server.FOLDER
        self.clients: list[subprocess.Popen[str]] = []

    def client(self, *code: str, idle_s: float = 60.0) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", CLIENT + "".join(textwrap.dedent(part) for part in code)],
            env=_clean_environment()
            | {"PREFECT_HOME": str(self.path), "IDLE_S": str(idle_s), "PREFECT_LOGGING_LEVEL": "ERROR"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.clients.append(process)
        return process

    def run(self, *code: str, idle_s: float = 60.0) -> str:
        output, errors = self.client(*code, idle_s=idle_s).communicate(timeout=150)
        assert self.clients[-1].returncode == 0, errors
        return output

    def server_pid(self) -> int:
        def pid() -> Any:
            record = self.folder / "server.json"
            return json.loads(record.read_text())["pid"] if record.exists() else None

        return int(_eventually(pid))

    def servers(self) -> list[int]:
        return [
            process.pid
            for process in psutil.process_iter(["cmdline", "status"])
            if str(self.folder) in (process.info["cmdline"] or []) and process.info["status"] != psutil.STATUS_ZOMBIE
        ]

    def lock_is_free(self, name: str) -> bool:
        lock = api_server.try_lock(self.folder / name)
        if lock is not None:
            os.close(lock)
        return lock is not None


def _eventually(look: Callable[[], Any], *, timeout_s: float = 20.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (seen := look()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)
    return seen


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "häuschen am see")
    yield made
    for client in made.clients:
        client.kill()
        client.communicate()
    for pid in made.servers():
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def fake_program(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Replace the server process by a short program, for what needs no Prefect. Servers started here are awaited."""
    monkeypatch.setattr(api_server, "__file__", str(tmp_path / "api_server.py"))
    monkeypatch.setattr(api_server, "_leases", {})
    monkeypatch.setattr(api_server, "_children", [])  # this process may have started the server of the whole run

    def write(code: str) -> None:
        (tmp_path / "api_server_main.py").write_text(textwrap.dedent(code))

    yield write
    for lease in api_server._leases.values():
        os.close(lease)
    for child in api_server._children:
        child.kill()
        child.wait()


ANSWERS_OK = """
    import socket, sys
    listener = socket.socket(fileno=int(sys.argv[2]))
    while True:
        connection, _ = listener.accept()
        if connection.recv(9999):
            connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\n\\r\\ntrue")
        connection.close()
"""


def test_client_side_imports_only_the_standard_library() -> None:
    code = "import sys, deployments.api_server; print(*{name.partition('.')[0] for name in sys.modules})"
    bare = subprocess.run(
        [sys.executable, "-X", "frozen_modules=on", "-c", "import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    foreign = (
        set(loaded.stdout.split())
        - set(sys.stdlib_module_names)
        - {name.partition(".")[0] for name in bare.stdout.split()}
    )
    assert foreign == {"deployments", "datasets"}


def test_second_client_attaches_to_the_first_ones_server(
    home: Home, fake_program: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_program(ANSWERS_OK)
    first = attach_or_start(home.path)
    second = attach_or_start(home.path)
    wait_until_ready(second, timeout_s=10)
    assert (first.started_here, second.started_here) == (True, False)
    assert first.url == second.url
    assert first.auth_string == second.auth_string


def test_dead_server_is_replaced_at_the_same_address(home: Home, fake_program: Callable[[str], None]) -> None:
    fake_program(ANSWERS_OK)
    first = attach_or_start(home.path)
    wait_until_ready(first, timeout_s=10)
    api_server._children[0].kill()
    api_server._children[0].wait()
    second = attach_or_start(home.path)
    wait_until_ready(second, timeout_s=10)
    assert second.started_here
    assert (second.url, second.auth_string) == (first.url, first.auth_string)
    assert second.pid != first.pid


def test_record_of_a_dead_server_is_not_believed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_server, "_leases", {})
    monkeypatch.setattr(api_server, "ATTACH_TIMEOUT_S", 0.3)
    home.folder.mkdir(parents=True)
    with api_server.listen(0) as closing:
        api_server.write_record(home.folder, api_server.Record(closing.getsockname()[1], "a:b", 1))
    lock = api_server.try_lock(home.folder / "server.lock")  # as one who has not yet written the new record
    assert lock is not None
    with pytest.raises(ApiServerError, match="no server listens"):
        attach_or_start(home.path)
    os.close(lock)
    os.close(api_server._leases[home.folder])


def test_damaged_record_is_written_anew(home: Home, fake_program: Callable[[str], None]) -> None:
    fake_program(ANSWERS_OK)
    home.folder.mkdir(parents=True)
    (home.folder / "server.json").write_text("{ half a reco")
    wait_until_ready(attach_or_start(home.path), timeout_s=10)


def test_taken_port_is_given_up_for_a_free_one(home: Home, fake_program: Callable[[str], None]) -> None:
    fake_program(ANSWERS_OK)
    with api_server.listen(0) as taken:
        port = taken.getsockname()[1]
        home.folder.mkdir(parents=True)
        api_server.write_record(home.folder, api_server.Record(port, "a:b", 1))
        server = attach_or_start(home.path)
        assert server.url != f"http://127.0.0.1:{port}/api"
        wait_until_ready(server, timeout_s=10)


def test_server_that_dies_once_is_restarted(home: Home, tmp_path: Path, fake_program: Callable[[str], None]) -> None:
    mark = tmp_path / "mark"
    fake_program(
        f"import sys, pathlib\nmark = pathlib.Path({str(mark)!r})\n"
        "if not mark.exists():\n    mark.touch(); sys.exit(3)\n" + textwrap.dedent(ANSWERS_OK)
    )
    wait_until_ready(attach_or_start(home.path), timeout_s=10)
    assert len(api_server._children) == 2


def test_server_that_dies_twice_is_reported_with_its_log(home: Home, fake_program: Callable[[str], None]) -> None:
    fake_program("import sys\nsys.exit('the database is damaged')")
    server = attach_or_start(home.path)
    with pytest.raises(ApiServerError, match=r"(?s)prefect server start.*the database is damaged") as caught:
        wait_until_ready(server, timeout_s=10)
    assert caught.value.code == "api_server"
    assert len(api_server._children) == 2


def test_silent_server_is_given_up_in_time(home: Home, fake_program: Callable[[str], None]) -> None:
    fake_program("import time; time.sleep(60)")
    begun = time.monotonic()
    with pytest.raises(ApiServerError, match=r"did not answer within 0\.5 s"):
        wait_until_ready(attach_or_start(home.path), timeout_s=0.5)
    assert time.monotonic() - begun < 2


def test_unusable_home_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ApiServerError, match=r"Not a directory.*PREFECT_HOME"):
        attach_or_start(tmp_path / "file" / "home")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_home_is_explained(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o500)
    with pytest.raises(ApiServerError, match=r"Permission denied.*PREFECT_HOME"):
        attach_or_start(tmp_path / "home")


def test_descriptors_are_not_inherited(home: Home, fake_program: Callable[[str], None]) -> None:
    fake_program(ANSWERS_OK)
    attach_or_start(home.path)
    assert [os.get_inheritable(lease) for lease in api_server._leases.values()] == [False]
    (child,) = api_server._children
    held = {os.path.realpath(name) for name in Path(f"/proc/{child.pid}/fd").iterdir()}
    assert str(home.folder / "lease.lock") not in held


def test_environment_keeps_loopback_off_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ApiServer("http://127.0.0.1:1/api", True, None, Path("/h"), auth_string="a:b")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert "NO_PROXY" not in environment(server)
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "example.com")
    assert environment(server)["no_proxy"] == "example.com,127.0.0.1"


def test_password_is_not_shown() -> None:
    assert "geheim" not in repr(ApiServer("http://127.0.0.1:1/api", True, None, Path("/h"), auth_string="a:geheim"))


def test_long_log_keeps_its_end(tmp_path: Path) -> None:
    program = "import deployments.api_server_main as m; print('x' * (m.LOG_LIMIT_BYTES + 1), 'end', flush=True)\n"
    program += "m.bound_log(); print('after', flush=True)"
    log = tmp_path / "server.log"
    with log.open("ab") as out:
        subprocess.run([sys.executable, "-c", program, str(tmp_path)], stdout=out, check=True)
    assert log.stat().st_size < 300_000
    assert log.read_text().endswith("x end\nafter\n")


RECORDED = """
    import asyncio
    from prefect.client.orchestration import get_client
    async def states():
        async with get_client() as client:
            return [run.state_name for run in await client.read_task_runs(limit=200)]
    print(*asyncio.run(states()))
"""


@pytest.mark.slow
def test_flow_leaves_complete_records_and_a_server_that_ends_when_idle(home: Home) -> None:
    assert home.run(FLOW, TELL, idle_s=6).endswith("True\n")  # returns although the server goes on
    states = home.run("os.environ.update(environment(server)); wait_until_ready(server)\n", RECORDED)
    assert states.split() == ["Completed"] * 20
    (server,) = home.servers()
    assert os.getsid(server) == server  # a session of its own
    assert (home.folder / "server.json").stat().st_mode & 0o077 == 0
    _eventually(lambda: not home.servers(), timeout_s=25)
    _eventually(lambda: home.lock_is_free("server.lock") and home.lock_is_free("lease.lock"))


@pytest.mark.slow
def test_api_wants_its_password(home: Home) -> None:
    code = """
        wait_until_ready(server)
        import urllib.request, urllib.error
        try:
            urllib.request.urlopen(server.url + "/admin/version")
        except urllib.error.HTTPError as error:
            print(error.code)
    """
    assert home.run(code) == "401\n"


@pytest.mark.slow
def test_six_clients_at_once_share_one_server(home: Home) -> None:
    clients = [home.client(FLOW, TELL) for _ in range(6)]
    told = []
    for client in clients:
        output, errors = client.communicate(timeout=200)
        assert client.returncode == 0, errors
        told.append(output.split())
    assert len({url for url, _, _ in told}) == 1
    assert [started for _, _, started in told].count("True") == 1
    assert len(home.servers()) == 1
    states = home.run("os.environ.update(environment(server))\n", RECORDED)
    assert states.split() == ["Completed"] * 120


@pytest.mark.slow
def test_killed_client_frees_its_lease_and_the_server_ends(home: Home) -> None:
    client = home.client("wait_until_ready(server)\n", TELL, STAY, idle_s=1)
    assert client.stdout is not None
    client.stdout.readline()
    time.sleep(3)
    assert len(home.servers()) == 1  # three times idle_s, but a client is alive
    client.kill()
    client.wait()
    _eventually(lambda: not home.servers())


@pytest.mark.slow
def test_client_killed_right_after_its_start_leaves_no_server_for_good(home: Home) -> None:
    client = home.client(TELL, STAY, idle_s=1)
    assert client.stdout is not None
    client.stdout.readline()
    client.kill()
    _eventually(lambda: not home.servers(), timeout_s=40)
    home.run(FLOW)


@pytest.mark.slow
def test_killed_server_is_replaced_and_the_next_run_works(home: Home) -> None:
    client = home.client("wait_until_ready(server)\n", TELL, STAY)
    assert client.stdout is not None
    url = client.stdout.readline().split()[0]
    os.kill(home.server_pid(), signal.SIGKILL)
    output = home.run(FLOW, TELL).split()
    assert output[0] == url
    assert output[2] == "True"
