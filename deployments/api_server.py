"""One Prefect API server per ``PREFECT_HOME``: attach to the one that runs, or start it in the background.

Imports only the standard library, so it can be the first import of a process: the server then comes up beside the
remaining imports. Three files under ``<home>/stillmotion-api`` carry the arrangement:

- ``lease.lock``: every client holds a shared lock on it until its process ends, however it ends;
- ``server.lock``: held by the server process; whoever gets it starts the server and hands the lock down;
- ``server.json``: address and password, readable by the owner alone. It outlives the server, so that the next one
  takes the same port and a client that still remembers the address finds it again.

Both locks are the kernel's (``flock``): a killed process leaves none behind. The starter listens before anyone is told
the address, so a connection waits in the backlog until the server accepts.
"""

import fcntl
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from datasets.errors import PermanentError

HOST = "127.0.0.1"
FOLDER = "stillmotion-api"  # under PREFECT_HOME, beside Prefect's own files
ATTACH_TIMEOUT_S = 20.0  # a server that is ending holds the lease for at most 10 s
POLL_S = 0.01
BACKLOG = 512  # connections that wait while the server comes up
LOG_TAIL_LINES = 20
LOG_TAIL_BYTES = 8192
REMEDY = (
    "Start one by hand with `prefect server start` and set PREFECT_API_URL=http://127.0.0.1:4200/api, "
    "or set PREFECT_HOME to a writable local folder."
)

_leases: dict[Path, int] = {}  # descriptors, open until the process ends
_children: list["subprocess.Popen[bytes]"] = []  # kept, so that nobody waits for a server that outlives its starter


class ApiServerError(PermanentError):
    """The embedded Prefect API server cannot be started or reached."""

    code = "api_server"


@dataclass(frozen=True)
class ApiServer:
    """A server this process may use.

    Attributes:
        url: Address of the API, ``http://127.0.0.1:<port>/api``.
        started_here: Whether this process started it.
        pid: The server's process, if it is known yet.
        home: The ``PREFECT_HOME`` it belongs to.
        idle_s: Seconds without clients after which it ends, as asked for by this process.
        auth_string: Password of the API, so that neither web pages nor other accounts of the machine read from it.
    """

    url: str
    started_here: bool
    pid: int | None
    home: Path
    idle_s: float = 60.0
    auth_string: str = field(default="", repr=False)


@dataclass(frozen=True)
class Record:
    """What ``server.json`` holds."""

    port: int
    auth_string: str
    pid: int | None = None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/api"


def attach_or_start(prefect_home: Path, *, idle_s: float = 60.0) -> ApiServer:
    """Find the API server of a Prefect home, or start it, without waiting for it to come up.

    The process counts as a client of the server until it ends.

    Args:
        prefect_home: The Prefect home, created if missing.
        idle_s: Seconds without clients and requests after which a server started here ends.

    Returns:
        The server. Its port is open; see ``wait_until_ready``.

    Raises:
        ApiServerError: The folder is not writable, or another process holds the locks without starting a server.
    """
    home = Path(os.path.abspath(prefect_home.expanduser()))  # noqa: PTH100 - absolute, yet symbolic links stay
    folder = home / FOLDER
    with explained(home):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        deadline = time.monotonic() + ATTACH_TIMEOUT_S
        hold_lease(folder, deadline)
        while time.monotonic() < deadline:
            lock = try_lock(folder / "server.lock")
            if lock is not None:
                return _start(home, lock, idle_s)
            record = read_record(folder)
            if record is not None and _accepts(record.port):
                return ApiServer(record.url, False, record.pid, home, idle_s, record.auth_string)
            time.sleep(POLL_S)
    raise ApiServerError(
        f"another process holds {folder / 'server.lock'} but no server listens. End it and try again. {REMEDY}",
        home=str(home),
    )


def wait_until_ready(server: ApiServer, *, timeout_s: float = 60.0) -> None:
    """Wait until the API answers; a server that died is started once more, at the same address.

    The very first start in a home creates the database and takes about 10 s, a later one 3 s.

    Raises:
        ApiServerError: The server ended twice, or did not answer in time. The message ends with its last log lines.
    """
    deadline = time.monotonic() + timeout_s
    may_restart = True
    while (left_s := deadline - time.monotonic()) > 0:
        if healthy(server.url, timeout_s=left_s):
            return
        lock = try_lock(server.home / FOLDER / "server.lock")
        if lock is not None:
            if not may_restart:
                os.close(lock)
                raise _failure(server, "ended while starting")
            may_restart = False
            _restart(server, lock)
        time.sleep(5 * POLL_S)
    raise _failure(server, f"did not answer within {timeout_s:g} s")


