"""Our books against a provider's list."""

from datetime import UTC, datetime
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.errors import UsageError
from datasets.ledger import (
    Charged,
    Difference,
    Ledger,
    NotCharged,
    Purchase,
    UsageRecord,
    open_ledger,
    reconcile,
)
from tests.datasets.spend_facts import ANSWER, PRICE, wish, yours

AT = datetime(2026, 5, 31, tzinfo=UTC)


@pytest.fixture
def ledger() -> Ledger:
    return open_ledger("sqlite:///:memory:")


def buy(ledger: Ledger, name: str, end: str = "settled") -> Purchase:
    with ledger.spending("anna") as session:
        purchase = yours(session.claim(wish(name)))
        if end == "intent":
            return purchase
        purchase = session.sent(purchase)
        if end == "settled":
            return session.settle(purchase, charged_micro_usd=PRICE, reference=f"ref-{name}", response=ANSWER)
        if end == "failed_free":
            return session.failed_free(purchase, "rejected")
        purchase = session.unknown(purchase, "timeout") if end in ("unknown", "void") else purchase
        return session.resolve(purchase.purchase_key, NotCharged()) if end == "void" else purchase


def line(purchase: Purchase, micro_usd: int = PRICE) -> UsageRecord:
    return UsageRecord(micro_usd, AT, idempotency_key=purchase.idempotency_key)


def test_books_that_agree_have_no_difference(ledger: Ledger) -> None:
    a, b = buy(ledger, "a"), buy(ledger, "b")
    waiting = [buy(ledger, "c", "unknown"), buy(ledger, "d", "failed_free"), buy(ledger, "e", "intent")]
    assert reconcile([a, b, *waiting], [line(a), UsageRecord(PRICE, AT, reference="ref-b")]) == []


def test_every_kind_of_difference_is_found(ledger: Ledger) -> None:
    other, there = buy(ledger, "other"), buy(ledger, "there")
    unknown, free, void = buy(ledger, "u", "unknown"), buy(ledger, "f", "failed_free"), buy(ledger, "v", "void")
    usage = [
        line(other, 50_000),
        UsageRecord(45_000, AT, reference="provider-7", idempotency_key=unknown.idempotency_key),
        line(free, 1),
        line(void, 2),
        UsageRecord(9, AT, reference="stranger"),
    ]
    assert reconcile([other, there, unknown, free, void], usage) == [
        Difference("other_amount", other.purchase_key, "ref-other", other.idempotency_key, PRICE, 50_000, 1),
        Difference("missing_there", there.purchase_key, "ref-there", there.idempotency_key, PRICE, None, 0),
        Difference("unknown_resolved", unknown.purchase_key, "provider-7", unknown.idempotency_key, None, 45_000, 1),
        Difference("missing_here", free.purchase_key, None, free.idempotency_key, None, 1, 1),
        Difference("missing_here", void.purchase_key, None, void.idempotency_key, None, 2, 1),
        Difference("missing_here", None, "stranger", None, None, 9, 1),
    ]


def test_what_was_paid_twice_shows_by_its_lines(ledger: Ledger) -> None:
    bought = buy(ledger, "a")
    twice = [line(bought), UsageRecord(PRICE, AT, reference="ref-a")]
    assert [(one.kind, one.there_micro_usd, one.lines) for one in reconcile([bought], twice)] == [
        ("other_amount", 2 * PRICE, 2)
    ]


def test_a_list_resolves_what_is_unknown(ledger: Ledger) -> None:
    unknown = buy(ledger, "a", "unknown")
    (found,) = reconcile([unknown], [line(unknown)])
    assert (found.purchase_key, found.there_micro_usd) == (unknown.purchase_key, PRICE)
    with ledger.spending("anna") as session:
        settled = session.resolve(unknown.purchase_key, Charged(PRICE))
    assert reconcile([settled], [line(unknown)]) == []


def test_a_charge_of_nothing_need_not_be_listed(ledger: Ledger) -> None:
    with ledger.spending("anna") as session:
        sent = session.sent(yours(session.claim(wish("a"))))
        free = session.settle(sent, charged_micro_usd=0, reference=None, response=ANSWER)
    assert reconcile([free], []) == []
    assert reconcile([free], [line(free, 0)]) == []


def test_a_line_says_what_it_is_about() -> None:
    with pytest.raises(UsageError, match="reference"):
        UsageRecord(1, AT)


@cache
def two_bought() -> list[Purchase]:
    ledger = open_ledger("sqlite:///:memory:")
    return [buy(ledger, "a"), buy(ledger, "b")]


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "x"]), st.integers(0, 10**9)), max_size=8))
def test_all_money_of_the_list_is_accounted_for(lines: list[tuple[str, int]]) -> None:
    """What the list says in all is what we counted, and the differences."""
    usage = [UsageRecord(amount, AT, reference=f"ref-{name}") for name, amount in lines]
    found = reconcile(two_bought(), usage)
    extra = sum((one.there_micro_usd or 0) - (one.here_micro_usd or 0) for one in found)
    assert sum(amount for _, amount in lines) == 2 * PRICE + extra
