"""The Prefect server, the Dask scheduler and PostgreSQL killed one after the other in the middle of a paid run.

How a run is started is a parameter: any way in that takes the same order again goes on where the last one was.
"""

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from datasets.ledger import open_ledger
from deployments.api_server import ApiServer
from tests.services.hero_books import charges_of, count
from tests.services.hero_runs import end_group
from tests.services.hero_shop import Shop, open_shop
from tests.services.killable import Ground, Part, ground
from tests.services.paid_service import Rules

ITEMS = int(os.environ.get("ITEMS", "100"))
AWAY_S = 1.0  # a part, before it is started again
RUN_S = 600.0  # for what takes a tenth of that on a machine with nothing else to do
LOOK_S = 0.05
Start = Callable[[Shop], "subprocess.Popen[bytes]"]  # always the same order
STARTS: Mapping[str, Start] = {"product": Shop.start}
SAME = {  # what the ledger says of a run's end, and what Prefect may say of it then
    "delivered": {"COMPLETED"},
    "failed": {"FAILED"},
    "crashed": {"CRASHED", "FAILED"},
    "interrupted": {"CRASHED"},
}


@dataclass
class Course:
    """A shop's order that is begun again until it is through, and what was killed on the way.

    Attributes:
        killed: In the middle of which run each part was killed.
    """

    shop: Shop
    start: Start
    runs: int = 0
    killed: dict[str, int] | None = None

    def go(self, parts: tuple[Part, ...]) -> None:
        """Kill each part when its share of the items is paid, and run the order to its end."""
        self.killed = {}
        running = self._begin()
        try:
            for number, part in enumerate(parts, 1):
                running = self._until(running, number * ITEMS // (len(parts) + 1))
                part.kill()
                self.killed[part.name] = self.runs
                time.sleep(AWAY_S)
                part.start()
            while self._end(running) not in (0, 3):
                assert self.runs <= len(parts) + 1, self._said()
                running = self._begin()
        finally:
            end_group(running)

    def _begin(self) -> "subprocess.Popen[bytes]":
        self.runs += 1
        return self.start(self.shop)

    def _until(self, running: "subprocess.Popen[bytes]", charges: int) -> "subprocess.Popen[bytes]":
        """Until so much is paid; a run that ended of the part killed before is begun again."""
        until = time.monotonic() + RUN_S
        while len(charges_of(self.shop.books)) < charges:
            assert time.monotonic() < until, self._said()
            if running.poll() is not None:
                assert running.returncode != 0, "the run ended before its time"
                running = self._begin()
            time.sleep(LOOK_S)
        return running

    def _end(self, running: "subprocess.Popen[bytes]") -> int:
        return running.wait(RUN_S)

    def _said(self) -> str:
        return (self.shop.folder / "said.txt").read_text()[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("way", STARTS)
def test_a_run_whose_services_are_killed_pays_once_and_loses_nothing(way: str, tmp_path: Path) -> None:
    with (
        ground(tmp_path / "ground") as below,
        open_shop(tmp_path / "shop", ITEMS, Rules(keys=True, work_s=0.2), below.environment) as shop,
    ):
        course = Course(shop, STARTS[way])
        begun = time.monotonic()
        course.go(below.parts)
        print(f"\n{course.killed} in {course.runs} runs, {time.monotonic() - begun:.0f} s")  # noqa: T201 - to be read
        paid = len(charges_of(shop.books))
        became = shop.run()
        assert len(charges_of(shop.books)) == paid, "a finished run bought something"
        found = count(shop, became)
        assert (found.delivered, found.paid_twice, found.lost, found.unknown) == (ITEMS, 0, 0, 0)
        assert found.ledger == found.service == ITEMS * shop.rules.price_micro_usd
        assert set(course.killed or {}) == {part.name for part in below.parts}
        assert disagreements(below, shop) == []


def disagreements(below: Ground, shop: Shop) -> list[str]:
    """Runs that ledger and Prefect tell differently of, and those that only one of them knows."""
    with open_ledger(below.ledger_url).session(shop.tenant, read_only=True) as session:
        ledger = {str(run.flow_run_id): run.status for run in session.runs(limit=50)}
    prefect = flow_runs(below.prefect)
    told = [
        f"{run}: {ledger.get(run)} in the ledger, {prefect.get(run)} in Prefect"
        for run in ledger.keys() | prefect.keys()
        if prefect.get(run) not in SAME.get(ledger.get(run, ""), set())
    ]
    return sorted(told)


def flow_runs(server: ApiServer) -> dict[str, str]:
    """State type of every flow run that the server knows, by id."""
    name, _, password = server.auth_string.partition(":")
    answer = httpx.post(f"{server.url}/flow_runs/filter", json={}, auth=(name, password), trust_env=False, timeout=60)
    answer.raise_for_status()
    return {str(UUID(run["id"])): str(run["state_type"]) for run in answer.json()}
