"""How soon a command's first stage starts, and how soon a cached run ends, beside a plain ephemeral Prefect flow.

The clock starts just before the process does; the first stage's own start is read from the ledger. Situations take
turns, so that whatever else the machine does falls on all of them; the last column is the ratio to the plain flow.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import count
from pathlib import Path
from shutil import rmtree

import psutil

from datasets.ledger.engine import open_ledger
from deployments.api_server import FOLDER
from tests.photographs import save_product

ROOT = Path(__file__).parents[2]
AT_ONCE = 4
PLAIN_FLOW = """
import time
from prefect import flow, task
@task
def first(): return time.time()
@flow
def plain(): return first()
print(plain())
"""
SITUATIONS = {  # what is measured, and the most seconds it should take
    "plain": ("plain ephemeral Prefect flow, to its task", None),
    "cold": ("new home, to the first stage", None),
    "none": ("no server up, to the first stage", 4.0),
    "up": ("server up, to the first stage", 2.0),
    "cached": ("all cached, server up, to the end", 2.5),
    "four": (f"{AT_ONCE} at once, no server up, the slowest", None),
}


@dataclass(frozen=True)
class Sample:
    """One measurement.

    Attributes:
        seconds: From the process's start to the moment that counts.
        cpu_s: User and system time until the process ended, its server's included.
        servers: Embedded servers there were then.
    """

    seconds: float
    cpu_s: float
    servers: int


@dataclass
class Bench:
    """Runs commands in a folder and a Prefect home, and times them."""

    folder: Path
    home: Path
    _numbers: Iterator[int] = field(default_factory=count)

    def sample(self, situation: str) -> Sample:
        if situation == "plain":
            return self._plain()
        if situation in ("cold", "none", "four"):
            self.end_servers()
        if situation == "cold":
            rmtree(self.home, ignore_errors=True)
            return self._commands(1, self.folder / f"store{next(self._numbers)}")
        if situation == "cached":
            return self._cached()
        return self._commands(AT_ONCE if situation == "four" else 1, self.folder / "store")

    def _plain(self) -> Sample:
        with _timed(lambda: 0.0) as timed:
            done = subprocess.run(
                [sys.executable, "-c", PLAIN_FLOW],
                env=_environment(
                    self.folder / "plain", self.folder, PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="120"
                ),
                capture_output=True,
                text=True,
                check=True,
            )
        return Sample(float(done.stdout.split()[-1]) - timed.begun, timed.cpu_s, 1)

    def _commands(self, commands: int, store: Path) -> Sample:
        """Photographs never seen before, one for each command; the slowest command counts."""
        photos = [save_product(self.folder / f"{(n := next(self._numbers))}.png", 320, 240, n) for _ in range(commands)]
        with _timed(self._server_cpu_s) as timed:
            running = [self._spawn(photo, store) for photo in photos]
            documents = [_document(process) for process in running]
            servers = len(self.servers())
        starts = [_first_stage(store, str(document["run_id"])) for document in documents]
        return Sample(max(starts) - timed.begun, timed.cpu_s, servers)

    def _cached(self) -> Sample:
        photo, store = save_product(self.folder / "again.png", 320, 240), self.folder / "store"
        if not (self.folder / "again").exists():
            _document(self._spawn(photo, store))
        with _timed(self._server_cpu_s) as timed:
            document = _document(self._spawn(photo, store))
            ended = time.time()
        assert all(stage["cached"] for stage in document["stages"])
        return Sample(ended - timed.begun, timed.cpu_s, len(self.servers()))

    def _spawn(self, photo: Path, store: Path) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "deployments.cli", "product", str(photo), "--recipe", "cutout", "--models",
             "embedded", "--json", "--out", str(self.folder / photo.stem)],
            env=_environment(self.home, store),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def servers(self) -> list[psutil.Process]:
        folder = str(self.home / FOLDER)
        return [process for process in psutil.process_iter(["cmdline"]) if folder in (process.info["cmdline"] or [])]

    def end_servers(self) -> None:
        """As if they had been idle long enough."""
        for process in self.servers():
            process.terminate()
            process.wait(20)

    def _server_cpu_s(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in self.servers())


def run(repeats: int = 5, situations: tuple[str, ...] = tuple(SITUATIONS), home: Path | None = None) -> list[str]:
    """Print, and return, a line per situation: median and spread in seconds, CPU seconds, ratio to the plain flow.

    Args:
        repeats: Measurements of each situation.
        situations: Which of them, by their keys.
        home: A Prefect home to use as it is; without one, new ones are made and removed.
    """
    with tempfile.TemporaryDirectory(prefix="bench-start-") as folder:
        bench = Bench(Path(folder), home or Path(folder) / "home")
        try:
            if home is None:
                _warm(bench, situations)
            samples = {name: [bench.sample(name)] for name in situations}
            for _ in range(repeats - 1):
                for name in situations:
                    samples[name].append(bench.sample(name))
        finally:
            if home is None:
                bench.end_servers()
    lines = [_heading(), *(_line(name, samples) for name in situations)]
    for line in lines:
        print(line)
    return lines


def _warm(bench: Bench, situations: tuple[str, ...]) -> None:
    """Databases exist and files have been read once before anything counts."""
    bench.sample("cached")
    if "plain" in situations:
        bench.sample("plain")


def _heading() -> str:
    where = f"prefect {version('prefect')}, load {os.getloadavg()[0]:.1f}"
    return f"{where:<44}{'goal s':>8}{'median s':>10}{'min-max':>13}{'CPU s':>8}{'servers':>9}{'of plain':>10}"


def _line(name: str, samples: dict[str, list[Sample]]) -> str:
    text, goal = SITUATIONS[name]
    seconds = [sample.seconds for sample in samples[name]]
    median = statistics.median(seconds)
    cpu_s = statistics.median(sample.cpu_s for sample in samples[name])
    servers = max(sample.servers for sample in samples[name])
    plain = statistics.median(sample.seconds for sample in samples["plain"]) if "plain" in samples else None
    spread = f"{min(seconds):.2f}-{max(seconds):.2f}"
    ratio = "-" if plain is None else f"{median / plain:.2f}"
    return (
        f"{text:<44}{'-' if goal is None else format(goal, '.1f'):>8}{median:>10.2f}{spread:>13}{cpu_s:>8.2f}"
        f"{servers:>9}{ratio:>10}"
    )


@dataclass
class _Timed:
    begun: float  # time.time()
    cpu_s: float = 0.0


@contextmanager
def _timed(server_cpu_s: Callable[[], float]) -> Iterator[_Timed]:
    """Wall clock at the start; at the end the CPU time that finished children, and servers that go on, took."""
    before = _children_cpu_s() + server_cpu_s()
    timed = _Timed(time.time())
    yield timed
    timed.cpu_s = _children_cpu_s() + server_cpu_s() - before


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _document(process: "subprocess.Popen[str]") -> dict[str, list[dict[str, object]]]:
    out, errors = process.communicate(timeout=300)
    if process.returncode != 0:
        raise RuntimeError(f"a command ended with {process.returncode}: {errors[-2000:]}")
    document: dict[str, list[dict[str, object]]] = json.loads(out)
    return document


def _first_stage(store: Path, run_id: str) -> float:
    """When the first stage of a run started, as ``time.time()``."""
    ledger = open_ledger(f"sqlite:///{store / 'ledger.db'}")
    with ledger.session("default") as session:
        return min(stage.started_at.timestamp() for stage in session.stages(run_id))


def _environment(home: Path, store: Path, **more: str) -> dict[str, str]:
    """Nothing of the caller's own Prefect and Stillmotion settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "STILLMOTION_"))}
    return kept | {
        "PREFECT_HOME": str(home),
        "STILLMOTION_STORAGE_ROOT": str(store),
        "PYTHONPATH": str(ROOT),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        **more,
    }
