"""The API server of a home, taken over by ``stillmotion serve``: its lock, its port, its password.

Whoever serves holds the lock and the open port itself and hands both down to the server process. That may die and be
started again: connections wait in the backlog meanwhile, and no other command starts a server of its own.
"""

import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deployments.api_server import (
    ATTACH_TIMEOUT_S,
    FOLDER,
    ApiServer,
    ApiServerError,
    Record,
    explained,
    hold_lease,
    listen,
    new_auth_string,
    read_record,
    server_environment,
    try_lock,
    write_record,
)

LOOK_S = 0.2


@dataclass(frozen=True)
class Held:
    """The right to serve a home's API, for as long as the holder lives.

    Attributes:
        lock: Descriptor that holds the home's server lock.
        listener: Where the server is to accept.
        only: Descriptor that holds the lock of ``stillmotion serve`` itself.
    """

    server: ApiServer
    lock: int
    listener: socket.socket
    only: int

    @property
    def folder(self) -> Path:
        return self.server.home / FOLDER

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of the server process: the caller's, with what the server needs."""
        return server_environment(self.server.home, self.server.auth_string) | more

    def close(self) -> None:
        """Give the right back; the record stays, so that the next server takes the same port."""
        self.listener.close()
        os.close(self.lock)
        os.close(self.only)


def hold(prefect_home: Path, port: int, told: Callable[[str], None] = lambda _: None) -> Held:
    """Take a home's API server over: an idle one is ended, one that commands use is waited for.

    Args:
        prefect_home: The Prefect home, created if missing.
        port: Where to listen; another one is taken if that is not free.
        told: Is told, once, what is waited for.

    Raises:
        ApiServerError: The folder is not writable, or another ``stillmotion serve`` runs in this home.
    """
    home = Path(os.path.abspath(prefect_home.expanduser()))  # noqa: PTH100 - absolute, yet symbolic links stay
    folder = home / FOLDER
    with explained(home):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        only = _only_one(home, folder)
        lock = _take_over(folder, told)
        hold_lease(folder, time.monotonic() + ATTACH_TIMEOUT_S)
        listener = listen(port)
        auth_string = _auth_string(read_record(folder))
        record = Record(listener.getsockname()[1], auth_string)
        write_record(folder, record)
    return Held(ApiServer(record.url, True, None, home, auth_string=auth_string), lock, listener, only)


def _only_one(home: Path, folder: Path) -> int:
    lock = try_lock(folder / "serve.lock")
    if lock is None:
        record = read_record(folder)
        raise ApiServerError(
            f"`stillmotion serve` already runs in {home}{f', at {record.url}' if record else ''}; end that one, or "
            "give this one a PREFECT_HOME of its own",
            home=str(home),
        )
    return lock


def _take_over(folder: Path, told: Callable[[str], None]) -> int:
    """The server lock of a home. A server without clients only waits for some, and ends when asked to."""
    was_told = False
    while (lock := try_lock(folder / "server.lock")) is None:
        unused = try_lock(folder / "lease.lock")
        if unused is not None:
            _end_server(folder)
            time.sleep(LOOK_S)
            os.close(unused)
        elif not was_told:
            told("another stillmotion command runs in this home with a server of its own; waiting for it to end")
            was_told = True
        time.sleep(LOOK_S)
    return lock


def _end_server(folder: Path) -> None:
    record = read_record(folder)
    if record is not None and record.pid is not None:
        with suppress(ProcessLookupError):
            os.kill(record.pid, signal.SIGTERM)


def _auth_string(record: Record | None) -> str:
    """The user's own password of the API, that of the last server, or a new one."""
    given = os.environ.get("PREFECT_SERVER_API_AUTH_STRING")
    return given or (record.auth_string if record else new_auth_string())
