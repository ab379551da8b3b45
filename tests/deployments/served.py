"""A real ``stillmotion serve`` in a process and a home of its own, for tests."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).parents[2]
START_S = 240.0  # of a home without a database, on a machine that does much else
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


@dataclass
class Served:
    """A running ``stillmotion serve``.

    Attributes:
        lines: What it said so far.
    """

    process: "subprocess.Popen[str]"
    folder: Path
    lines: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return self._told("Prefect UI")

    @property
    def password(self) -> str:
        return self._told("its password").partition(" ")[0]

    def _told(self, what: str) -> str:
        (line,) = [line for line in self.lines if what in line]
        return line.partition(what)[2].strip()

    def client(self) -> httpx.Client:
        user, _, word = self.password.partition(":")
        return httpx.Client(base_url=f"{self.address}/api", auth=(user, word), timeout=60, trust_env=False)

    def wait_for(self, words: str, timeout_s: float = START_S) -> None:
        eventually(
            lambda: self.process.poll() is not None or any(words in line for line in self.lines), timeout_s=timeout_s
        )
        assert any(words in line for line in self.lines), "\n".join(self.lines)

    def parts(self) -> dict[str, psutil.Process]:
        """Its parts by the last word of their module."""
        found = dict[str, psutil.Process]()
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):
                found[child.cmdline()[2].rpartition("_")[2]] = child
        return found

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@contextlib.contextmanager
def serving(folder: Path, *options: str, environment: Mapping[str, str] | None = None) -> Iterator[Served]:
    """Serve from a folder of its own until the block ends; killed with all of its own if it does not end by itself."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "deployments.cli", "serve", "--workers", "1", *options],
        cwd=folder,
        env={
            **kept,
            "PYTHONPATH": str(ROOT),
            "PREFECT_HOME": str(folder / "home"),
            "STILLMOTION_STORAGE_ROOT": str(folder / "store"),
            "DO_NOT_TRACK": "1",
            **(environment or {}),
        },
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    served = Served(process, folder)
    threading.Thread(target=_listen, args=(served,), daemon=True).start()
    family = list[psutil.Process]()
    try:
        served.wait_for("Ctrl-C ends all of it")
        family = served.family()
        yield served
    finally:
        if process.poll() is None:
            family += served.family()
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60)
        process.kill()
        process.wait()
        for one in family:
            with contextlib.suppress(psutil.Error):
                one.kill()


def _listen(served: Served) -> None:
    assert served.process.stderr is not None
    for line in served.process.stderr:
        served.lines.append(line.rstrip("\n"))


def eventually(look: Callable[[], Any], *, timeout_s: float = 60.0) -> Any:
    """What a look gives as soon as it gives something."""
    deadline = time.monotonic() + timeout_s
    while not (seen := look()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.1)
    return seen


def deployment(client: httpx.Client, name: str) -> dict[str, Any]:
    answer = client.get(f"/deployments/name/{name}")
    answer.raise_for_status()
    return dict(answer.json())


def trigger(client: httpx.Client, name: str, order: Mapping[str, object], **more: object) -> dict[str, Any]:
    """Start a run as a webhook or a script would."""
    where = deployment(client, name)["id"]
    answer = client.post(f"/deployments/{where}/create_flow_run", json={"parameters": {"order": order}, **more})
    answer.raise_for_status()
    return dict(answer.json())


def ended(client: httpx.Client, run: str, *, timeout_s: float = 180.0) -> dict[str, Any]:
    """The run as soon as it has ended."""

    def look() -> dict[str, Any] | None:
        found = dict(client.get(f"/flow_runs/{run}").json())
        return found if found["state_type"] in ENDED else None

    return dict(eventually(look, timeout_s=timeout_s))


def first_stage(client: httpx.Client, run: str) -> datetime:
    """When the run's first task began."""
    tasks = client.post("/task_runs/filter", json={"flow_runs": {"id": {"any_": [run]}}}).json()
    return min(moment(task["start_time"]) for task in tasks)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
