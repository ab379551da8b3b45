"""Prefect's runner starts its runs through ``deployments/serve_starter.py`` instead of new interpreters."""

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

UNKNOWN_STATUS = 1  # of a run whose starter died before it: unless it told Prefect its end itself, it crashed
LOOK_S = 0.5


@dataclass
class WarmProcess:
    """A run's process as Prefect's runner sees one."""

    pid: int
    returncode: int | None = None


def start_through(address: Path) -> None:
    """Let runners of this process start their runs at the starter that listens at ``address``.

    Prefect's engine starter names its ``run_process`` as what to replace for another way to start a process.
    """
    from prefect.runner import _starter_engine

    engine: Any = _starter_engine
    original = engine.run_process

    async def run_process(
        command: list[str],
        *,
        env: Mapping[str, str],
        task_status: Any,
        task_status_handler: Callable[[Any], Any],
        **others: Any,
    ) -> Any:
        try:
            reader, writer = await asyncio.open_unix_connection(str(address))
            writer.write(json.dumps(dict(env)).encode() + b"\n")
            process = WarmProcess(int(json.loads(await reader.readline())["pid"]))
        except (OSError, ValueError):  # the starter is being started again itself
            return await original(
                command, env=env, task_status=task_status, task_status_handler=task_status_handler, **others
            )
        task_status.started(task_status_handler(process))
        try:
            process.returncode = await _status(reader, process.pid)
        finally:
            writer.close()
        return process

    engine.run_process = run_process


async def _status(reader: asyncio.StreamReader, pid: int) -> int:
    """How the run ended. A starter that dies tells nothing: then the process is watched until it is gone."""
    line = await reader.readline()
    if line:
        return int(json.loads(line)["status"])
    while _lives(pid):
        await asyncio.sleep(LOOK_S)
    return UNKNOWN_STATUS


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
