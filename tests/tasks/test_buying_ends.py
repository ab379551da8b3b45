"""How buying ends where something else fails: interrupts, a full disk, a ledger that is away, late answers."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from datasets.assets import asset_path
from datasets.errors import StorageUnavailableError
from datasets.ledger import Look, month_scope, run_scope
from datasets.ledger.looks import SIDE
from datasets.ledger.spend import SpendSession
from datasets.storage import Storage
from model_blocks.adapters import calling
from model_blocks.adapters.exchange import exchange
from tasks import buying_answers
from tasks.buying_ends import PaidAnswerLostError, PaidUnusableError
from tasks.ends import DeferredError, HeldError, MachineFailingError, ServiceAwayError, StoppedError
from tests.datasets.spend_facts import die
from tests.services.paid_service import Rules
from tests.tasks.buying import KEYS, LOOK_UP, PLAIN, PRICE, TENANT, FastClock, shop

OFFLINE = StorageUnavailableError("the disk is full")


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buying_answers, "INSIST_S", 0.2)
    monkeypatch.setattr(buying_answers, "PAUSE_S", 0.02)


@contextmanager
def failing(
    monkeypatch: pytest.MonkeyPatch, owner: type, method: str, error: BaseException, times: int
) -> Iterator[None]:
    """A method that fails so many times, then works."""
    real, left = getattr(owner, method), [times]

    def fails(*args: Any, **given: Any) -> Any:
        if left[0] > 0:
            left[0] -= 1
            raise error
        return real(*args, **given)

    with monkeypatch.context() as patch:
        patch.setattr(owner, method, fails)
        yield


# before and while sending


def test_an_interrupt_before_sending_costs_nothing_and_holds_nothing(tmp_path: Path) -> None:
    def interrupt() -> None:
        if opened.month() != (0, 0):  # the price is held: it is claimed
            raise KeyboardInterrupt

    with shop(tmp_path) as opened:
        with pytest.raises(KeyboardInterrupt):
            opened.buy("cup", refuse_if_stopping=interrupt)
        assert (opened.row("cup").state, opened.row("cup").holder, opened.month()) == ("failed_free", None, (0, 0))
        opened.buy("cup")
        assert opened.counts == (1, 1)


@pytest.mark.parametrize(("rules", "bought"), [(LOOK_UP, True), (KEYS, True), (PLAIN, False)])
def test_an_interrupt_while_the_answer_is_awaited_leaves_it_unknown_and_free_to_be_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rules: Rules, bought: bool
) -> None:
    def interrupted(*args: Any, **given: Any) -> Any:
        exchange(*args, **given)
        raise KeyboardInterrupt

    with shop(tmp_path, rules) as opened:
        with monkeypatch.context() as patch:
            patch.setattr(calling, "exchange", interrupted)
            with pytest.raises(KeyboardInterrupt):
                opened.buy("cup")
        row = opened.row("cup")
        assert (row.state, row.error_code, row.holder, row.held_micro_usd) == ("unknown", "interrupted", None, PRICE)
        if bought:
            assert opened.buy("cup").charged_micro_usd == PRICE
            assert opened.month() == (PRICE, 0)
        else:
            with pytest.raises(HeldError, match="may have charged"):
                opened.buy("cup")
        assert opened.totals["charges"] == 1


def test_a_ledger_that_is_away_before_sending_sends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with shop(tmp_path) as opened:
        with failing(monkeypatch, SpendSession, "sent", OFFLINE, 1), pytest.raises(StorageUnavailableError):
            opened.buy("cup")
        assert (opened.counts, opened.month(), opened.row("cup").state) == ((0, 0), (0, 0), "failed_free")


# what was paid is kept


@pytest.mark.parametrize(
    ("owner", "method"), [(Storage, "write_bytes"), (SpendSession, "settle")], ids=["storage", "ledger"]
)
def test_what_was_paid_is_kept_once_storage_or_ledger_are_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: type, method: str
) -> None:
    with shop(tmp_path) as opened:
        with failing(monkeypatch, owner, method, OFFLINE, 2):
            assert opened.buy("cup").state == "settled"
        assert (opened.counts, opened.month()) == ((1, 1), (PRICE, 0))


@pytest.mark.parametrize("rules", [LOOK_UP, KEYS])
def test_an_answer_that_no_disk_took_is_fetched_by_the_next_run_for_the_same_money(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rules: Rules
) -> None:
    with shop(tmp_path, rules) as opened:
        with failing(monkeypatch, Storage, "write_bytes", OFFLINE, 1000), pytest.raises(StorageUnavailableError):
            opened.buy("cup")
        assert opened.row("cup").state == "unknown"
        assert opened.buy("cup").state == "settled"
        assert (opened.totals["charges"], opened.month()) == (1, (PRICE, 0))


def test_an_answer_that_no_disk_took_and_nobody_gives_again_is_charged_and_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with shop(tmp_path) as opened:
        with failing(monkeypatch, Storage, "write_bytes", OFFLINE, 1000), pytest.raises(StorageUnavailableError):
            opened.buy("cup")
        assert (opened.row("cup").state, opened.month()) == ("settled", (PRICE, 0))
        with pytest.raises(PaidAnswerLostError, match="work-000001"):
            opened.buy("cup")
        assert opened.counts == (1, 1)


@pytest.mark.parametrize("rules", [LOOK_UP, PLAIN])
def test_a_lost_answer_is_asked_for_again_and_never_bought_again(tmp_path: Path, rules: Rules) -> None:
    with shop(tmp_path, rules) as opened:
        response = opened.buy("cup").response
        assert response is not None
        opened.storage.remove_tree(asset_path(response.digest))
        if rules.look_up:
            assert opened.buy("cup").response == response
            assert opened.storage.exists(asset_path(response.digest))
        else:
            with pytest.raises(PaidAnswerLostError):
                opened.buy("cup")
        assert opened.counts == (1, 1)


def test_an_answer_that_is_no_picture_is_paid_once_and_said_clearly(tmp_path: Path) -> None:
    with shop(tmp_path, PLAIN, "not_an_image") as opened:
        for _ in range(2):
            with pytest.raises(PaidUnusableError, match=r"work-000001.*expected PNG, JPEG or WebP") as caught:
                opened.buy("cup")
        assert caught.value.facts["purchase"] == opened.row("cup").purchase_key
        assert (opened.counts, opened.month()) == ((1, 1), (PRICE, 0))


# late answers and other processes


def test_an_answer_that_comes_after_the_lease_settles_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claimed: list[str] = []

    def late(*args: Any, **given: Any) -> Any:
        answer = exchange(*args, **given)
        die(opened.ledger, TENANT)  # to the others its process is gone
        with opened.ledger.spending(TENANT) as session:
            claimed.append(type(session.claim(opened.buyer("cup").wanted)).__name__)
        return answer

    with shop(tmp_path) as opened:
        monkeypatch.setattr(calling, "exchange", late)
        bought = opened.buy("cup")
        assert (claimed, bought.state, opened.month(), opened.counts) == (["Held"], "settled", (PRICE, 0), (1, 1))


def test_a_look_up_is_believed_after_the_settle_time_only(tmp_path: Path) -> None:
    rules = Rules(look_up=True, settle_s=1.0)
    with shop(tmp_path, rules, "reset_after", clock=FastClock(1.0)) as opened:
        begun = time.monotonic()
        bought = opened.buy("cup")
        assert time.monotonic() - begun >= 1.0
        assert (bought.attempt, opened.counts) == (1, (1, 1))


def test_sent_again_once_is_once(tmp_path: Path) -> None:
    with shop(tmp_path, PLAIN, "reset_before", "reset_after", policy="resend_once") as opened:
        for _ in range(2):
            with pytest.raises(HeldError):
                opened.buy("cup")
        assert (opened.counts, opened.row("cup").sendings, opened.month()) == ((2, 1), 2, (0, 2 * PRICE))


def test_sending_again_is_held_where_the_budget_has_nothing_left_for_it(tmp_path: Path) -> None:
    with shop(tmp_path, PLAIN, "reset_after", policy="resend_once") as opened:
        opened.cap(run_scope("run-1"), 2 * PRICE - 1)
        with pytest.raises(HeldError, match="no budget"):
            opened.buy("cup")
        assert (opened.counts, opened.month(), opened.row("cup").holder) == ((1, 1), (0, PRICE), None)


def test_a_lowered_cap_does_not_forbid_to_find_out_by_the_key(tmp_path: Path) -> None:
    with shop(tmp_path, KEYS, "reset_after", *["timeout_before"] * 9, deadline_s=3.0) as opened:
        with pytest.raises(HeldError):
            opened.with_terms(patience_s=0.0).buy("cup")
        opened.cap(month_scope(opened.clock.now()), 0)
        assert opened.core is not None
        opened.core.schedule.clear()
        assert opened.buy("cup").state == "settled"
        assert (opened.totals["charges"], opened.month()) == (1, (PRICE, 0))


def test_a_free_refusal_of_a_request_that_was_sent_before_proves_nothing(tmp_path: Path) -> None:
    with shop(tmp_path, KEYS, "reset_before", "bad_request") as opened:
        with pytest.raises(HeldError):
            opened.buy("cup")
        assert (opened.counts, opened.month()) == ((2, 0), (0, PRICE))


def test_what_another_process_is_buying_is_waited_for_and_left_when_that_never_ends(tmp_path: Path) -> None:
    with shop(tmp_path, deadline_s=1.0, terms={"patience_s": 0.0, "lease_s": 30.0}) as opened:
        with opened.ledger.spending(TENANT, clock=lambda: opened.clock.now() + timedelta(hours=1)) as session:
            session.claim(opened.buyer("cup").wanted, lease_s=3600.0)
        with pytest.raises(ServiceAwayError, match="another process is buying it"):
            opened.buy("cup")
        assert opened.counts == (0, 0)


# twins and budgets


def a_look(shade: int) -> Look:
    return Look("ab" * 32, "0123456789abcdef", bytes([shade] * (3 * SIDE * SIDE)))


def test_the_same_picture_in_other_bytes_is_not_bought(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        opened.buy("cup", look=a_look(100))
        with pytest.raises(StoppedError, match="'cup'") as caught:
            opened.buy("same cup", look=a_look(103))
        opened.buy("jug", look=a_look(150))
        assert caught.value.facts["duplicate_of"] == "cup"
        assert (opened.counts, opened.month()) == ((2, 2), (2 * PRICE, 0))


def test_twins_that_both_were_refused_for_a_while_are_bought_once(tmp_path: Path) -> None:
    """The first fails for free and waits; meanwhile its twin is bought."""
    with shop(tmp_path, PLAIN, "unavailable") as opened:
        with pytest.raises(ServiceAwayError):
            opened.with_terms(patience_s=0.0).buy("cup", look=a_look(100))
        opened.buy("same cup", look=a_look(103))
        with pytest.raises(StoppedError, match="'same cup'"):
            opened.buy("cup", look=a_look(100))
        assert (opened.totals["charges"], opened.month()) == (1, (PRICE, 0))


@pytest.mark.parametrize("scope", ["run", "month"])
def test_a_budget_that_is_spent_defers_the_rest_and_says_what_it_had(tmp_path: Path, scope: str) -> None:
    with shop(tmp_path) as opened:
        name = run_scope("run-1") if scope == "run" else month_scope(opened.clock.now())
        opened.cap(name, 2 * PRICE + 1)
        opened.buy("cup")
        opened.buy("jug")
        with pytest.raises(DeferredError, match=r"0\.000001 USD left of 0\.078001, this costs 0\.039;") as caught:
            opened.buy("bowl")
        facts = caught.value.facts
        assert (facts["scope"], facts["cap_micro_usd"], facts["spent_micro_usd"]) == (name, 2 * PRICE + 1, 2 * PRICE)
        assert opened.counts == (2, 2)


# the circuit


def test_a_service_that_stays_away_defers_and_nothing_was_charged(tmp_path: Path) -> None:
    with shop(tmp_path, PLAIN, {"kind": "unavailable", "retry_after": 2000}) as opened:
        for name in ("cup", "jug"):
            with pytest.raises(ServiceAwayError, match="nothing was charged"):
                opened.buy(name)
        assert (opened.counts, opened.month()) == ((1, 0), (0, 0))


def test_where_stages_fail_here_nothing_is_bought_and_nobody_waits(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        for _ in range(5):
            opened.paid.circuit.failed_here("paid-test")
        before = opened.clock.seconds()
        with pytest.raises(MachineFailingError, match="failed on this machine"):
            opened.buy("cup")
        assert opened.clock.seconds() - before < 20
        assert (opened.counts, opened.month()) == ((0, 0), (0, 0))
        opened.clock.clock.sleep(301)
        assert opened.buy("cup").state == "settled"
        assert opened.buy("jug").state == "settled"


def test_failures_here_do_not_keep_from_finding_out_what_was_paid(tmp_path: Path) -> None:
    with shop(tmp_path, LOOK_UP, "reset_after") as opened:
        with pytest.raises(HeldError):
            opened.with_terms(patience_s=-1.0).buy("cup")
        for _ in range(5):
            opened.paid.circuit.failed_here("paid-test")
        assert opened.buy("cup").state == "settled"
        assert opened.counts == (1, 1)


def test_an_answer_outlives_a_circuit_that_cannot_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets.ledger import Breaker

    with shop(tmp_path, LOOK_UP, "reset_after") as opened:
        with failing(monkeypatch, Breaker, "failed", OFFLINE, 1):
            assert opened.buy("cup").state == "settled"
        assert opened.counts == (1, 1)
