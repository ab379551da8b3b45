"""Ways in which a shop gives its order: photographs to the command line, a product table to a deployment's runner."""

import csv
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType

from datasets.ledger import open_ledger
from tests.services.hero_runs import end_group
from tests.services.hero_shop import ROOT, Shop
from tests.services.killable import Ground, Part, kill_tree

CATALOGUE = "night"
SERVE = f"from flows.catalogue import catalogue; catalogue.serve(name={CATALOGUE!r}, limit=1, pause_on_shutdown=False)"
READY_S = 120.0
KILLED = 137  # as a shell says it
LOOK_S = 0.2


class Running(Protocol):
    """A run under way."""

    def poll(self) -> int | None:
        """Its exit status once it has ended: 0, 3 if not everything was delivered."""

    def wait(self, timeout: float) -> int:
        """The same, waited for."""

    def end(self) -> None:
        """Whatever is left of it is killed."""


class Way(Protocol):
    """Begins the same order again and again.

    Attributes:
        parts: What else can be killed.
        pictures: Where results are delivered.
    """

    parts: tuple[Part, ...]

    @property
    def pictures(self) -> Path: ...

    def begin(self) -> Running: ...

    def became(self) -> dict[str, str]:
        """Status of every item after the last run."""

    def said(self) -> str:
        """The end of what the program told."""


@dataclass
class _Command:
    process: "subprocess.Popen[bytes]"

    def poll(self) -> int | None:
        return self.process.poll()

    def wait(self, timeout: float) -> int:
        return self.process.wait(timeout)

    def end(self) -> None:
        end_group(self.process)


@dataclass
class ByCommand:
    """``stillmotion product`` with all photographs."""

    shop: Shop
    below: Ground
    parts: tuple[Part, ...] = ()

    @property
    def pictures(self) -> Path:
        return self.shop.out

    @contextmanager
    def opened(self) -> Iterator["ByCommand"]:
        yield self

    def begin(self) -> Running:
        return _Command(self.shop.start())

    def became(self) -> dict[str, str]:
        document = json.loads((self.shop.folder / "document.json").read_text())
        return {item["item"]: item["status"] for item in document["items"]}

    def said(self) -> str:
        return (self.shop.folder / "said.txt").read_text()[-3000:]


@dataclass
class ByRunner:
    """A run of the deployment ``catalogue/night`` with a table of all photographs.

    Attributes:
        lives: How often the runner was started; a run is of the runner that began it.
    """

    shop: Shop
    below: Ground
    lives: int = 0
    process: "subprocess.Popen[bytes] | None" = None
    parts: tuple[Part, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.parts = (Part("runner", self.kill, self.start),)

    @property
    def pictures(self) -> Path:
        return self.shop.out / "pictures"

    @contextmanager
    def opened(self) -> Iterator["ByRunner"]:
        """The runner, from here on."""
        with (self.shop.folder / "products.csv").open("w", newline="", encoding="utf-8") as stream:
            rows = csv.writer(stream)
            rows.writerow(("sku", "image_url"))
            rows.writerows((path.stem, f"in/{path.name}") for path in self.shop.photos)
        self.start()
        try:
            yield self
        finally:
            self.kill()

    def start(self) -> None:
        """The runner, once it takes runs."""
        log = self.shop.folder / "said.txt"
        before = log.stat().st_size if log.exists() else 0
        with log.open("ab") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SERVE],
                env={**self.shop.environment, "PREFECT_RUNNER_POLL_FREQUENCY": "1"},
                cwd=ROOT,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        self.lives += 1
        until = time.monotonic() + READY_S
        while b"Your flow" not in log.read_bytes()[before:]:
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < until, self.said()
            time.sleep(LOOK_S)

    def kill(self) -> None:
        """The runner and the runs that it began."""
        if self.process is not None:
            kill_tree(self.process.pid)
            self.process.wait()

    def begin(self) -> Running:
        with self.client() as client:
            deployment = client.read_deployment_by_name(f"catalogue/{CATALOGUE}")
            run = client.create_flow_run_from_deployment(deployment.id, parameters={"order": self._order()})
        return _Triggered(self, run.id, self.lives)

    def became(self) -> dict[str, str]:
        with open_ledger(self.below.ledger_url).session(self.shop.tenant, read_only=True) as session:
            states = [state for found in session.each_catalogue_state("products") for state in found]
        return {state.item: state.status for state in states}

    def said(self) -> str:
        return (self.shop.folder / "said.txt").read_text()[-3000:]

    def client(self) -> SyncPrefectClient:
        server = self.below.prefect
        return SyncPrefectClient(server.url, auth_string=server.auth_string)

    def _order(self) -> dict[str, Any]:
        folder = self.shop.folder
        given = {"table": folder / "products.csv", "recipe": folder / "recipe.json", "out": self.shop.out}
        return {name: str(path) for name, path in given.items()}


@dataclass
class _Triggered:
    """A run that a runner takes; it dies with the runner."""

    way: ByRunner
    run_id: UUID
    life: int

    def poll(self) -> int | None:
        try:
            with self.way.client() as client:
                state = client.read_flow_run(self.run_id).state
        except httpx.HTTPError:  # the server is away
            state = None
        if state is None or not state.is_final():
            return None if self.life == self.way.lives else KILLED
        return 0 if state.type == StateType.COMPLETED else 1

    def wait(self, timeout: float) -> int:
        until = time.monotonic() + timeout
        while (ended := self.poll()) is None:
            assert time.monotonic() < until, self.way.said()
            time.sleep(LOOK_S)
        return ended

    def end(self) -> None:
        """It ends with its runner."""
