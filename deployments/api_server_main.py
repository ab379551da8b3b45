"""The server process of ``api_server``: serves Prefect's API on a socket it was given, and ends when nobody needs it.

Run by path, not imported by name: ``python api_server_main.py FOLDER LISTENER LOCK IDLE_S``, where LISTENER and LOCK
are inherited descriptors. The lock stays held until the process ends.
"""

import asyncio
import fcntl
import gc
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

LOG_LIMIT_BYTES = 2_000_000
LOG_KEPT_BYTES = 200_000
END_TIMEOUT_S = 5.0  # clients wait for an ending server: it must not take longer
KEEP_ALIVE_S = 60  # longer than a client keeps an idle connection, so that none closes under a request

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Activity:
    """An ASGI application around another that knows how long nothing was asked of it."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._open = 0
        self._last = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, ending_in_time(receive), send)
        self._open += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._open -= 1
            self.touch()

    def touch(self) -> None:
        self._last = time.monotonic()

    def quiet_s(self) -> float:
        return 0.0 if self._open else time.monotonic() - self._last


def main(folder: Path, listener: int, lock: int, idle_s: float) -> None:
    """Serve until idle or told to end."""
    for descriptor in (listener, lock):
        os.set_inheritable(descriptor, False)
    note_pid(folder)
    gc.disable()  # no garbage while everything is imported: looking for it takes a tenth of the start
    begin_immediately()
    asyncio.run(serve(folder, socket.socket(fileno=listener), idle_s))


def note_pid(folder: Path) -> None:
    """Complete the record: our starter wrote it before it could know the process."""
    path = folder / "server.json"
    temporary = folder / f"server.json.{os.getpid()}"
    record = json.loads(path.read_text(encoding="utf-8")) | {"pid": os.getpid()}
    temporary.touch(mode=0o600)
    temporary.write_text(json.dumps(record), encoding="utf-8")
    temporary.replace(path)


def begin_immediately() -> None:
    """Let SQLite transactions take the write lock when they begin.

    A deferred transaction that reads, then writes, fails at once if another wrote in between (SQLITE_BUSY_SNAPSHOT: no
    timeout applies), and the client then waits 2 s before it asks again. Statements of other databases differ.
    """
    from sqlalchemy import Engine, event

    @event.listens_for(Engine, "before_cursor_execute", retval=True)
    def immediate(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
        return ("BEGIN IMMEDIATE" if statement == "BEGIN DEFERRED" else statement), parameters


def uvicorn_config(app: Activity) -> Any:
    """How a Prefect API is served here: silent, and quick to end."""
    import uvicorn

    return uvicorn.Config(
        app,
        lifespan="on",
        log_level="warning",
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=3,
    )


async def serve(folder: Path, listener: socket.socket, idle_s: float) -> None:
    import uvicorn
    from prefect.server.api.server import create_app

    # ephemeral: the services that record runs, without the scheduler and the clean-up of a full server
    activity = Activity(create_app(ephemeral=True, final=True))
    gc.freeze()
    gc.enable()
    server = uvicorn.Server(uvicorn_config(activity))
    watch = asyncio.create_task(end_when_idle(server, activity, folder / "lease.lock", idle_s))
    try:
        await server.serve(sockets=[listener])
    finally:
        watch.cancel()
    if not server.started:
        sys.exit(3)


async def end_when_idle(server: Any, activity: Activity, lease: Path, idle_s: float) -> None:
    """Ask the server to end once no client was alive and no request open for ``idle_s`` seconds.

    The lease is then kept locked: a new client waits until the process is gone and starts the next server.
    """
    descriptor = os.open(lease, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    while not server.should_exit:
        await asyncio.sleep(min(1.0, idle_s / 5))
        bound_log()
        if not locked(descriptor):
            activity.touch()
        elif activity.quiet_s() >= idle_s:
            server.should_exit = True
        else:
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def locked(descriptor: int) -> bool:
    """Take the lease exclusively if no client holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def ending_in_time(receive: Receive) -> Receive:
    """End even if a service does not: Prefect's can hang when told to stop right after their start."""

    async def watched() -> MutableMapping[str, Any]:
        message = await receive()
        if message["type"] == "lifespan.shutdown":
            timer = threading.Timer(END_TIMEOUT_S, os._exit, [1])
            timer.daemon = True
            timer.start()
        return message

    return watched


def bound_log() -> None:
    """Keep the end of a log that grew too long. It is open for appending: writes go on behind what stays."""
    if os.fstat(1).st_size <= LOG_LIMIT_BYTES:
        return
    path = Path(sys.argv[1]) / "server.log"
    kept = path.read_bytes()[-LOG_KEPT_BYTES:]
    os.ftruncate(1, 0)
    os.write(1, kept)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
