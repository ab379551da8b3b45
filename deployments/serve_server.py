"""The Prefect server of ``stillmotion serve``, with its UI and all of its services, on a socket it was given.

Run as ``python -m deployments.serve_server FOLDER LISTENER LOCK``: the descriptors are inherited. The lock stays held.
"""

import asyncio
import os
import socket
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from deployments.api_server_main import (
    Activity,
    App,
    Receive,
    Scope,
    Send,
    begin_immediately,
    note_pid,
    uvicorn_config,
)
from deployments.scheduler_repair import let_schedules_fire
from deployments.serve_child import end_with_parent


def main(folder: Path, listener: int, lock: int) -> None:
    """Serve until told to end."""
    for descriptor in (listener, lock):
        os.set_inheritable(descriptor, False)
    note_pid(folder)
    end_with_parent()
    begin_immediately()
    asyncio.run(serve(socket.socket(fileno=listener)))


class SameOrigin:
    """An ASGI application around another whose pages speak to nobody else: the UI would report its use to its makers.

    No setting of the server's keeps the UI from that; the browser does, as told by each answer.
    """

    POLICY = (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' 'wasm-unsafe-eval' blob:; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
        "connect-src 'self' ws:; worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'self'"
    )

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_policy(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", self.POLICY.encode())]
            await send(message)

        await self._app(scope, receive, with_policy)


async def serve(listener: socket.socket) -> None:
    import uvicorn
    from prefect.server.api.server import create_app

    let_schedules_fire()
    app = Activity(SameOrigin(create_app(final=True)))  # ends in time, also if a service does not
    server = uvicorn.Server(uvicorn_config(app))
    await server.serve(sockets=[listener])
    if not server.started:
        sys.exit(3)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
