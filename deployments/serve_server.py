"""The Prefect server of ``stillmotion serve``, with its UI and all of its services, on a socket it was given.

Run as ``python -m deployments.serve_server FOLDER LISTENER LOCK``: the descriptors are inherited. The lock stays held.
"""

import asyncio
import os
import socket
import sys
from pathlib import Path

from deployments.api_server_main import KEEP_ALIVE_S, Activity, begin_immediately, note_pid
from deployments.serve_child import end_with_parent


def main(folder: Path, listener: int, lock: int) -> None:
    """Serve until told to end."""
    for descriptor in (listener, lock):
        os.set_inheritable(descriptor, False)
    note_pid(folder)
    end_with_parent()
    begin_immediately()
    asyncio.run(serve(socket.socket(fileno=listener)))


async def serve(listener: socket.socket) -> None:
    import uvicorn
    from prefect.server.api.server import create_app

    config = uvicorn.Config(
        Activity(create_app(final=True)),  # ends in time, also if a service does not
        lifespan="on",
        log_level="warning",
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=3,
    )
    server = uvicorn.Server(config)
    await server.serve(sockets=[listener])
    if not server.started:
        sys.exit(3)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
