"""Purchases from state to state: each is bought once, and no outcome is ever guessed."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from datasets.errors import NotFoundError, UsageError
from datasets.ledger import (
    Bought,
    Budget,
    Busy,
    Charged,
    Held,
    NotCharged,
    OverBudget,
    Purchase,
    PurchaseHeart,
    PurchaseLostError,
    PurchaseStateError,
    SpendSession,
    Undecided,
    open_ledger,
    purchase_key,
)
from tests.datasets.spend_desk import MONTH, RUN, Desk, desk
from tests.datasets.spend_facts import ANSWER, PRICE, die, key_of, wish, yours

__all__ = ["desk"]  # the fixture is shared by its name


# the straight way


def test_a_purchase_goes_from_intent_to_settled_and_is_then_everybodys(desk: Desk) -> None:
    intent = yours(desk.claim(wish()))
    assert (intent.state, intent.attempt, intent.sendings) == ("intent", 1, 0)
    assert (intent.intent_at, intent.sent_at, intent.day) == (desk.clock.now, None, "2026-05-04")
    assert desk.money(RUN) == desk.money(MONTH) == (PRICE, 0)
    desk.clock.advance(seconds=1)
    sent = desk.sent(intent)
    assert (sent.state, sent.sendings, sent.sent_at) == ("sent", 1, desk.clock.now)
    desk.clock.advance(days=1)
    settled = desk.settle(sent, charged_micro_usd=35_000, reference="ref", response=ANSWER)
    assert (settled.state, settled.charged_micro_usd, settled.held_micro_usd) == ("settled", 35_000, 0)
    assert (settled.settled_at, settled.day, settled.holder) == (desk.clock.now, "2026-05-05", None)
    assert desk.money(RUN) == desk.money(MONTH) == (0, 35_000)
    again = desk.claim(wish(run_id="run-2"))
    assert again == Bought(settled)
    assert again.purchase.response == ANSWER
    assert desk.find(key_of("shoe")) == settled


def test_the_key_names_what_is_bought_and_nothing_else() -> None:
    def key(**changes: Any) -> str:
        wished: dict[str, Any] = {
            "tenant": "anna",
            "stage": "restyle",
            "adapter": "studio",
            "adapter_version": "1",
            "parameters": {"a": 1, "b": 2.0},
            "input_digests": ["ab" * 32, "cd" * 32],
        }
        return purchase_key(**(wished | changes))

    assert key(parameters={"b": 2, "a": 1}) == key()
    changed = [
        key(tenant="bert"),
        key(stage="restyles"),
        key(adapter="studios"),
        key(adapter_version="2"),
        key(parameters={"a": 1, "b": 3}),
        key(input_digests=["cd" * 32, "ab" * 32]),
    ]
    assert len({key(), *changed}) == 7
    with pytest.raises(UsageError, match="sha256"):
        key(input_digests=["/in/shoe.jpg"])


def test_while_one_has_it_others_wait(desk: Desk) -> None:
    first = yours(desk.claim(wish()))
    assert isinstance(desk.claim(wish(run_id="run-2")), Busy)
    sent = desk.sent(first)
    assert isinstance(desk.claim(wish()), Busy)
    desk.settle(sent, charged_micro_usd=PRICE, reference=None, response=ANSWER)
    assert isinstance(desk.claim(wish()), Bought)


@pytest.mark.parametrize("failed", ["intent", "sent"])
def test_what_cost_nothing_can_be_wanted_again_under_another_key(desk: Desk, failed: str) -> None:
    purchase = yours(desk.claim(wish()))
    purchase = purchase if failed == "intent" else desk.sent(purchase)
    free = desk.failed_free(purchase, "rejected", {"status": 400})
    assert (free.state, free.error_code, free.error_facts, free.holder) == (
        "failed_free",
        "rejected",
        {"status": 400},
        None,
    )
    assert desk.money() == desk.money(MONTH) == (0, 0)
    again = yours(desk.claim(wish(price_micro_usd=5)))
    assert (again.state, again.attempt, again.sendings, again.error_code, again.sent_at) == ("intent", 2, 0, None, None)
    assert again.idempotency_key != purchase.idempotency_key
    assert desk.money() == (5, 0)


def test_an_idempotency_key_does_not_depend_on_the_ledger(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    first = Desk(open_ledger(f"sqlite:///{tmp_path / 'a' / 'ledger.db'}"))
    second = Desk(open_ledger("sqlite:///:memory:"))
    assert yours(first.claim(wish())).idempotency_key == yours(second.claim(wish("shoe", "run-2"))).idempotency_key
    assert yours(first.claim(wish("boot"))).idempotency_key != yours(second.claim(wish("sock"))).idempotency_key


# who may go on


def test_a_dead_process_that_had_not_sent_is_followed_at_the_cost_of_the_follower(desk: Desk) -> None:
    yours(desk.claim(wish()))
    die(desk.ledger)
    followed = yours(desk.claim(wish(run_id="run-2", price_micro_usd=7)))
    assert (followed.state, followed.run_id, followed.attempt, followed.held_micro_usd) == ("intent", "run-2", 2, 7)
    assert desk.money(RUN) == (0, 0)
    assert desk.money("run:run-2") == desk.money(MONTH) == (7, 0)


def test_a_dead_process_that_had_sent_leaves_an_unknown_outcome_under_its_own_budget(desk: Desk) -> None:
    desk.sent(yours(desk.claim(wish())))
    die(desk.ledger)
    taken = yours(desk.claim(wish(run_id="run-2", can_resolve=True)))
    assert (taken.state, taken.run_id, taken.holder_run_id, taken.error_code) == (
        "unknown",
        "run-1",
        "run-2",
        "sender_lost",
    )
    assert taken.idempotency_key == desk.find(key_of("shoe")).idempotency_key
    assert isinstance(desk.claim(wish(run_id="run-3", can_resolve=True)), Busy)
    desk.settle(taken, charged_micro_usd=PRICE, reference="found", response=ANSWER)
    assert desk.money(RUN) == (0, PRICE)
    assert desk.budget("run:run-2") == Budget("run:run-2", None, 0, 0)


def test_a_silent_holder_is_followed_after_its_lease_and_not_before(desk: Desk) -> None:
    first = yours(desk.claim(wish(), lease_s=60))
    desk.clock.advance(seconds=50)
    assert desk.renew(first, lease_s=60)
    desk.clock.advance(seconds=59)
    assert isinstance(desk.claim(wish()), Busy)
    desk.clock.advance(seconds=1)
    second = yours(desk.claim(wish()))
    assert not desk.renew(first)
    with pytest.raises(PurchaseLostError, match="send nothing") as lost:
        desk.sent(first)
    assert lost.value.code == "purchase_lost"
    assert desk.sent(second).state == "sent"


def test_a_reply_that_comes_after_the_lease_is_still_the_truth(desk: Desk) -> None:
    sent = desk.sent(yours(desk.claim(wish())))
    die(desk.ledger)
    assert isinstance(desk.claim(wish()), Held)
    settled = desk.settle(sent, charged_micro_usd=PRICE, reference="late", response=ANSWER)
    assert (settled.state, settled.provider_reference, desk.money()) == ("settled", "late", (0, PRICE))


def test_a_late_reply_does_not_stand_for_what_another_one_sent_again(desk: Desk) -> None:
    first = desk.sent(yours(desk.claim(wish())))
    die(desk.ledger)
    again = desk.resend(yours(desk.claim(wish(can_resolve=True))), safe=True)
    with pytest.raises(PurchaseStateError):
        desk.settle(first, charged_micro_usd=PRICE, reference="late", response=ANSWER)
    with pytest.raises(PurchaseLostError):
        desk.failed_free(first, "rejected")
    assert desk.settle(again, charged_micro_usd=PRICE, reference="r", response=ANSWER).sendings == 2
    assert desk.money() == (0, PRICE)


def test_what_a_dead_process_left_is_swept(desk: Desk) -> None:
    yours(desk.claim(wish("intent")))
    desk.sent(yours(desk.claim(wish("sent"))))
    desk.doubtful("unknown")
    desk.bought("bought")
    die(desk.ledger)
    alive = yours(desk.claim(wish("alive")))
    swept = {one.item: one.state for one in desk.sweep()}
    assert swept == {"intent": "failed_free", "sent": "unknown"}
    assert desk.find(alive.purchase_key) == alive
    assert desk.money() == (3 * PRICE, PRICE)
    assert desk.sweep() == []


def test_signs_of_life_keep_a_purchase_until_it_is_lost(desk: Desk) -> None:
    with desk.ledger.spending("anna") as session:  # the heart beats by the real clock
        purchase = yours(session.claim(wish(), lease_s=60))
    first = purchase.lease_expires_at
    assert first is not None
    with PurchaseHeart(desk.ledger, "anna", purchase, lease_s=120) as heart:
        heart.beat()
        assert desk.find(purchase.purchase_key).lease_expires_at > first + timedelta(seconds=50)
        assert not heart.lost
        die(desk.ledger)
        heart.beat()
        assert heart.lost


# unknown outcomes


def test_under_hold_an_unknown_outcome_stays_held(desk: Desk) -> None:
    doubt = desk.let_go(desk.doubtful())
    assert isinstance(desk.claim(wish(run_id="run-2")), Held)
    assert desk.money() == (PRICE, 0)
    with pytest.raises(PurchaseStateError):
        desk.resend(yours(desk.claim(wish(can_resolve=True))), safe=False)
    assert desk.find(doubt.purchase_key).state == "unknown"


def test_under_resend_once_it_is_sent_once_more_and_both_are_held(desk: Desk) -> None:
    desk.let_go(desk.doubtful(policy="resend_once"))
    doubt = yours(desk.claim(wish(policy="resend_once")))
    desk.clock.advance(seconds=5)
    again = desk.resend(doubt, safe=False)
    assert (again.state, again.sendings, again.held_micro_usd) == ("sent", 2, 2 * PRICE)
    assert (again.idempotency_key, again.sent_at) == (doubt.idempotency_key, doubt.sent_at)
    assert again.resent_at == desk.clock.now
    assert desk.money() == desk.money(MONTH) == (2 * PRICE, 0)
    settled = desk.settle(again, charged_micro_usd=PRICE, reference="r", response=ANSWER)
    assert (settled.held_micro_usd, desk.money()) == (PRICE, (PRICE, PRICE))  # the first may have been charged, too
    assert desk.list_unknown() == [settled]


@pytest.mark.parametrize(("outcome", "spent"), [(Charged(30_000), 70_000), (NotCharged(), 40_000)])
def test_the_first_of_two_sendings_is_resolved_later(desk: Desk, outcome: Charged | NotCharged, spent: int) -> None:
    again = desk.resend(desk.doubtful(policy="resend_once"), safe=False)
    desk.settle(again, charged_micro_usd=PRICE, reference="r", response=ANSWER)
    resolved = desk.resolve(again.purchase_key, outcome)
    assert (resolved.state, resolved.charged_micro_usd, resolved.held_micro_usd) == ("settled", spent, 0)
    assert desk.money() == (0, spent)
    assert desk.list_unknown() == []


def test_a_second_sending_that_was_refused_says_nothing_about_the_first(desk: Desk) -> None:
    again = desk.resend(desk.doubtful(policy="resend_once"), safe=False)
    refused = desk.failed_free(again, "rate_limited")
    assert (refused.state, refused.held_micro_usd, desk.money()) == ("unknown", PRICE, (PRICE, 0))
    with pytest.raises(PurchaseStateError):
        desk.resend(refused, safe=False)  # once is once
    desk.let_go(refused)
    assert isinstance(desk.claim(wish(policy="resend_once")), Held)
    safe = desk.failed_free(desk.resend(desk.doubtful("boot"), safe=True), "rate_limited")
    assert (safe.state, safe.held_micro_usd) == ("unknown", PRICE)


def test_sending_again_needs_the_money_for_it(desk: Desk) -> None:
    desk.set_budget(RUN, PRICE)
    doubt = desk.doubtful(policy="resend_once")
    assert desk.resend(doubt, safe=False) == OverBudget(RUN, PRICE, 0, PRICE, PRICE)
    assert desk.resend(doubt, safe=True).state == "sent"  # the service will not charge twice
    assert desk.money() == (PRICE, 0)


def test_an_outcome_that_turns_out_charged_is_posted(desk: Desk) -> None:
    doubt = desk.doubtful()
    settled = desk.resolve(doubt.purchase_key, Charged(41_000, "found"))
    assert (settled.state, settled.charged_micro_usd, settled.provider_reference, settled.response) == (
        "settled",
        41_000,
        "found",
        None,
    )
    assert desk.money() == (0, 41_000)
    assert isinstance(desk.claim(wish()), Bought)  # though its answer is not here
    assert desk.attach_response(doubt.purchase_key, ANSWER).response == ANSWER
    assert desk.attach_response(doubt.purchase_key, ANSWER).response == ANSWER
    with pytest.raises(PurchaseStateError):
        desk.attach_response(doubt.purchase_key, replace(ANSWER, digest="ef" * 32))


def test_an_outcome_that_turns_out_free_can_be_wanted_again(desk: Desk) -> None:
    void = desk.resolve(desk.doubtful().purchase_key, NotCharged({"looked": "up"}))
    assert (void.state, void.error_facts, desk.money()) == ("void", {"looked": "up"}, (0, 0))
    assert yours(desk.claim(wish())).attempt == 2


def test_an_outcome_that_stays_undecided_is_noted(desk: Desk) -> None:
    doubt = desk.doubtful()
    desk.clock.advance(minutes=5)
    still = desk.resolve(doubt.purchase_key, Undecided({"status": "running"}))
    assert (still.state, still.looked_up_at, still.error_facts) == ("unknown", desk.clock.now, {"status": "running"})
    assert desk.money() == (PRICE, 0)


def test_unknown_outcomes_are_listed_once_they_are_old_enough(desk: Desk) -> None:
    desk.doubtful("old")
    desk.clock.advance(seconds=10)
    desk.doubtful("young")
    desk.bought("bought")
    assert [one.item for one in desk.list_unknown()] == ["old", "young"]
    assert [one.item for one in desk.list_unknown(timedelta(seconds=10))] == ["old"]
    desk.clock.advance(seconds=10)
    desk.resend(desk.find(key_of("old")), safe=True)
    assert [one.item for one in desk.list_unknown(timedelta(seconds=10))] == ["young"]


# steps that are none

STEPS: dict[str, Callable[[SpendSession, Purchase], object]] = {
    "sent": lambda s, p: s.sent(p),
    "settle": lambda s, p: s.settle(p, charged_micro_usd=1, reference=None, response=ANSWER),
    "failed_free": lambda s, p: s.failed_free(p, "x"),
    "unknown": lambda s, p: s.unknown(p, "x"),
    "let_go": lambda s, p: s.let_go(p),
    "resend": lambda s, p: s.resend(p, safe=True),
    "resolve": lambda s, p: s.resolve(p.purchase_key, NotCharged()),
}
ALLOWED = {
    "intent": {"sent", "failed_free"},
    "sent": {"settle", "failed_free", "unknown"},
    "unknown": {"settle", "let_go", "resend", "resolve"},
    "settled": set(),
    "failed_free": set(),
    "void": set(),
}


def reach(desk: Desk, state: str) -> Purchase:
    if state == "settled":
        return desk.bought()
    purchase: Purchase = yours(desk.claim(wish()))
    if state in ("intent", "failed_free"):
        return purchase if state == "intent" else desk.failed_free(purchase, "x")
    purchase = desk.sent(purchase)
    if state in ("unknown", "void"):
        purchase = desk.unknown(purchase, "x")
    return desk.resolve(purchase.purchase_key, NotCharged()) if state == "void" else purchase


@pytest.mark.parametrize("state", ALLOWED)
def test_no_state_is_skipped_and_none_left_twice(desk: Desk, state: str) -> None:
    purchase = reach(desk, state)
    assert purchase.state == state
    before = (desk.find(purchase.purchase_key), desk.budgets())
    for name in STEPS.keys() - ALLOWED[state]:
        with (
            pytest.raises((PurchaseStateError, PurchaseLostError)) as refused,
            desk.ledger.spending("anna", clock=desk.clock) as session,
        ):
            STEPS[name](session, purchase)
        assert refused.value.facts["purchase"] == purchase.purchase_key
        assert (desk.find(purchase.purchase_key), desk.budgets()) == before, name


@pytest.mark.parametrize(
    ("state", "step"), [(state, step) for state, steps in ALLOWED.items() for step in sorted(steps)]
)
def test_every_step_that_is_allowed_is_taken_once(desk: Desk, state: str, step: str) -> None:
    purchase = reach(desk, state)
    with desk.ledger.spending("anna", clock=desk.clock) as session:
        STEPS[step](session, purchase)
    if step != "let_go":
        with pytest.raises((PurchaseStateError, PurchaseLostError)), desk.ledger.spending("anna") as session:
            STEPS[step](session, purchase)


def test_of_two_that_saw_the_same_one_goes_on(desk: Desk) -> None:
    sent = desk.sent(yours(desk.claim(wish())))
    desk.settle(sent, charged_micro_usd=PRICE, reference="a", response=ANSWER)
    with pytest.raises(PurchaseStateError, match="'settled'"):
        desk.settle(sent, charged_micro_usd=PRICE, reference="b", response=ANSWER)
    assert desk.money() == (0, PRICE)


def test_a_purchase_that_is_not_there_is_not_found(desk: Desk) -> None:
    with pytest.raises(NotFoundError, match="stillmotion spend"):
        desk.resolve("ab" * 32, NotCharged())
    assert desk.find("ab" * 32) is None


@pytest.mark.parametrize("price", [-1, 0.5, True, "1"])
def test_money_is_whole_and_not_negative(desk: Desk, price: Any) -> None:
    with pytest.raises(UsageError, match="micro-USD"):
        wish(price_micro_usd=price)
    with pytest.raises(UsageError, match="micro-USD"):
        desk.set_budget(RUN, price)
    sent = desk.sent(yours(desk.claim(wish())))
    with pytest.raises(UsageError, match="micro-USD"):
        desk.settle(sent, charged_micro_usd=price, reference=None, response=ANSWER)
    assert (desk.find(sent.purchase_key).state, desk.money()) == ("sent", (PRICE, 0))
