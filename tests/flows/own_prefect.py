"""A Prefect server and a runner in processes of their own, for tests that kill and start them again."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun

from tests.flows.commands import ROOT
from tests.services.hero_runs import end_group

PATIENCE_S = 180.0
SERVE = "from flows.product import product; product.serve(name='approved', limit=2, pause_on_shutdown=False)"
QUICK = {  # late after a second instead of fifteen, looked for every second
    "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "1",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS": "1",
    "PREFECT_RUNNER_POLL_FREQUENCY": "1",
}


@dataclass
class OwnPrefect:
    """A server with its database in a folder; it and a runner of the product flow come and go.

    Attributes:
        environment: Of what speaks to it.
    """

    folder: Path
    port: int
    environment: dict[str, str]
    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def start_server(self) -> None:
        command = ["-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        self._start("server", command)
        self._wait("server", self._is_up)

    def start_runner(self) -> None:
        log = self.folder / "runner.log"
        before = len(log.read_text()) if log.exists() else 0
        self._start("runner", ["-c", SERVE])
        self._wait("runner", lambda: "Your flow" in (self.folder / "runner.log").read_text()[before:])

    def kill(self, name: str) -> None:
        """The whole group, as a machine that loses power."""
        end_group(self.running.pop(name))

    def client(self) -> SyncPrefectClient:
        return SyncPrefectClient(self.environment["PREFECT_API_URL"])

    def trigger(self, order: dict[str, Any], **more: Any) -> UUID:
        """Start a run as the UI does: by its deployment."""
        with self.client() as client:
            deployment = client.read_deployment_by_name("product/approved")
            return client.create_flow_run_from_deployment(deployment.id, parameters={"order": order}, **more).id

    def flow_run(self, run_id: UUID) -> FlowRun:
        with self.client() as client:
            return client.read_flow_run(run_id)

    def wait_for(self, run_id: UUID, *names: str) -> FlowRun:
        """Until Prefect shows the run in one of these states."""
        wait_until(lambda: self.flow_run(run_id).state_name in names, f"the run is {' or '.join(names)}")
        return self.flow_run(run_id)

    def _start(self, name: str, command: list[str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, *command],
                env=os.environ | self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=ROOT,
            )

    def _is_up(self) -> bool:
        try:
            return httpx.get(f"{self.environment['PREFECT_API_URL']}/health", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def _wait(self, name: str, is_up: Callable[[], bool]) -> None:
        def up_or_ended() -> bool:
            assert self.running[name].poll() is None, (self.folder / f"{name}.log").read_text()[-3000:]
            return is_up()

        wait_until(up_or_ended, f"the {name} is up")


def wait_until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, f"not in {PATIENCE_S:g} s: {what}"
        time.sleep(0.2)


@contextmanager
def own_prefect(folder: Path) -> Iterator[OwnPrefect]:
    """A server of the test's own, started; whatever still runs at the end is killed."""
    folder.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    environment = {
        "PYTHONPATH": str(ROOT),
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_API_AUTH_STRING": "",
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "INFO",
        **QUICK,
    }
    prefect = OwnPrefect(folder, port, environment)
    try:
        prefect.start_server()
        yield prefect
    finally:
        for name in list(prefect.running):
            prefect.kill(name)
