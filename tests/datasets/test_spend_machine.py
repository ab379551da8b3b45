"""Buying in any order, with processes that die between any two transactions: money is conserved, nothing paid twice."""

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from datasets.ledger import (
    Bought,
    Busy,
    Charged,
    Held,
    Ledger,
    NotCharged,
    OverBudget,
    Purchase,
    Undecided,
    Yours,
    open_ledger,
)
from datasets.ledger.spend_rows import FOLLOWS
from tests.datasets.ledger_rows import new_ledger
from tests.datasets.spend_facts import ANSWER, Clock, die, key_of, wish

NAMES = st.sampled_from(["a", "b", "c", "d"])
PRICES = st.sampled_from([1, 30, 45])
CAP = {"month:2026-05": 120, "run:run-0": 70}


class Service:
    """Charges when a request arrives, whether or not the answer gets back. It honours keys if it was told to."""

    def __init__(self) -> None:
        self.charges: list[tuple[str, int]] = []

    def charge(self, key: str, price: int) -> None:
        self.charges.append((key, price))

    def of(self, key: str) -> int:
        return sum(price for charged, price in self.charges if charged == key)


class Market(RuleBasedStateMachine):
    """Four processes buy four things. Each of a process's steps is a transaction; it may die before the next."""

    opened: ClassVar[Callable[[], tuple[Ledger, Callable[[], None]]]]

    @initialize()
    def open(self) -> None:
        self.ledger, self.close = type(self).opened()
        self.clock, self.service = Clock(), Service()
        self.hands: dict[str, Purchase] = {}  # what somebody who lives has in hand, by its name
        self.flying: dict[str, bool] = {}  # sent: whether the request reached the service
        self.seen: dict[str, tuple[str, int]] = {}
        for scope, cap in CAP.items():
            self.call("set_budget", scope, cap)

    def call(self, method: str, *arguments: Any, **named: Any) -> Any:
        with self.ledger.spending("anna", clock=self.clock) as session:
            return getattr(session, method)(*arguments, **named)

    def teardown(self) -> None:
        if hasattr(self, "close"):
            self.close()

    def pick(self, *states: str) -> list[str]:
        return sorted(name for name, purchase in self.hands.items() if purchase.state in states)

    @rule(name=NAMES, run=st.integers(0, 1), price=PRICES, can_resolve=st.booleans())
    def claim(self, name: str, run: int, price: int, can_resolve: bool) -> None:
        before = self.call("find", key_of(name))
        claim = self.call(
            "claim", wish(name, run_id=f"run-{run}", price_micro_usd=price, can_resolve=can_resolve), lease_s=60
        )
        if isinstance(claim, Yours):
            assert name not in self.hands, "two have it"
            assert claim.purchase.state in ("intent", "unknown")
            self.hands[name] = claim.purchase
        elif isinstance(claim, Busy):
            assert name in self.hands
        elif isinstance(claim, Bought):
            assert before.state == "settled"
        elif isinstance(claim, Held):
            assert before.state in ("sent", "unknown")
            assert not can_resolve
        else:
            assert isinstance(claim, OverBudget)
            assert claim.spent_micro_usd + claim.held_micro_usd + price > claim.cap_micro_usd

    @precondition(lambda self: self.pick("intent"))
    @rule(data=st.data(), arrives=st.booleans())
    def send(self, data: st.DataObject, arrives: bool) -> None:
        name = data.draw(st.sampled_from(self.pick("intent")))
        self.hands[name] = sent = self.call("sent", self.hands[name])
        if arrives:
            self.service.charge(sent.idempotency_key, sent.price_micro_usd)

    @precondition(lambda self: self.pick("sent"))
    @rule(data=st.data(), answered=st.booleans())
    def hear(self, data: st.DataObject, answered: bool) -> None:
        """The answer, the refusal, or neither."""
        name = data.draw(st.sampled_from(self.pick("sent")))
        sent = self.hands[name]
        charged = self.service.of(sent.idempotency_key)
        if not answered:
            self.hands[name] = self.call("unknown", sent, "timeout")
        elif charged:
            self.call("settle", self.hands.pop(name), charged_micro_usd=charged, reference=name, response=ANSWER)
        else:
            outcome = self.call("failed_free", self.hands.pop(name), "rejected")
            assert outcome.state == ("failed_free" if sent.sendings == 1 else "unknown")
            if outcome.state == "unknown":
                self.hands[name] = outcome

    @precondition(lambda self: self.pick("unknown"))
    @rule(data=st.data())
    def send_again_to_a_service_that_honours_keys(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.pick("unknown")))
        self.hands[name] = sent = self.call("resend", self.hands[name], safe=True)
        if not self.service.of(sent.idempotency_key):
            self.service.charge(sent.idempotency_key, sent.price_micro_usd)

    @precondition(lambda self: self.pick("unknown", "intent"))
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.pick("unknown", "intent")))
        purchase = self.hands.pop(name)
        if purchase.state == "unknown":
            self.call("let_go", purchase)
        else:
            self.call("failed_free", purchase, "interrupted")

    @rule(decided=st.booleans())
    def look_up(self, decided: bool) -> None:
        for purchase in self.call("list_unknown"):
            charged = self.service.of(purchase.idempotency_key)
            outcome = Charged(charged, "found") if charged else NotCharged()
            self.call("resolve", purchase.purchase_key, outcome if decided else Undecided())
            if decided:
                self.hands.pop(purchase.item, None)

    @precondition(lambda self: self.hands)
    @rule(data=st.data(), silently=st.booleans())
    def crash(self, data: st.DataObject, silently: bool) -> None:
        """A process dies: here it is known to be dead, elsewhere it only is not heard of any more."""
        name = data.draw(st.sampled_from(sorted(self.hands)))
        del self.hands[name]
        if not silently:
            die(self.ledger, key=key_of(name))
            return
        self.clock.advance(seconds=60)
        for other in self.hands.values():
            assert self.call("renew", other, lease_s=60)

    @rule()
    def sweep(self) -> None:
        self.call("sweep")

    @invariant()
    def the_books_are_right(self) -> None:
        if not hasattr(self, "ledger"):
            return
        with self.ledger.spending("anna", read_only=True, clock=self.clock) as session:
            rows, budgets = session.purchases(), session.budgets()
        self.no_state_is_skipped(rows)
        for budget in budgets:
            mine = [row for row in rows if budget.scope in row.scopes]
            # a row's charge belongs to the scopes of its last intent, and only settled rows have one
            assert budget.spent_micro_usd == sum(row.charged_micro_usd or 0 for row in mine)
            assert budget.held_micro_usd == sum(
                row.price_micro_usd for row in mine if row.state in ("intent", "sent", "unknown")
            )
            if budget.cap_micro_usd is not None:
                assert 0 <= budget.spent_micro_usd + budget.held_micro_usd <= budget.cap_micro_usd
        for row in rows:
            charged = [key for key, _ in self.service.charges if key == row.idempotency_key]
            assert len(charged) <= 1
            assert row.state != "settled" or row.charged_micro_usd == self.service.of(row.idempotency_key)
            assert row.state not in ("failed_free", "void", "intent") or not charged
        # nothing was charged that no row knows of: under any key that was ever used
        open_or_settled = {row.idempotency_key for row in rows if row.state in ("sent", "unknown", "settled")}
        assert {key for key, _ in self.service.charges} <= open_or_settled

    def no_state_is_skipped(self, rows: list[Purchase]) -> None:
        for row in rows:
            before, attempt = self.seen.get(row.purchase_key, ("void", 0))
            steps = _distance(before, row.state)
            assert steps is not None, f"{before} to {row.state}"
            assert row.attempt - attempt in (0, 1)
            self.seen[row.purchase_key] = (row.state, row.attempt)


