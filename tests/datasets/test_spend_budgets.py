"""Budgets of runs and months, tenants that do not see each other, and what is on the disk."""

from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from datasets.errors import NotFoundError
from datasets.ledger import (
    Budget,
    NotCharged,
    OverBudget,
    SpendSession,
)
from tests.datasets.spend_desk import MONTH, RUN, Desk, desk
from tests.datasets.spend_facts import ANSWER, PRICE, die, key_of, wish, yours

__all__ = ["desk"]  # the fixture is shared by its name


# budgets


def test_a_budget_is_used_up_exactly(desk: Desk) -> None:
    desk.set_budget(RUN, 100_000)
    first = desk.sent(yours(desk.claim(wish("a", price_micro_usd=60_000))))
    assert desk.claim(wish("b", price_micro_usd=40_001)) == OverBudget(RUN, 100_000, 0, 60_000, 40_001)
    assert desk.find(key_of("b")) is None  # deferred: no row
    assert desk.money(MONTH) == (60_000, 0)  # nothing is left behind in the other scope
    yours(desk.claim(wish("b", price_micro_usd=40_000)))
    desk.settle(first, charged_micro_usd=50_000, reference=None, response=ANSWER)
    assert desk.claim(wish("c", price_micro_usd=10_001)) == OverBudget(RUN, 100_000, 50_000, 40_000, 10_001)
    yours(desk.claim(wish("c", price_micro_usd=10_000)))
    yours(desk.claim(wish("d", run_id="run-2")))  # another run has no cap


def test_a_budget_of_nothing_buys_nothing(desk: Desk) -> None:
    desk.set_budget(RUN, 0)
    assert desk.claim(wish(price_micro_usd=1)) == OverBudget(RUN, 0, 0, 0, 1)
    yours(desk.claim(wish(price_micro_usd=0)))


def test_a_month_is_the_tenants_and_ends_in_utc(desk: Desk) -> None:
    desk.set_budget("month", 50_000)  # every month
    desk.set_budget("month:2026-06", 10_000)
    desk.bought("a", run_id="run-1")
    assert desk.claim(wish("b", run_id="run-2")) == OverBudget(MONTH, 50_000, PRICE, 0, PRICE)
    desk.clock.now = desk.clock.now.replace(month=6, day=1, hour=0)
    assert desk.claim(wish("b", run_id="run-2")) == OverBudget("month:2026-06", 10_000, 0, 0, PRICE)
    desk.clock.advance(days=30)
    july = yours(desk.claim(wish("b", run_id="run-2")))
    assert july.scopes == ["month:2026-07", "run:run-2"]
    desk.clock.advance(days=31)
    desk.settle(desk.sent(july), charged_micro_usd=PRICE, reference=None, response=ANSWER)
    assert desk.budget("month:2026-07") == Budget("month:2026-07", 50_000, 0, PRICE)  # of the month of the intent
    assert desk.budget("month:2026-08") == Budget("month:2026-08", None, 0, 0)


def test_a_cap_can_be_raised_and_lifted_with_what_is_spent_kept(desk: Desk) -> None:
    desk.bought("a")
    desk.set_budget(RUN, 10)  # below what is spent: nothing more
    assert desk.budget(RUN) == Budget(RUN, 10, 0, PRICE)
    assert isinstance(desk.claim(wish("b")), OverBudget)
    desk.set_budget(RUN, 2 * PRICE)
    yours(desk.claim(wish("b")))
    desk.set_budget(RUN, None)
    yours(desk.claim(wish("c")))
    assert desk.money() == (2 * PRICE, PRICE)
    assert [one.scope for one in desk.budgets()] == [MONTH, RUN]


def test_a_charge_above_the_price_is_counted_even_above_the_cap(desk: Desk) -> None:
    desk.set_budget(RUN, PRICE)
    desk.bought(charged=PRICE + 1)
    assert desk.budget(RUN) == Budget(RUN, PRICE, 0, PRICE + 1)


