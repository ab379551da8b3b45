"""Prefect's server, a runner, Dask's scheduler and PostgreSQL killed one after the other in the middle of a paid run.

Whatever way the order is given, given again it goes on where the last run was.
"""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from datasets.ledger import open_ledger
from deployments.api_server import ApiServer
from tests.services.hero_books import charges_of, count
from tests.services.hero_shop import Shop, open_shop
from tests.services.killable import Ground, Part, ground
from tests.services.paid_service import Rules
from tests.services.ways import ByCommand, ByRunner, Running, Way

ITEMS = int(os.environ.get("ITEMS", "100"))
AWAY_S = 1.0  # a part, before it is started again
RUN_S = 600.0  # for what takes a tenth of that on a machine with nothing else to do
LOOK_S = 0.05
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
    way: Way
    items: int
    runs: int = 0
    killed: dict[str, int] = field(default_factory=dict)

    def go(self, parts: tuple[Part, ...]) -> None:
        """Kill each part when its share of the items is paid, and run the order to its end."""
        running = self._begin()
        try:
            for number, part in enumerate(parts, 1):
                running = self._until(running, number * self.items // (len(parts) + 1))
                part.kill()
                self.killed[part.name] = self.runs
                time.sleep(AWAY_S)
                part.start()
            while running.wait(RUN_S) not in (0, 3):
                assert self.runs <= len(parts) + 1, self.way.said()
                running = self._begin()
        finally:
            running.end()

    def _begin(self) -> Running:
        self.runs += 1
        return self.way.begin()

    def _until(self, running: Running, charges: int) -> Running:
        """Until so much is paid; a run that ended of the part killed before is begun again."""
        until = time.monotonic() + RUN_S
        while len(charges_of(self.shop.books)) < charges:
            assert time.monotonic() < until, self.way.said()
            ended = running.poll()
            if ended is not None:
                assert ended != 0, "the run ended before its time"
                running = self._begin()
            time.sleep(LOOK_S)
        return running


@pytest.mark.slow
@pytest.mark.parametrize(("way", "items"), [(ByCommand, ITEMS // 4), (ByRunner, ITEMS)], ids=["command", "runner"])
def test_a_run_whose_services_are_killed_pays_once_and_loses_nothing(
    way: type[ByCommand | ByRunner], items: int, tmp_path: Path
) -> None:
    """Photographs by the command line, and a product table by a deployment."""
    with (
        ground(tmp_path / "ground") as below,
        open_shop(tmp_path / "shop", items, Rules(keys=True, work_s=0.2), below.environment) as shop,
        way(shop, below).opened() as taken,
    ):
        parts = (*below.parts, *taken.parts)
        course = Course(shop, taken, items)
        begun = time.monotonic()
        course.go(parts)
        print(f"\n{course.killed} in {course.runs} runs, {time.monotonic() - begun:.0f} s")  # noqa: T201 - to be read
        paid = len(charges_of(shop.books))
        last = taken.begin()
        assert last.wait(RUN_S) == 0, taken.said()
        assert len(charges_of(shop.books)) == paid, "a finished run bought something"
        found = count(shop, taken.became(), taken.pictures)
        assert (found.delivered, found.paid_twice, found.lost, found.unknown) == (items, 0, 0, 0)
        assert found.ledger == found.service == items * shop.rules.price_micro_usd
        assert set(course.killed) == {part.name for part in parts}
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
