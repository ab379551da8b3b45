"""Real processes that want the same things at the same time, under one budget."""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from threading import Barrier as ThreadBarrier

import pytest

from datasets.ledger import (
    Allowed,
    Bought,
    Busy,
    CircuitLimits,
    OpenUntil,
    OverBudget,
    Yours,
    month_scope,
    open_ledger,
    run_scope,
)
from tests.datasets.ledger_rows import join_all, new_ledger_url
from tests.datasets.spend_facts import ANSWER, PRICE, key_of, wish, yours

SPAWN = get_context("spawn")  # processes that share nothing but the ledger
DATABASES = pytest.mark.parametrize("database", ["sqlite", "postgresql"])


def start(work: Callable[..., None], *arguments: object) -> BaseProcess:
    process = SPAWN.Process(target=work, args=arguments, daemon=True)
    process.start()
    return process


def _buy(url: str, charges: str, process: int, count: int, together: Barrier) -> None:
    """Buy everything there is, from a service that writes a line for each charge."""
    ledger = open_ledger(url)
    together.wait(60)
    left = (
        [(number * (process + 1) + process) % count for number in range(count)] if process % 2 else list(range(count))
    )
    left = list(dict.fromkeys([*left, *range(count)]))
    while left:
        number = left.pop(0)
        with ledger.spending("anna") as session:
            claim = session.claim(wish(str(number), run_id=f"run-{process}"))
        if isinstance(claim, Yours):
            with ledger.spending("anna") as session:
                sent = session.sent(claim.purchase)
            _charge(charges, number)
            with ledger.spending("anna") as session:
                session.settle(sent, charged_micro_usd=PRICE, reference=str(number), response=ANSWER)
        elif isinstance(claim, Busy):
            left.append(number)
        else:
            assert isinstance(claim, Bought | OverBudget), claim


def _charge(charges: str, number: int) -> None:
    line = os.open(charges, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(line, f"{number}\n".encode())
    os.close(line)


def _race(url: str, charges: Path, *, processes: int, keys: int, affordable: int) -> list[int]:
    ledger = open_ledger(url)
    with ledger.spending("anna") as session:
        session.set_budget("month", affordable * PRICE)
    together = SPAWN.Barrier(processes)
    buyers = [start(_buy, url, str(charges), number, keys, together) for number in range(processes)]
    assert join_all(buyers, 240) == [0] * processes
    paid = sorted(int(line) for line in charges.read_text().split())
    with ledger.spending("anna") as session:
        settled = session.purchases("settled")
        assert sorted(int(one.item) for one in settled) == paid
        assert session.purchases("intent", "sent", "unknown") == []
        month = session.budget(month_scope(settled[0].intent_at))
        runs = [session.budget(run_scope(f"run-{number}")).spent_micro_usd for number in range(processes)]
    assert (month.spent_micro_usd, month.held_micro_usd) == (len(paid) * PRICE, 0)
    assert sum(runs) == len(paid) * PRICE
    return paid


@DATABASES
def test_three_processes_buy_each_thing_once(request: pytest.FixtureRequest, tmp_path: Path, database: str) -> None:
    url = new_ledger_url(request, database, tmp_path)
    assert _race(url, tmp_path / "charges", processes=3, keys=25, affordable=25) == list(range(25))


@DATABASES
def test_three_processes_never_go_above_the_budget(
    request: pytest.FixtureRequest, tmp_path: Path, database: str
) -> None:
    url = new_ledger_url(request, database, tmp_path)
    paid = _race(url, tmp_path / "charges", processes=3, keys=25, affordable=10)
    assert len(paid) == len(set(paid)) == 10


@pytest.mark.slow
@DATABASES
@pytest.mark.parametrize("affordable", [100, 37])
def test_eight_processes_and_a_hundred_things(
    request: pytest.FixtureRequest, tmp_path: Path, database: str, affordable: int
) -> None:
    url = new_ledger_url(request, database, tmp_path)
    paid = _race(url, tmp_path / "charges", processes=8, keys=100, affordable=affordable)
    assert len(paid) == len(set(paid)) == affordable


def _send_and_hang(url: str, sent: Event) -> None:
    ledger = open_ledger(url)
    with ledger.spending("anna") as session:
        purchase = yours(session.claim(wish()))
    with ledger.spending("anna") as session:
        session.sent(purchase)
    sent.set()
    time.sleep(120)


def test_a_process_killed_after_sending_leaves_what_it_may_have_paid(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = new_ledger_url(request, "sqlite", tmp_path)
    sent = SPAWN.Event()
    process = start(_send_and_hang, url, sent)
    assert sent.wait(60)
    ledger = open_ledger(url)
    with ledger.spending("anna") as session:
        assert isinstance(session.claim(wish()), Busy)
    process.kill()
    process.join(10)
    assert process.exitcode == -signal.SIGKILL
    with ledger.spending("anna") as session:
        found = yours(session.claim(wish(can_resolve=True)))
    assert (found.state, found.sendings, found.purchase_key) == ("unknown", 1, key_of("shoe"))


@DATABASES
def test_of_many_threads_one_gets_the_probe(request: pytest.FixtureRequest, tmp_path: Path, database: str) -> None:
    ledger = open_ledger(new_ledger_url(request, database, tmp_path))
    breaker = ledger.breaker("anna", CircuitLimits(failures=1, open_s=0.05))
    breaker.failed(Allowed("studio"), "server")
    time.sleep(0.1)
    together = ThreadBarrier(8)

    def ask(_: int) -> Allowed | OpenUntil:
        together.wait()
        return breaker.before_call("studio")

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(8)))
    assert sum(isinstance(answer, Allowed) for answer in answers) == 1
    ledger.close()
