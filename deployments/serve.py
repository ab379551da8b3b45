"""``stillmotion serve``: Prefect server with UI, runner and Dask cluster of one machine, watched by one process."""

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from datasets.errors import PermanentError
from deployments.api_server import HOST, ApiServer, environment, healthy
from deployments.serve_api import Held, hold
from deployments.serve_child import ready_file
from deployments.serve_parts import Part

START_S = 120.0  # the very first start creates the database
LOOK_S = 0.1
Say = Callable[[str], None]


class ServeError(PermanentError):
    """A part of ``stillmotion serve`` does not start, or keeps dying."""

    code = "serve"


@dataclass(frozen=True)
class ServeOptions:
    """How to serve.

    Attributes:
        home: The Prefect home.
        file: The file with the deployments.
        port: Of UI and API.
        dashboard_port: Of Dask's dashboard.
        workers: Dask worker processes.
        runs: Flow runs that may be under way together.
        poll_s: How often the runner asks for runs, in seconds.
    """

    home: Path
    file: Path
    port: int = 4200
    dashboard_port: int = 8787
    workers: int = 2
    runs: int = 4
    poll_s: float = 0.5


class Serving:
    """Everything that was started, in the order in which it was.

    Args:
        options: How to serve.
        say: Is told, in a sentence each, what users should know.
    """

    def __init__(self, options: ServeOptions, held: Held, say: Say) -> None:
        self._options, self._held, self._say = options, held, say
        self._scheduler_port = free_port(0)
        self.dashboard_port = free_port(options.dashboard_port)
        self._address = Path(tempfile.mkdtemp(prefix="stillmotion-")) / "starter"  # a path of any length would not do
        self._starters = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._starters.bind(str(self._address))
        self._starters.listen()
        self.parts = [self._server(), self._dask(), self._starter(), self._runner()]

    @property
    def server(self) -> ApiServer:
        return self._held.server

    @property
    def record(self) -> Path:
        """The file that holds address and password, for its owner alone."""
        return self._held.folder / "server.json"

    def start(self) -> None:
        """Start all parts and wait until each does its work.

        Raises:
            ServeError: One ends or does not come up in time.
        """
        server, dask, starter, runner = self.parts
        for part in (server, dask, starter):
            part.start()
        self._wait(server)
        runner.start()
        for part in (dask, starter, runner):
            self._wait(part)

    def watch(self) -> None:
        """Look after the parts once: one that died is started again, and that is said.

        Raises:
            ServeError: One keeps dying as soon as it is started.
        """
        for part in self.parts:
            if part.process is not None and (status := part.status) is not None:
                part.kill()
                pause_s = part.note_death()
                if part.is_hopeless:
                    raise _failure(part, f"keeps ending, with status {status}")
                self._say(f"the {part.name} ended with status {status}; starting it again in {pause_s:.1f} s")
            elif part.is_due:
                ready_file(self._held.folder, part.name).unlink(missing_ok=True)
                part.start()

    def stop(self) -> None:
        """End all parts in good order: no new runs, then the cluster, the server last."""
        for part in reversed(self.parts):
            if not part.end():
                self._say(f"the {part.name} did not end in {part.end_s:g} s and was killed")
        self._starters.close()
        shutil.rmtree(self._address.parent, ignore_errors=True)

    def kill(self) -> None:
        """End all parts at once."""
        for part in self.parts:
            part.kill()

    def _wait(self, part: Part) -> None:
        deadline = time.monotonic() + START_S
        while not part.is_ready():
            if part.status is not None:
                raise _failure(part, f"ended with status {part.status} while starting")
            if time.monotonic() > deadline:
                raise _failure(part, f"did not come up within {START_S:g} s")
            time.sleep(LOOK_S)

    def _server(self) -> Part:
        held, url = self._held, self._held.server.url
        return Part(
            "server",
            "deployments.serve_server",
            [str(held.folder), str(held.listener.fileno()), str(held.lock)],
            held.environment(
                PREFECT_SERVER_UI_ENABLED="true",
                PREFECT_SERVER_UI_API_URL=url,
                PREFECT_SERVER_UI_STATIC_DIRECTORY=str(held.folder / "ui"),
                PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT="false",
                PREFECT_SERVER_CORS_ALLOWED_ORIGINS=url.removesuffix("/api"),  # other pages do not read from it
                PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED="true",
                PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS="5",
            ),
            held.folder / "serve-server.log",
            lambda: healthy(url, timeout_s=5.0),
            (held.listener.fileno(), held.lock),
        )

    def _dask(self) -> Part:
        options, folder = self._options, self._held.folder
        return Part(
            "dask",
            "deployments.serve_dask",
            [str(folder), str(options.workers), str(self._scheduler_port), str(self.dashboard_port)],
            os.environ | environment(self._held.server),
            folder / "serve-dask.log",
            ready_file(folder, "dask").exists,
        )

    def _starter(self) -> Part:
        folder = self._held.folder
        return Part(
            "starter",
            "deployments.serve_starter",
            [str(folder), str(self._options.file.absolute()), str(self._starters.fileno())],
            self._run_environment(),
            folder / "serve-runs.log",
            ready_file(folder, "starter").exists,
            (self._starters.fileno(),),
            end_s=30.0,
        )

    def _runner(self) -> Part:
        options, folder = self._options, self._held.folder
        return Part(
            "runner",
            "deployments.serve_runner",
            [str(folder), str(options.file.absolute()), str(self._address), str(options.runs), repr(options.poll_s)],
            self._run_environment(),
            folder / "serve-runner.log",
            ready_file(folder, "runner").exists,
            end_s=40.0,  # runs under way are told first, and may take half a minute
        )

    def _run_environment(self) -> dict[str, str]:
        """Of runs: they find the server and the cluster of this machine, and tell the UI what stages say."""
        return {
            **os.environ,
            **environment(self._held.server),
            "STILLMOTION_DASK_ADDRESS": f"tcp://{HOST}:{self._scheduler_port}",
            "STILLMOTION_DASK_SAME_MACHINE": "true",
            "PREFECT_LOGGING_EXTRA_LOGGERS": "stillmotion",
        }


@contextmanager
def serving(options: ServeOptions, say: Say) -> Iterator[Serving]:
    """Everything started and ready; ended when the block is, however that ends.

    Raises:
        ApiServerError: Another ``stillmotion serve`` runs in this home, or the home is not writable.
        ServeError: A part does not start.
    """
    held = hold(options.home, options.port, say)
    try:
        for name in ("dask", "starter", "runner"):
            ready_file(held.folder, name).unlink(missing_ok=True)
        served = Serving(options, held, say)
        try:
            served.start()
            yield served
        finally:
            served.stop()
    finally:
        held.close()


def free_port(wanted: int) -> int:
    """The port if nobody listens there, else another one that is free at the moment."""
    for port in (wanted, 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind((HOST, port))
            except OSError:
                continue
            return int(one.getsockname()[1])
    raise ServeError("no port is free on the loopback address")


def _failure(part: Part, what: str) -> ServeError:
    return ServeError(f"the {part.name} {what}; its log {part.log} ends with:\n{part.last_words()}", part=part.name)
