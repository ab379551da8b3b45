"""Killed at any moment, a run goes on under the same command and ends with the same bytes."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from datasets.ledger import open_ledger
from tests.flows.commands import delivered, product_command, wait_for_line
from tests.photographs import save_product

pytestmark = [pytest.mark.usefixtures("prefect_api"), pytest.mark.slow]


@pytest.mark.parametrize(
    ("workers", "photographs", "kills", "early"), [(1, 4, 4, 1), (2, 40, 10, 3)], ids=["one process", "two workers"]
)
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(
    tmp_path: Path, workers: int, photographs: int, kills: int, early: int
) -> None:
    """The early kills may come at any time after the process began, the others while stages are at work."""
    photos = [save_product(tmp_path / "in" / f"{n}.png", 240 + 4 * n, 180, n) for n in range(photographs)]
    whole = product_command(
        photos, tmp_path / "whole", "--workers", str(workers), environment={"STILLMOTION_STORAGE_ROOT": "store-whole"}
    )
    _, said = whole.communicate(timeout=600)
    assert whole.returncode == 0, said
    chance = random.Random(workers)
    for number in range(kills):
        running = product_command(photos, tmp_path / "out", "--workers", str(workers))
        if number < early:
            time.sleep(chance.uniform(0.2, 4))
        else:
            wait_for_line(running, "intake")
            time.sleep(chance.uniform(0, 2.5))
        assert running.poll() is None, "the run ended before it was killed"
        # The whole group as a machine that loses power, or the command alone, whose workers notice by themselves.
        os.killpg(running.pid, signal.SIGKILL) if chance.random() < 0.5 else os.kill(running.pid, signal.SIGKILL)
        running.communicate(timeout=60)
    last = product_command(photos, tmp_path / "out", "--workers", str(workers), "--json")
    out, said = last.communicate(timeout=600)
    assert last.returncode == 0, said
    assert delivered(tmp_path / "out") == delivered(tmp_path / "whole")
    assert any(stage["cached"] for stage in json.loads(out)["stages"])
    assert [path for path in tmp_path.rglob("*") if ".part" in path.name] == []
    ledger = open_ledger(f"sqlite:///{tmp_path / 'store' / 'ledger.db'}")
    with ledger.session("default") as session:
        statuses = [run.status for run in session.runs(limit=100)]
    assert statuses[0] == "delivered"
    assert kills - early <= statuses.count("crashed") == len(statuses) - 1