@pytest.mark.parametrize("left", ["failed_free", "intent"])
def test_a_new_attempt_is_under_the_budget_again(desk: Desk, left: str) -> None:
    desk.set_budget("run:run-2", PRICE - 1)
    purchase = yours(desk.claim(wish()))
    if left == "failed_free":
        desk.failed_free(purchase, "x")
    die(desk.ledger)
    assert desk.claim(wish(run_id="run-2")) == OverBudget("run:run-2", PRICE - 1, 0, 0, PRICE)
    assert desk.find(key_of("shoe")).state == "failed_free"
    assert desk.money() == desk.money(MONTH) == (0, 0)


# tenants, and the disk


def test_another_tenant_sees_and_changes_nothing(desk: Desk) -> None:
    purchase = desk.doubtful()
    desk.set_budget("month", 0)
    bert = Desk(desk.ledger, "bert")
    assert (bert.find(purchase.purchase_key), bert.purchases(), bert.list_unknown(), bert.budgets()) == (
        None,
        [],
        [],
        [],
    )
    assert bert.sweep() == []
    with pytest.raises(NotFoundError):
        bert.resolve(purchase.purchase_key, NotCharged())
    with pytest.raises(NotFoundError):
        bert.settle(purchase, charged_micro_usd=1, reference=None, response=ANSWER)
    assert yours(bert.claim(wish())).attempt == 1  # a row of its own, under no budget of anna's
    assert desk.find(purchase.purchase_key) == purchase


def test_purchases_are_listed_by_state_and_run(desk: Desk) -> None:
    desk.bought("a")
    desk.clock.advance(seconds=1)
    desk.doubtful("b", run_id="run-2")
    desk.clock.advance(seconds=1)
    yours(desk.claim(wish("c")))
    assert [one.item for one in desk.purchases()] == ["a", "b", "c"]
    assert [one.item for one in desk.purchases("settled", "unknown")] == ["a", "b"]
    assert [one.item for one in desk.purchases(run_id="run-1")] == ["a", "c"]


def test_money_is_on_the_disk_before_anything_is_sent(desk: Desk) -> None:
    waits = []
    asked = "PRAGMA synchronous" if desk.ledger.engine.dialect.name == "sqlite" else "SHOW synchronous_commit"

    def look(connection: Any) -> None:
        if not connection.in_nested_transaction():
            waits.append(str(connection.exec_driver_sql(asked).scalar()))

    event.listen(desk.ledger.engine, "commit", look)
    with desk.ledger.session("anna") as session:
        session.runs()
        if desk.ledger.engine.dialect.name == "postgresql":
            session._connection.exec_driver_sql("SET SESSION synchronous_commit = off")
    desk.sent(yours(desk.claim(wish())))
    with desk.ledger.session("anna") as session:
        session.runs()
    full, normal = ("2", "1") if desk.ledger.engine.dialect.name == "sqlite" else ("on", "off")
    assert waits == [normal, full, full, normal]


def test_a_session_that_only_reads_buys_nothing(desk: Desk) -> None:
    with pytest.raises(Exception, match=r"readonly|read-only"), desk.ledger.spending("anna", read_only=True) as session:
        session.claim(wish())
    assert desk.purchases() == []


def test_a_session_that_fails_leaves_no_money_held(desk: Desk) -> None:
    def fail(session: SpendSession) -> None:
        yours(session.claim(wish()))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), desk.ledger.spending("anna") as session:
        fail(session)
    assert (desk.purchases(), desk.budgets()) == ([], [])


def test_the_database_takes_no_foreign_tenants_money(desk: Desk) -> None:
    if desk.ledger.engine.dialect.name == "sqlite":
        pytest.skip("SQLite knows no row level security")
    desk.bought()
    with pytest.raises(DBAPIError, match="row-level security"), desk.ledger.session("bert") as session:
        session._connection.execute(text("INSERT INTO budgets VALUES ('anna', 'run:x', NULL, 0, 0, now())"))
    with desk.ledger.session("bert") as session:
        assert session._connection.execute(text("UPDATE purchases SET state = 'void'")).rowcount == 0
