"""Rows for the tests of the ledger, and real processes to write them."""

import multiprocessing
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from datasets.ledger import ErrorRecord, ItemRecord, Ledger, OutputRecord, RunRecord, StageRecord, open_ledger

NOW = datetime(2026, 5, 4, 12, 0, 0, 123456, tzinfo=UTC)
DIGEST = "ab" * 32
# Forked from a process that has imported the ledger and nothing else: a second of imports once, not per process.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["datasets.ledger", "datasets.ledger.migrating"])


@cache
def _empty_ledger() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ledger.db")
        open_ledger(f"sqlite:///{path}").close()
        return path.read_bytes()


def new_ledger(path: Path) -> Ledger:
    """An empty ledger, a copy of one that was migrated once per test run."""
    path.write_bytes(_empty_ledger())
    return open_ledger(f"sqlite:///{path}")


def new_ledger_url(request: pytest.FixtureRequest, database: str, folder: Path) -> str:
    """The URL of an empty ledger in a kind of database."""
    if database == "sqlite":
        new_ledger(folder / "ledger.db")
        return f"sqlite:///{folder / 'ledger.db'}"
    return str(request.getfixturevalue("postgres_ledger").url)


@contextmanager
def two_tenants(request: pytest.FixtureRequest, folder: Path, *runs: str) -> Iterator[Ledger]:
    """A ledger in the database of ``request.param`` in which anna and bert have these runs."""
    opened = open_ledger(new_ledger_url(request, request.param, folder))
    for tenant in ("anna", "bert"):
        with opened.session(tenant) as session:
            for run in runs:
                session.start_run(a_run(run))
    yield opened
    opened.close()


def start(work: Callable[..., None], *arguments: object) -> BaseProcess:
    """A real process that does this work."""
    process = PROCESSES.Process(target=work, args=arguments, daemon=True)
    process.start()
    return process


def join_all(processes: Sequence[BaseProcess], timeout_s: float = 30.0) -> list[int | None]:
    """The exit codes, once all have ended."""
    for process in processes:
        process.join(timeout_s)
    return [process.exitcode for process in processes]


def a_run(run_id: str = "run-1", **facts: Any) -> RunRecord:
    values: dict[str, Any] = {
        "run_id": run_id,
        "flow_run_id": None,
        "flow": "product",
        "recipe": "catalogue",
        "parameters": {"photos": ["a.jpg", "b.jpg"], "keep": False, "margin": 0.05},
        "status": "running",
        "started_at": NOW,
        "finished_at": None,
        "heartbeat_at": NOW,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "version": "0.1.0",
        "purpose": "commercial",
    }
    return RunRecord(**(values | facts))


def an_item(item: str = "shoe", position: int = 0, run_id: str = "run-1", **facts: Any) -> ItemRecord:
    values: dict[str, Any] = {"run_id": run_id, "item": item, "position": position, "source": f"/in/{item}.jpg"}
    return ItemRecord(**(values | facts))


def a_stage(stage_run_id: str = "stage-1", run_id: str = "run-1", **facts: Any) -> StageRecord:
    values: dict[str, Any] = {
        "stage_run_id": stage_run_id,
        "run_id": run_id,
        "item": "shoe",
        "position": 3,
        "stage": "matte",
        "fingerprint": DIGEST,
        "model": "closed-form",
        "device": "cpu",
        "seconds": 1.25,
        "peak_memory_bytes": 5 << 32,
        "cached": False,
        "chunks": 4,
        "skipped": None,
        "error_code": None,
        "task_run_id": "task-1",
        "started_at": NOW + timedelta(seconds=1),
    }
    return StageRecord(**(values | facts))


def an_output(path: str = "/out/shoe-cutout.png", run_id: str = "run-1", **facts: Any) -> OutputRecord:
    values: dict[str, Any] = {
        "run_id": run_id,
        "item": "shoe",
        "role": "cutout",
        "path": path,
        "sha256": DIGEST,
        "bytes": 6 << 32,
        "width": 1200,
        "height": 800,
        "format": "png",
        "fingerprint": "cd" * 32,
        "extra": {"stored": "files/cutout.png"},
    }
    return OutputRecord(**(values | facts))


def an_error(error_id: str = "error-1", run_id: str = "run-1", **facts: Any) -> ErrorRecord:
    values: dict[str, Any] = {
        "error_id": error_id,
        "run_id": run_id,
        "item": "shoe",
        "stage": "matte",
        "code": "frame_shape",
        "message": "expected frames (T, H, W, C)",
        "facts": {"shape": [1, 2]},
        "at": NOW + timedelta(seconds=2),
    }
    return ErrorRecord(**(values | facts))
