"""Costs that were avoided, and the sums that people are shown."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from datasets.errors import UsageError
from datasets.ledger import Avoided, Ledger, SpendSession, Summary, open_ledger
from tests.datasets.ledger_rows import new_ledger_url
from tests.datasets.spend_facts import ANSWER, PRICE, Clock, key_of, wish, yours

EVIDENCE = {"purchase": "ab" * 32}


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    opened = open_ledger(new_ledger_url(request, request.param, tmp_path))
    yield opened
    opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def session(ledger: Ledger, clock: Clock) -> Callable[[], Any]:
    return lambda: ledger.spending("anna", clock=clock)


def saved(item: str = "shoe", **facts: Any) -> Avoided:
    values: dict[str, Any] = {
        "run_id": "run-1",
        "item": item,
        "deliverable_key": key_of("shoe"),
        "reason": "duplicate",
        "micro_usd": PRICE,
        "evidence": EVIDENCE,
    }
    return Avoided(**(values | facts))


def buy(session: SpendSession, name: str, charged: int = PRICE, **facts: Any) -> None:
    sent = session.sent(yours(session.claim(wish(name, **facts))))
    session.settle(sent, charged_micro_usd=charged, reference=name, response=ANSWER)


def test_a_deliverable_is_avoided_once_in_a_run(session: Callable[[], Any]) -> None:
    with session() as spend:
        assert spend.avoid(saved())
        assert not spend.avoid(saved(reason="cache_hit"))
        assert spend.avoid(saved("boot"))  # another item wanted the same
        assert spend.avoid(saved(run_id="run-2"))
        assert [(one.item, one.reason, one.micro_usd) for one in spend.avoided("run-1")] == [
            ("boot", "duplicate", PRICE),
            ("shoe", "duplicate", PRICE),
        ]
        assert spend.summary(run_id="run-1").avoided == {"duplicate": 2 * PRICE}


def test_what_a_run_paid_for_before_it_was_interrupted_is_not_avoided(session: Callable[[], Any]) -> None:
    with session() as spend:
        buy(spend, "shoe")
        assert not spend.avoid(saved(reason="cache_hit"))
        assert spend.avoid(saved("boot"))
        assert spend.avoid(saved(run_id="run-2", reason="cache_hit"))


def test_a_release_takes_it_back_once(session: Callable[[], Any]) -> None:
    with session() as spend:
        assert not spend.reverse_avoided("run-1", "shoe", key_of("shoe"), {"released": "by hand"})
        spend.avoid(saved(reason="guardrail_stop"))
        assert spend.reverse_avoided("run-1", "shoe", key_of("shoe"), {"released": "by hand"})
        assert not spend.reverse_avoided("run-1", "shoe", key_of("shoe"), {"released": "again"})
        assert not spend.avoid(saved())
        entries = {one.entry: (one.micro_usd, one.evidence) for one in spend.avoided("run-1")}
        summary = spend.summary()
    assert entries == {"avoided": (PRICE, EVIDENCE), "reversal": (-PRICE, {"released": "by hand"})}
    assert (summary.avoided, summary.reversed, summary.avoided_net) == ({"guardrail_stop": PRICE}, PRICE, 0)


@pytest.mark.parametrize("change", ["UPDATE avoided SET micro_usd = 1", "DELETE FROM avoided"])
def test_an_entry_can_not_be_changed(ledger: Ledger, session: Callable[[], Any], change: str) -> None:
    with session() as spend:
        spend.avoid(saved())
    if ledger.engine.dialect.name == "sqlite":
        with pytest.raises(IntegrityError, match="only added"), ledger.session("anna") as raw:
            raw._connection.execute(text(change))
    else:
        with ledger.session("anna") as raw:
            assert raw._connection.execute(text(change)).rowcount == 0
    with session() as spend:
        assert [one.micro_usd for one in spend.avoided("run-1")] == [PRICE]


@pytest.mark.parametrize(
    "facts", [{"reason": "deferred"}, {"evidence": {}}, {"micro_usd": -1}, {"micro_usd": 0.5}, {"deliverable_key": "x"}]
)
def test_what_is_not_proven_is_not_avoided(facts: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        saved(**facts)


def test_sums_by_run_and_day(session: Callable[[], Any], clock: Clock) -> None:
    with session() as spend:
        buy(spend, "a", 10)
        buy(spend, "check", 3, guard=True)
        yours(spend.claim(wish("b", price_micro_usd=20)))
        spend.sent(yours(spend.claim(wish("c", price_micro_usd=5))))
        spend.avoid(saved("d", micro_usd=100, reason="cache_hit"))
    clock.advance(days=1)
    with session() as spend:
        sent = spend.sent(yours(spend.claim(wish("e", run_id="run-2", price_micro_usd=7))))
        spend.unknown(sent, "timeout")
        spend.avoid(saved("f", run_id="run-2", micro_usd=50, reason="guardrail_stop"))
        spend.avoid(saved("g", run_id="run-2", micro_usd=40, reason="duplicate"))
        spend.reverse_avoided("run-2", "f", key_of("shoe"), {"released": True})
    first = Summary(spent=13, held=25, avoided={"cache_hit": 100}, guard_cost=3)
    second = Summary(unknown=7, avoided={"duplicate": 40, "guardrail_stop": 50}, reversed=50)
    with session() as spend:
        assert spend.summaries("run") == {"run-1": first, "run-2": second}
        assert spend.summaries("day") == {"2026-05-04": first, "2026-05-05": second}
        assert spend.summary(run_id="run-2") == second
        assert spend.summary(since="2026-05-05") == second
        assert spend.summary(until="2026-05-04") == first
        whole = spend.summary()
        assert spend.summary(run_id="run-3") == Summary()
    assert (whole.spent, whole.held, whole.unknown, whole.avoided_gross, whole.avoided_net) == (13, 25, 7, 190, 137)


def test_another_tenant_has_sums_of_its_own(ledger: Ledger, session: Callable[[], Any]) -> None:
    with session() as spend:
        buy(spend, "a")
        spend.avoid(saved())
    with ledger.spending("bert") as spend:
        assert (spend.summary(), spend.summaries("run"), spend.avoided("run-1")) == (Summary(), {}, [])
