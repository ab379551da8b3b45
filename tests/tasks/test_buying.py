"""Buying from a service that charges and misbehaves: by its own books nothing is paid twice, and every end is named."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from datasets.ledger import CircuitLimits
from model_blocks.adapters import calling
from model_blocks.adapters.exchange import exchange
from tasks.buying import Buyer
from tasks.buying_ends import PaidUnusableError, ServiceRefusedError
from tasks.ends import HeldError
from tests.services.paid_service import Rules
from tests.tasks.buying import KEYS, LOOK_UP, PLAIN, PRICE, FastClock, Shop, shop

FREE = ("unavailable", "too_many")
REFUSED = ("bad_request", "redirect")
UNSEEN = ("error_before", "reset_before", "timeout_before")  # not charged, but who could know
SEEN = ("error_after", "reset_after", "timeout_after", "drip", "drip_headers", "cut")
USELESS = ("garbage", "echo", "not_an_image", "withheld", "huge")
SLOW = ("timeout_before", "drip", "drip_headers")  # each takes a deadline; their fellows stand for them
KINDS = (*FREE, *REFUSED, *UNSEEN, *SEEN, *USELESS)
REPLAYING = Rules(keys=True, replay_errors=True)
STRATEGIES: dict[str, tuple[Rules, str]] = {
    "hold": (PLAIN, "hold"),
    "resend_once": (PLAIN, "resend_once"),
    "keys": (KEYS, "hold"),
    "replaying": (REPLAYING, "hold"),
    "look_up": (LOOK_UP, "hold"),
}
ENDS = {HeldError: "held", ServiceRefusedError: "refused", PaidUnusableError: "unusable"}
DEADLINE_S = 0.8


def fault(kind: str) -> dict[str, Any]:
    return {"kind": kind, "seconds": 0.05 if kind.startswith("drip") else 3.0}


def end_of(buyer: Buyer) -> str:
    """How a purchase ends, in one word; anything that is not foreseen is raised."""
    try:
        buyer.buy()
    except tuple(ENDS) as error:
        return ENDS[type(error)]
    return "bought"


def expected(strategy: str, kind: str) -> tuple[str, int]:
    """The end that a fault has under a strategy, and the charges that the service makes."""
    if kind in FREE:
        return "bought", 1
    if kind in REFUSED:
        return "refused", 0
    if kind in USELESS:
        return "unusable", 1
    first = 1 if kind in SEEN else 0
    match strategy:
        case "hold":
            return "held", first
        case "resend_once":
            return "bought", first + 1  # what the tenant agreed to
        case "replaying" if kind.startswith("error"):
            return "held", first  # the key would bring the error again, for ever
        case _:
            return "bought", 1


@pytest.fixture
def call_times(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long every call took."""
    times: list[float] = []

    def timed(*args: Any, **given: Any) -> Any:
        begun = time.monotonic()
        try:
            return exchange(*args, **given)
        finally:
            times.append(time.monotonic() - begun)

    monkeypatch.setattr(calling, "exchange", timed)
    return times


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_fault_ends_as_the_strategy_allows(tmp_path: Path, strategy: str, call_times: list[float]) -> None:
    rules, policy = STRATEGIES[strategy]
    kinds = KINDS if strategy == "hold" else [kind for kind in KINDS if kind not in SLOW]
    with shop(tmp_path, rules, policy=policy, deadline_s=DEADLINE_S, max_reply_mb=1) as opened:
        found, charged = {}, 0
        for kind in kinds:
            opened.order(fault(kind))
            end, before = end_of(opened.buyer(kind)), charged
            charged = opened.totals["charges"]
            found[kind] = (end, charged - before)
        assert found == {kind: expected(strategy, kind) for kind in kinds}
        spent, held = opened.month()
        doubtful = sum(opened.row(kind).held_micro_usd for kind in kinds)
        assert spent == PRICE * sum(charges for end, charges in found.values() if end in ("bought", "unusable")) - (
            PRICE * len(set(SEEN) & set(kinds))
            if strategy == "resend_once"
            else 0  # the first sending's is found out by an invoice
        )
        assert held == doubtful
    assert max(call_times) < DEADLINE_S + 2


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_has_ended_is_not_paid_again_by_another_run(tmp_path: Path, strategy: str) -> None:
    rules, policy = STRATEGIES[strategy]
    kinds = ("reset_after", "error_after", "not_an_image", "ok")
    with shop(tmp_path, rules, policy=policy, deadline_s=DEADLINE_S) as opened:
        for kind in kinds:
            opened.order(fault(kind))
            first = end_of(opened.buyer(kind))
            counts = opened.counts
            assert end_of(opened.buyer(kind, "run-2")) == first
            assert opened.counts == counts