def environment(server: ApiServer) -> dict[str, str]:
    """Settings of a client of ``server``, to be set before Prefect is imported; child processes inherit them."""
    values = {
        "PREFECT_HOME": str(server.home),
        "PREFECT_API_URL": server.url,
        "PREFECT_API_AUTH_STRING": server.auth_string,
        # with a wrong address Prefect must say so, not start a server of its own
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    return values | _around_proxy()


def _around_proxy() -> dict[str, str]:
    """The loopback address must not be asked of a proxy; httpx would."""
    if not any(os.environ.get(name) for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")):
        return {}
    present = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    merged = ",".join(dict.fromkeys([*filter(None, present.split(",")), HOST]))
    return {"no_proxy": merged, "NO_PROXY": merged}


# -- locks ------------------------------------------------------------------------------------------------------------


def try_lock(path: Path, *, shared: bool = False) -> int | None:
    """A descriptor that holds the lock, or None if someone else does. Not inherited by programs started later."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def hold_lease(folder: Path, deadline: float) -> None:
    """Become a client. Waits while a server is on its way out, for that one must not be attached to."""
    while folder not in _leases:
        lease = try_lock(folder / "lease.lock", shared=True)
        if lease is not None:
            _leases[folder] = lease
        elif time.monotonic() > deadline:
            raise ApiServerError(
                f"a server that is ending still holds {folder / 'lease.lock'}. End it and try again. {REMEDY}"
            )
        else:
            time.sleep(POLL_S)


@contextmanager
def explained(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ApiServerError(
            f"cannot use {home} for Prefect's API server: {error.strerror or error}. {REMEDY}", home=str(home)
        ) from error


# -- the record -------------------------------------------------------------------------------------------------------


def read_record(folder: Path) -> Record | None:
    try:
        values = json.loads((folder / "server.json").read_text(encoding="utf-8"))
        return Record(int(values["port"]), str(values["auth_string"]), values.get("pid"))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None  # not there yet, or damaged: the next start writes a new one


def write_record(folder: Path, record: Record) -> None:
    temporary = folder / f"server.json.{os.getpid()}"
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"port": record.port, "auth_string": record.auth_string, "pid": record.pid}, file)
    temporary.replace(folder / "server.json")


def new_auth_string() -> str:
    return f"stillmotion:{secrets.token_urlsafe(24)}"


# -- starting ---------------------------------------------------------------------------------------------------------


def _start(home: Path, lock: int, idle_s: float) -> ApiServer:
    """Listen, tell the address, start the server. The lock and the port pass to it; our copies close."""
    folder = home / FOLDER
    previous = read_record(folder)
    try:
        with listen(previous.port if previous else 0) as listener:
            auth_string = previous.auth_string if previous else new_auth_string()
            record = Record(listener.getsockname()[1], auth_string)
            write_record(folder, record)
            child = _spawn(home, record, listener.fileno(), lock, idle_s)
    finally:
        os.close(lock)
    _children.append(child)
    return ApiServer(record.url, True, child.pid, home, idle_s, record.auth_string)


def listen(preferred_port: int) -> socket.socket:
    """A listening loopback socket, at the port of the last server if that is still free."""
    for port in (preferred_port, 0):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            # connections of the last server linger for a minute and would keep its port from us
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((HOST, port))
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            if port == 0:
                raise
        else:
            return listener
    raise AssertionError


def _spawn(home: Path, record: Record, listener: int, lock: int, idle_s: float) -> "subprocess.Popen[bytes]":
    """Start the server process in a session of its own: Ctrl-C in our terminal is not meant for it."""
    folder = home / FOLDER
    program = Path(__file__).with_name("api_server_main.py")
    log = os.open(folder / "server.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        return subprocess.Popen(  # noqa: S603 - our own program
            # -P: the program's folder must not shadow the libraries' module names
            [sys.executable, "-P", str(program), str(folder), str(listener), str(lock), repr(idle_s)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(listener, lock),
            start_new_session=True,
            cwd=home,
            env=server_environment(home, record.auth_string),
        )
    finally:
        os.close(log)


def server_environment(home: Path, auth_string: str) -> dict[str, str]:
    """The caller's environment, so that its database settings hold, with what an embedded server needs."""
    kept = {name: value for name, value in os.environ.items() if name not in {"PREFECT_API_URL", "PREFECT_API_KEY"}}
    return kept | {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_API_AUTH_STRING": auth_string,
        "PREFECT_API_AUTH_STRING": auth_string,
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
        # the vacuum of old events at every start held the database against the first requests, which then wait 2 s
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "orphans",
        "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
    }


def _restart(server: ApiServer, lock: int) -> None:
    with explained(server.home):
        again = _start(server.home, lock, server.idle_s)
    if again.url != server.url:
        raise _failure(server, f"died, and its port is taken; it now runs at {again.url}, run the command again")


# -- looking ----------------------------------------------------------------------------------------------------------


def _accepts(port: int) -> bool:
    """Whether anyone listens: tells the record of a dead server from that of one coming up."""
    try:
        socket.create_connection((HOST, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def healthy(url: str, *, timeout_s: float) -> bool:
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection(url.removeprefix("http://").removesuffix("/api"), timeout=timeout_s)
    try:
        connection.request("GET", "/api/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _failure(server: ApiServer, what: str) -> ApiServerError:
    log = server.home / FOLDER / "server.log"
    return ApiServerError(
        f"Prefect's API server at {server.url} {what}. {REMEDY} The log {log} ends with:\n{log_tail(log)}",
        url=server.url,
        log=str(log),
    )


def log_tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return "(no log)"
    return "\n".join(lines[-LOG_TAIL_LINES:]) or "(empty)"