def _distance(before: str, after: str) -> int | None:
    """Steps from a state to another one; a single call may take two, when it takes over from a dead process."""
    if before == after:
        return 0
    follows: dict[Any, Any] = {**FOLLOWS}
    if after in follows[before]:
        return 1
    return 2 if any(after in follows[between] for between in follows[before]) else None


def _sqlite() -> tuple[Ledger, Callable[[], None]]:
    folder = tempfile.TemporaryDirectory()
    ledger = new_ledger(Path(folder.name, f"{random.getrandbits(64)}.db"))

    def close() -> None:
        ledger.close()
        folder.cleanup()

    return ledger, close


def _on(request: pytest.FixtureRequest, database: str) -> Callable[[], tuple[Ledger, Callable[[], None]]]:
    if database == "sqlite":
        return _sqlite
    ledger = open_ledger(request.getfixturevalue("postgres_ledger").url)

    def emptied() -> tuple[Ledger, Callable[[], None]]:
        with ledger.session("anna") as session:
            for table in ("purchases", "budgets"):
                session._connection.exec_driver_sql(f"DELETE FROM {table}")
        return ledger, lambda: None

    return emptied


def _run(request: pytest.FixtureRequest, database: str, examples: int, steps: int) -> None:
    machine = type("Market", (Market,), {"opened": staticmethod(_on(request, database))})
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    profile = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=checks, database=None
    )
    run_state_machine_as_test(machine, settings=profile)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_money_is_conserved(request: pytest.FixtureRequest, database: str) -> None:
    _run(request, database, examples=30, steps=15)


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_money_is_conserved_for_long(request: pytest.FixtureRequest, database: str) -> None:
    _run(request, database, examples=500, steps=30)