def _campaign(opened: Shop, count: int, kinds: tuple[str, ...]) -> list[str]:
    """So many items with one fault each, eight at a time; how they ended. An item may meet several faults."""
    opened.order(*(fault(kinds[number % len(kinds)]) for number in range(count)))
    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(lambda number: end_of(opened.buyer(f"item-{number}")), range(count)))


def _check_campaign(folder: Path, strategy: str, count: int) -> None:
    rules, policy = STRATEGIES[strategy]
    brief = CircuitLimits(open_s=0.2, longest_s=0.5, probe_s=5.0)
    with shop(
        folder, rules, policy=policy, clock=FastClock(1.0), limits=brief, deadline_s=DEADLINE_S, max_reply_mb=1
    ) as opened:
        ends = _campaign(opened, count, KINDS)
        _check_books(opened, ends)
        if strategy in ("keys", "look_up"):  # a refusal after a lost answer says nothing about it; later it is known
            again = [end_of(opened.buyer(f"item-{n}")) if end == "held" else end for n, end in enumerate(ends)]
            _check_books(opened, again)
            assert "held" not in again


def _check_books(opened: Shop, ends: list[str]) -> None:
    """Every charge is one that was asked for once, and stands in the ledger or is held."""
    totals, paid = opened.totals, ends.count("bought") + ends.count("unusable")
    assert max(totals["by_key"].values()) == 1
    assert 0 <= totals["charges"] - paid <= ends.count("held")
    assert opened.month()[0] == PRICE * paid


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["hold", "keys", "replaying", "look_up"])
def test_two_hundred_faults_at_once_cost_nothing_twice(tmp_path: Path, strategy: str, call_times: list[float]) -> None:
    """Fifty items with a fault each, under every strategy that promises it."""
    _check_campaign(tmp_path, strategy, 50)
    assert max(call_times) < DEADLINE_S + 2


def test_some_faults_at_once_cost_nothing_twice(tmp_path: Path, call_times: list[float]) -> None:
    _check_campaign(tmp_path, "keys", 18)
    assert max(call_times) < DEADLINE_S + 2


def test_two_buyers_of_one_thing_pay_once(tmp_path: Path) -> None:
    rules = Rules(work_s=0.3)
    with shop(tmp_path, rules, clock=FastClock(1.0)) as opened:
        with ThreadPoolExecutor(4) as threads:
            keys = {one.idempotency_key for one in threads.map(lambda _: opened.buy("cup"), range(4))}
        assert (len(keys), opened.counts) == (1, (1, 1))


def test_a_service_that_drips_is_left_at_the_deadline(tmp_path: Path) -> None:
    with shop(tmp_path, LOOK_UP, {"kind": "drip_headers", "seconds": 1.0}, deadline_s=1.0) as opened:
        begun = time.monotonic()
        bought = opened.buy("cup")
        assert time.monotonic() - begun < 3.0
        assert (bought.state, opened.counts) == ("settled", (1, 1))


def test_a_run_that_is_stopped_while_it_waits_holds_nothing(tmp_path: Path) -> None:
    class StoppedHereError(Exception): ...

    stopping = threading.Event()

    def refuse() -> None:
        if stopping.is_set():
            raise StoppedHereError

    with shop(tmp_path, PLAIN, {"kind": "unavailable", "retry_after": 60}, clock=FastClock(1.0)) as opened:
        timer = threading.Timer(0.5, stopping.set)
        timer.start()
        with pytest.raises(StoppedHereError):
            opened.buy("cup", refuse_if_stopping=refuse)
        assert (opened.row("cup").state, opened.row("cup").holder) == ("failed_free", None)
        assert opened.month() == (0, 0)
