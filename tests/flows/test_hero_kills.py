"""Killed at any moment, ``hero`` never pays twice and loses nothing, whatever the service offers.

``make bench-spend`` does the same with more items and kills.
"""

from pathlib import Path

import pytest

from tests.services.hero_runs import STRATEGIES, kill_runs
from tests.services.paid_service import Rules

ITEMS = 8  # of each kind of service
KILLS = {"keys": 4, "look-up": 3, "hold": 3}
PRICE = Rules().price_micro_usd


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_killed_run_pays_once_and_loses_nothing(strategy: str, tmp_path: Path) -> None:
    done = kill_runs(strategy, tmp_path, items=ITEMS, kills=KILLS[strategy], seed=len(strategy))
    print(f"\n{done}")  # noqa: T201 - to be read
    found = done.count
    assert done.kills >= KILLS[strategy]
    assert done.between >= KILLS[strategy] / 2
    assert (found.paid_twice, found.lost) == (0, 0)
    assert found.delivered + found.unknown == ITEMS
    assert found.ledger == found.service
    assert done.sent >= 1
    if strategy == "hold":  # nobody can tell, so what a killed run had sent is never sent again
        assert found.unknown >= done.sent
        assert found.service <= ITEMS * PRICE
    else:
        assert found.unknown == 0
        assert found.service == ITEMS * PRICE
