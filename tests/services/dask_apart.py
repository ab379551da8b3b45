"""A Dask cluster of separate processes, known by its address alone: a scheduler, and workers that declare resources."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
START_S = 60.0
Process = subprocess.Popen[bytes]


@dataclass
class DaskApart:
    """The running cluster.

    Attributes:
        address: Of its scheduler.
        dashboard: Of its own page.
        workers: The processes that compute, by name; each has a folder of its own and none but what it is told.
    """

    folder: Path
    address: str
    dashboard: str
    environment: Mapping[str, str] = field(repr=False)
    scheduler: Process = field(repr=False)
    workers: dict[str, Process] = field(default_factory=dict, repr=False)

    def add_worker(self, name: str, resources: str = "", **environment: str) -> Process:
        """One more worker, without a nanny: who kills it kills it for good.

        Args:
            resources: As Dask's command takes them, ``GPU=1``.
        """
        place = self.folder / name
        place.mkdir(exist_ok=True)
        command = ["worker", self.address, "--name", name, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        command += ["--host", "127.0.0.1", "--local-directory", str(place), "--memory-limit", "2GiB"]
        command += ["--resources", resources] if resources else []
        self.workers[name] = _start(command, place, {**self.environment, **environment})
        return self.workers[name]

    def kill_scheduler(self) -> None:
        """At once; its workers leave by themselves when they notice."""
        end(self.scheduler)

    def start_scheduler(self) -> None:
        """Again, at the same address."""
        self.scheduler = _scheduler(self.folder, self.environment, port=int(self.address.rpartition(":")[2]))

    def wait_for_workers(self, count: int) -> None:
        """Until so many are there."""
        from distributed import Client

        with Client(self.address, set_as_default=False, timeout="30s") as client:
            client.wait_for_workers(count, timeout=START_S)


@contextmanager
def dask_apart(
    folder: Path, workers: Mapping[str, str], environment: Mapping[str, str] | None = None
) -> Iterator[DaskApart]:
    """A cluster that ends with the block.

    Args:
        folder: Of this cluster alone.
        workers: Names and the resources they declare.
        environment: On top of this process's, of all its processes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    given = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **(environment or {})}
    scheduler = _scheduler(folder, given, port=0)
    said = _wait_for(folder / "scheduler.txt", "dashboard at:", scheduler)
    address = next(part for part in said.split() if part.startswith("tcp://"))
    page = said.partition("dashboard at:")[2].split()[0]
    cluster = DaskApart(folder, address, page, given, scheduler)
    try:
        for name, resources in workers.items():
            cluster.add_worker(name, resources)
        cluster.wait_for_workers(len(workers))
        yield cluster
    finally:
        for process in (*cluster.workers.values(), cluster.scheduler):
            end(process)


def end(process: Process) -> None:
    """As a machine that loses power."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _scheduler(folder: Path, environment: Mapping[str, str], *, port: int) -> Process:
    command = ["scheduler", "--host", "127.0.0.1", "--port", str(port), "--dashboard-address", "127.0.0.1:0"]
    return _start(command, folder, environment, said="scheduler.txt")


def _start(command: Sequence[str], folder: Path, environment: Mapping[str, str], said: str = "said.txt") -> Process:
    with (folder / said).open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *command],
            env=dict(environment),
            cwd=folder,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def _wait_for(path: Path, text: str, process: Process) -> str:
    until = time.monotonic() + START_S
    while text not in (said := path.read_text()):
        assert process.poll() is None, said
        assert time.monotonic() < until, said
        time.sleep(0.05)
    return said
