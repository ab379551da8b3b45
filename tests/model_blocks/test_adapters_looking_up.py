"""Look-ups by key, and the charging service's own books."""

import csv
import io
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from model_blocks.adapters.looking_up import look_up
from model_blocks.adapters.outcomes import Charged, NotCharged, Settled, Undecided, Unknown
from model_blocks.adapters.waiting import Clock
from tests.model_blocks.paid_calls import KEYED, buy, shop
from tests.services.paid_adapters import generic, google
from tests.services.paid_process import serve_apart
from tests.services.paid_service import Rules, serve

ASKED = Rules(look_up=True)


def at(moment: datetime) -> Clock:
    return Clock(now=lambda: moment)


@pytest.mark.parametrize("make", [generic, google])
@pytest.mark.parametrize(("fault", "kind"), [("reset_after", Charged), ("reset_before", NotCharged)])
def test_a_look_up_tells_what_an_unknown_end_was(tmp_path: Path, make: Any, fault: str, kind: type) -> None:
    with serve(tmp_path, ASKED) as service:
        service.order(fault)
        adapter = make(service.url, ASKED)
        done, sent = buy(adapter, idempotency_key="order/ä".encode("ascii", "replace").decode())
        assert isinstance(done, Unknown)
        found = look_up(adapter, sent[0].idempotency_key, sent_at=sent[0].at, ended_at=datetime.now(UTC))
        assert type(found) is kind
        assert service.charges == (1 if kind is Charged else 0)
        if isinstance(found, Charged):
            again, _ = buy(make(service.url, ASKED), idempotency_key="order-2")
            assert isinstance(again, Settled)
            assert (found.settled.content, found.settled.charged_micro_usd) == (again.content, 39_000)
            assert found.settled.reference == "work-000001"


def test_none_before_the_settle_time_is_no_answer(tmp_path: Path) -> None:
    rules = Rules(look_up=True, settle_s=1.0)
    with shop(tmp_path, rules, "reset_after") as (service, adapter):
        _, sent = buy(adapter)
        over = datetime.now(UTC)
        early = look_up(adapter, "order-1", sent_at=sent[0].at, ended_at=over)
        assert isinstance(early, Undecided)
        assert early.until == over + timedelta(seconds=1)
        assert service.charges == 1
        time.sleep(max(0.0, (early.until - datetime.now(UTC)).total_seconds()) + 0.05)
        assert isinstance(look_up(adapter, "order-1", sent_at=sent[0].at, ended_at=over), Charged)


@pytest.mark.parametrize("over_after_s", [3.0, None])
def test_the_settle_time_ends_exactly_when_it_is_over(tmp_path: Path, over_after_s: float | None) -> None:
    """It begins when the request was over; after a kill, when the request's 20 s were over."""
    rules = Rules(look_up=True, settle_s=30.0)
    sent_at = datetime(2026, 1, 1, tzinfo=UTC)
    ended_at = sent_at + timedelta(seconds=over_after_s) if over_after_s is not None else None
    end = 33.0 if over_after_s is not None else 50.0
    with shop(tmp_path, rules) as (_, adapter):
        kinds = [
            type(
                look_up(adapter, "never", sent_at=sent_at, ended_at=ended_at, clock=at(sent_at + timedelta(seconds=s)))
            )
            for s in (0, end - 0.001, end, 3600)
        ]
    assert kinds == [Undecided, Undecided, NotCharged, NotCharged]


def test_a_service_without_look_up_leaves_it_open(tmp_path: Path) -> None:
    with shop(tmp_path) as (_, adapter):
        assert isinstance(look_up(adapter, "order-1", sent_at=datetime.now(UTC)), Undecided)


def test_a_wrong_path_is_no_proof_that_nothing_was_charged(tmp_path: Path) -> None:
    """The service answers 404 for a page it does not have: the purchase may be paid all the same."""
    with serve(tmp_path, Rules()) as service:
        adapter = generic(service.url, ASKED)
        buy(adapter)
        found = look_up(adapter, "order-1", sent_at=datetime(2020, 1, 1, tzinfo=UTC))
        assert isinstance(found, Undecided)
        assert "404" in found.reason
        assert service.charges == 1


def test_a_service_that_is_away_leaves_it_open(tmp_path: Path) -> None:
    with serve(tmp_path, ASKED) as service:
        adapter = generic(service.url, ASKED, deadline_s=1.0)
    assert isinstance(look_up(adapter, "order-1", sent_at=datetime(2020, 1, 1, tzinfo=UTC)), Undecided)


def test_the_export_names_every_charge(tmp_path: Path) -> None:
    with shop(tmp_path, KEYED, "ok", "reset_after", "unavailable") as (service, adapter):
        for number in range(3):
            buy(adapter, idempotency_key=f"order-{number}")
        rows = httpx.get(f"{service.url}/usage.json").json()
        table = list(csv.DictReader(io.StringIO(httpx.get(f"{service.url}/usage.csv").text)))
    assert [(row["request_key"], row["micro_usd"]) for row in rows] == [(f"order-{n}", 39_000) for n in range(3)]
    assert [{**row, "units": int(row["units"]), "micro_usd": int(row["micro_usd"])} for row in table] == rows


def test_many_requests_with_one_key_are_one_charge(tmp_path: Path) -> None:
    rules = Rules(keys=True, work_s=0.05)
    outcomes: list[Any] = []
    with shop(tmp_path, rules) as (service, adapter):
        threads = [Thread(target=lambda: outcomes.append(buy(adapter)[0])) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (service.charges, service.requests) == (1, 8)
    assert len({outcome.content for outcome in outcomes}) == 1


def test_a_forgotten_key_is_charged_again(tmp_path: Path) -> None:
    """What the key window in a declaration is for."""
    rules = Rules(keys=True, key_window_s=0.2)
    with shop(tmp_path, rules) as (service, adapter):
        buy(adapter)
        time.sleep(0.3)
        buy(adapter)
        assert service.charges == 2


def test_the_books_survive_the_service(tmp_path: Path) -> None:
    rules = Rules(keys=True, look_up=True)
    with serve_apart(tmp_path, rules) as service:
        service.order("reset_after")
        buy(generic(service.url, Rules()))
        assert service.charges == 1
    with serve_apart(tmp_path, rules) as service:
        assert service.charges == 1
        adapter = generic(service.url, rules)
        assert isinstance(buy(adapter)[0], Settled)
        assert (service.charges, service.requests) == (1, 2)
        assert isinstance(look_up(adapter, "order-1", sent_at=datetime.now(UTC)), Charged)
