"""Six processes that want the same hundred things, with money for a hundred: the service charges a hundred times."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from datasets.ledger import Budget, month_scope, open_ledger, run_scope
from tasks.ends import DeferredError
from tests.datasets.ledger_rows import new_ledger_url
from tests.datasets.test_spend_races import SPAWN, start
from tests.services.paid_books import Books
from tests.services.paid_service import Core, Rules
from tests.tasks.buying import PRICE, TENANT, FastClock, Shop, open_shop, serving

RULES = Rules(keys=True)
DATABASES = pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])


@dataclass(frozen=True)
class Race:
    """Where the processes meet."""

    ledger_url: str
    folder: str
    service_url: str
    things: int

    def shop(self) -> Shop:
        ledger = open_ledger(self.ledger_url)
        return open_shop(ledger, Path(self.folder), self.service_url, RULES, clock=FastClock(1.0), deadline_s=60.0)


def _names(process: int, things: int) -> list[str]:
    """All things, in an order of each process's own."""
    step = (7, 9, 11, 13, 17, 19)[process]
    return [f"item-{(process * 5 + number * step) % things}" for number in range(things)]


def _buy_all(race: Race, process: int, together: Barrier) -> None:
    shop = race.shop()
    together.wait(120)
    for name in _names(process, race.things):
        assert shop.buy(name, run_id=f"run-{process}").state == "settled"


def _watch(shop: Shop, scope: str, over: Event, seen: list[Budget]) -> None:
    while not over.is_set():
        with shop.ledger.spending(TENANT, read_only=True) as session:
            seen.append(session.budget(scope))
        time.sleep(0.005)


def _deferred(shop: Shop, names: Sequence[str]) -> list[dict[str, Any]]:
    """What is said of things that a run without money wants."""
    said = []
    for name in names:
        with pytest.raises(DeferredError) as caught:
            shop.buy(name, run_id="run-7")
        said.append(caught.value.facts)
    return said


@DATABASES
def test_six_processes_with_money_for_a_hundred_pay_for_a_hundred(
    request: pytest.FixtureRequest, tmp_path: Path, database: str
) -> None:
    things, url = 100, new_ledger_url(request, database, tmp_path)
    core = Core(RULES, Books(tmp_path / "service"))
    with serving(core) as service_url:
        race = Race(url, str(tmp_path), service_url, things)
        shop = race.shop()
        month = month_scope(shop.clock.now())
        shop.cap(month, things * PRICE)
        together, over, seen = SPAWN.Barrier(6), Event(), list[Budget]()
        watcher = Thread(target=_watch, args=(shop, month, over, seen))
        watcher.start()
        processes = [start(_buy_all, race, number, together) for number in range(6)]
        for process in processes:
            process.join(240)
        over.set()
        watcher.join()
        assert [process.exitcode for process in processes] == [0] * 6
        totals = core.books.totals()
        assert (totals["charges"], totals["requests"], set(totals["by_key"].values())) == (things, things, {1})
        assert shop.month() == (things * PRICE, 0)
        assert len(seen) > 20
        assert max(one.spent_micro_usd + one.held_micro_usd for one in seen) <= things * PRICE
        assert _runs(shop) == things * PRICE
        _seventh(shop, month)
        assert core.books.totals()["requests"] == things


def _runs(shop: Shop) -> int:
    """What the runs' own budgets have spent together."""
    with shop.ledger.spending(TENANT, read_only=True) as session:
        return sum(session.budget(run_scope(f"run-{number}")).spent_micro_usd for number in range(6))


def _seventh(shop: Shop, month: str) -> None:
    """A run without money: what others bought it may have, all else is deferred and says by which budget."""
    assert shop.buy("item-3", run_id="run-7").state == "settled"
    shop.cap(month, 1000 * PRICE)
    shop.cap(run_scope("run-7"), 0)
    names = [f"new-{number}" for number in range(10)]
    said = _deferred(shop, names)
    assert Counter(str(facts["scope"]) for facts in said) == {"run:run-7": 10}
    amounts = ("cap_micro_usd", "spent_micro_usd", "held_micro_usd", "price_micro_usd")
    assert {tuple(facts[name] for name in amounts) for facts in said} == {(0, 0, 0, PRICE)}
