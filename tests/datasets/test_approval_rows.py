"""What is noted is asked for once and as a whole; a decision is about exactly that, and the first one stands."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from datasets.ledger import Ledger, open_ledger
from tests.datasets.ledger_rows import a_run, new_ledger_url

TENANT, RUN = "default", "run-1"


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    opened = open_ledger(new_ledger_url(request, request.param, tmp_path))
    with opened.session(TENANT) as session:
        session.start_run(a_run(RUN))
    yield opened
    opened.close()


def _note(ledger: Ledger, **prices: int) -> None:
    with ledger.session(TENANT) as session:
        for key, micro_usd in prices.items():
            session.note_wanted(RUN, key, f"item of {key}", micro_usd)


def test_everything_noted_is_asked_for_and_a_yes_is_about_nothing_else(ledger: Ledger) -> None:
    _note(ledger, a=39_000, b=41_000)
    _note(ledger, a=39_000)  # met again by a twin
    with ledger.session(TENANT) as session:
        asked = session.ask(RUN)
        assert asked is not None
        assert (asked.position, asked.purchases, asked.asked_micro_usd, asked.state) == (1, 2, 80_000, "asked")
        assert session.wanted(asked) == [("item of a", 39_000), ("item of b", 41_000)]
        assert (session.ask(RUN), session.decision_on(RUN, "a")) == (None, None)
        session.decide(asked, budget_micro_usd=50_000, by="Prefect")
        assert (session.decision_on(RUN, "a"), session.decision_on(RUN, "c")) == ("approved", None)
    with ledger.session("another") as session:
        assert (session.decision_on(RUN, "a"), session.approvals(RUN)) == (None, [])


def test_the_first_decision_stands(ledger: Ledger) -> None:
    _note(ledger, a=1)
    with ledger.session(TENANT) as session:
        asked = session.ask(RUN)
        assert asked is not None
        assert session.decide(asked, budget_micro_usd=None, by="command line").state == "rejected"
        again = session.decide(asked, budget_micro_usd=1, by="Prefect")
        assert (again.state, again.decided_by, again.budget_micro_usd) == ("rejected", "command line", 0)
        assert session.decision_on(RUN, "a") == "rejected"


def test_a_run_that_begins_again_keeps_what_was_decided_and_asks_for_the_rest_anew(ledger: Ledger) -> None:
    _note(ledger, a=1)
    with ledger.session(TENANT) as session:
        first = session.ask(RUN)
        assert first is not None
        session.decide(first, budget_micro_usd=1, by="Prefect")
    _note(ledger, b=2)
    with ledger.session(TENANT) as session:
        second = session.ask(RUN)
    _note(ledger, c=4)
    with ledger.session(TENANT) as session:
        session.forget_unanswered(RUN)
        assert session.ask(RUN) is None
        assert [each.position for each in session.approvals(RUN)] == [1]
        assert session.decision_on(RUN, "a") == "approved"
    _note(ledger, b=2)
    with ledger.session(TENANT) as session:
        third = session.ask(RUN)
    assert second is not None
    assert third is not None
    assert (third.position, third.asked_micro_usd) == (3, 2)
    assert third.form != second.form  # Prefect never shows a form twice
