"""The money of a run as the ledger has it: sums, counts, and why each item cost what it did."""

from collections.abc import Iterator

import pytest

from datasets.identity import digest_bytes
from datasets.ledger import Avoided, ItemRecord, Ledger, Wanted, Yours, open_ledger, run_scope
from flows.artifacts import cost_words
from flows.money_reporting import read_money
from flows.report_money import Saving
from flows.sums import Money

RUN, TENANT, PRICE = "run-1", "anna", 39_000


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    opened = open_ledger("sqlite://")
    yield opened
    opened.engine.dispose()


def key(name: str) -> str:
    return digest_bytes(name.encode())


def item(name: str, status: str | None, *codes: str) -> ItemRecord:
    reasons = [{"code": code, "message": "", "facts": {}, "level": "error"} for code in codes]
    return ItemRecord(run_id=RUN, item=name, position=0, source=name, status=status, reasons=reasons)


def buy(ledger: Ledger, name: str, *, run_id: str = RUN, known: bool = True, guard: bool = False) -> None:
    wanted = Wanted(key(name), run_id, name, "place", "scenes", "1", PRICE, "2026-01", guard=guard)
    with ledger.spending(TENANT) as session:
        claim = session.claim(wanted)
    assert isinstance(claim, Yours)
    with ledger.spending(TENANT) as session:
        sent = session.sent(claim.purchase)
    with ledger.spending(TENANT) as session:
        if known:
            session.settle(sent, charged_micro_usd=PRICE, reference=name, response=None)
        else:
            session.unknown(sent, "lost")


def avoid(ledger: Ledger, name: str, reason: str, **evidence: str) -> None:
    with ledger.spending(TENANT) as session:
        session.avoid(Avoided(RUN, name, key(f"{name} wanted"), reason, PRICE, evidence or {"gate": "spend"}))  # type: ignore[arg-type]


def test_a_run_that_has_nothing_to_do_with_money_has_none(ledger: Ledger) -> None:
    buy(ledger, "other", run_id="run-2")
    assert read_money(ledger, TENANT, RUN, [item("a", "delivered"), item("b", "failed", "truncated")]) is None


def test_a_run_that_only_put_off_tells_of_its_money(ledger: Ledger) -> None:
    money = read_money(ledger, TENANT, RUN, [item("a", "deferred", "over_budget")])
    assert money is not None
    assert (money.spent, money.savings, money.services) == (0, (), ())
    assert money.items[0].words == "put off because the budget is used up"


def test_sums_counts_and_words_come_from_the_rows(ledger: Ledger) -> None:
    with ledger.spending(TENANT) as session:
        session.set_budget(run_scope(RUN), 200_000)
    buy(ledger, "earlier", run_id="run-0")
    buy(ledger, "bought")
    buy(ledger, "guard", guard=True)
    buy(ledger, "unsure", known=False)
    avoid(ledger, "cached", "cache_hit", purchase=key("earlier"))
    avoid(ledger, "twin", "duplicate", purchase=key("bought"))
    avoid(ledger, "blurred", "guardrail_stop")
    avoid(ledger, "let go", "guardrail_stop")
    with ledger.spending(TENANT) as session:
        session.reverse_avoided(RUN, "let go", key("let go wanted"), {"by": "kim"})
    ends = {"bought": "delivered", "guard": "delivered", "unsure": "held", "cached": "delivered", "twin": "stopped"}
    items = [item(name, status) for name, status in ends.items()]
    items += [item("blurred", "stopped"), item("let go", "stopped"), item("broken", "failed"), item("late", None)]
    money = read_money(ledger, TENANT, RUN, items)
    assert money is not None
    assert (money.spent, money.bought, money.guard_cost, money.unknown, money.held) == (78_000, 1, 39_000, 39_000, 0)
    assert money.savings == (
        Saving("cache_hit", 1, 39_000), Saving("duplicate", 1, 39_000), Saving("guardrail_stop", 2, 78_000)
    )  # fmt: skip
    assert (money.gross, money.reversed, money.net) == (156_000, 39_000, 78_000)
    assert (money.cap, money.left) == (200_000, 83_000)
    assert money.services == (("scenes", "2026-01"),)
    assert [(each.item, each.paid, each.avoided, each.held, each.words) for each in money.items] == [
        ("bought", 39_000, 0, 0, "bought in this run"),
        ("guard", 39_000, 0, 0, "bought in this run"),
        ("unsure", 0, 0, 39_000, "kept back"),
        ("cached", 0, 39_000, 0, "bought before for earlier, came from the cache"),
        ("twin", 0, 39_000, 0, "the same picture was bought for bought"),
        ("blurred", 0, 39_000, 0, "stopped by a guardrail"),
        ("let go", 0, 0, 0, "stopped by a guardrail, released later"),
        ("broken", 0, 0, 0, "failed before anything was paid"),
        ("late", 0, 0, 0, "not reached"),
    ]


def test_the_summary_for_prefect_names_both_sums() -> None:
    assert cost_words(Money(spent=0.039, avoided_net=0.117)) == "Cost: 0.039 USD, avoided: 0.117 USD."
    assert cost_words(Money()) == "Cost: 0.00 USD, avoided: 0.00 USD."
