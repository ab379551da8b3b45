"""The circuit breaker: what fails is left alone by all processes, and tried again by one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from datasets.errors import UsageError
from datasets.ledger import Allowed, Breaker, CircuitLimits, Ledger, OpenUntil, open_ledger
from datasets.ledger.processes import host_name
from datasets.ledger.spend_tables import circuits
from datasets.ledger.transactions import transaction
from tests.datasets.ledger_rows import new_ledger_url
from tests.datasets.spend_facts import NOBODY, Clock

LIMITS = CircuitLimits(failures=3, window_s=60, open_s=30, longest_s=100, probe_s=20, local_open_s=90)
STUDIO = "studio"


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    opened = open_ledger(new_ledger_url(request, request.param, tmp_path))
    yield opened
    opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(ledger: Ledger, clock: Clock) -> Breaker:
    return ledger.breaker("anna", LIMITS, clock=clock)


def fail(breaker: Breaker, times: int = 1, kind: Any = "server", retry_after_s: float | None = None) -> None:
    for _ in range(times):
        call = breaker.before_call(STUDIO)
        assert isinstance(call, Allowed)
        breaker.failed(call, kind, retry_after_s)


def wait_s(breaker: Breaker, clock: Clock) -> float:
    """Seconds until the service may be called; 0 if it may be now."""
    answer = breaker.before_call(STUDIO)
    return (answer.at - clock.now).total_seconds() if isinstance(answer, OpenUntil) else 0.0


def probe(breaker: Breaker) -> Allowed:
    call = breaker.before_call(STUDIO)
    assert isinstance(call, Allowed)
    assert call.probe is not None
    return call


@pytest.mark.parametrize("kind", ["server", "timeout", "connection", "rate_limited", "local"])
def test_enough_failures_open_it_for_everybody(ledger: Ledger, breaker: Breaker, clock: Clock, kind: str) -> None:
    fail(breaker, 2, kind)
    assert (breaker.state(STUDIO), wait_s(breaker, clock)) == ("closed", 0)
    fail(breaker, 1, kind)
    other = ledger.breaker("anna", LIMITS, clock=clock)
    assert (other.state(STUDIO), wait_s(other, clock)) == ("open", 90 if kind == "local" else 30)
    assert other.before_call("another") == Allowed("another")
    assert ledger.breaker("bert", LIMITS, clock=clock).before_call(STUDIO) == Allowed(STUDIO)


def test_failures_that_are_far_apart_do_not_open_it(breaker: Breaker, clock: Clock) -> None:
    for _ in range(6):
        fail(breaker)
        clock.advance(seconds=30.1)
    assert breaker.state(STUDIO) == "closed"
    fail(breaker, 2)
    assert breaker.state(STUDIO) == "open"


def test_after_its_time_one_call_tries_and_its_success_closes_it(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.advance(seconds=29)
    assert wait_s(breaker, clock) == 1
    clock.advance(seconds=1)
    call = probe(breaker)
    assert (breaker.state(STUDIO), wait_s(breaker, clock)) == ("half_open", 20)
    breaker.succeeded(call)
    assert breaker.before_call(STUDIO) == Allowed(STUDIO)
    fail(breaker, 2)
    assert breaker.state(STUDIO) == "closed"  # earlier failures are forgotten


def test_a_probe_that_fails_doubles_the_wait_up_to_the_longest(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    waits = []
    for _ in range(4):
        waits.append(wait_s(breaker, clock))
        clock.advance(seconds=waits[-1])
        breaker.failed(probe(breaker), "server")
    assert waits == [30, 60, 100, 100]


def test_a_probe_that_is_not_heard_of_is_followed_by_another(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.advance(seconds=30)
    first = probe(breaker)
    clock.advance(seconds=20)
    second = probe(breaker)
    breaker.succeeded(first)  # too late: it is the other one's to say
    assert breaker.state(STUDIO) == "half_open"
    breaker.failed(first, "server")
    assert wait_s(breaker, clock) == 20
    breaker.succeeded(second)
    assert breaker.state(STUDIO) == "closed"


def test_a_probe_of_a_dead_process_is_followed_at_once(ledger: Ledger, breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.advance(seconds=30)
    probe(breaker)
    with transaction(ledger.engine, "anna") as connection:
        connection.execute(update(circuits).values(probe=f"{host_name()}|{NOBODY}|1000.00|gone"))
    probe(breaker)


def test_what_the_service_asks_for_is_waited_for(breaker: Breaker, clock: Clock) -> None:
    early = breaker.before_call(STUDIO)
    assert isinstance(early, Allowed)
    fail(breaker, 1, "rate_limited", retry_after_s=500)
    assert wait_s(breaker, clock) == 500
    breaker.failed(early, "rate_limited", 400)
    assert wait_s(breaker, clock) == 500
    breaker.failed(early, "rate_limited", 600)
    assert wait_s(breaker, clock) == 600
    breaker.failed(early, "server")  # was on its way when it opened
    breaker.succeeded(early)
    assert wait_s(breaker, clock) == 600
    clock.advance(seconds=600)
    breaker.succeeded(probe(breaker))
    assert breaker.state(STUDIO) == "closed"


def test_a_short_wish_of_the_service_does_not_shorten_the_wait(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 1, "rate_limited", retry_after_s=1)
    assert wait_s(breaker, clock) == 30


@pytest.mark.parametrize("retry_after_s", [-1, float("nan"), float("inf")])
def test_a_wait_that_is_none_is_refused(breaker: Breaker, retry_after_s: float) -> None:
    with pytest.raises(UsageError, match="seconds to wait"):
        breaker.failed(Allowed(STUDIO), "server", retry_after_s)
    assert breaker.state(STUDIO) == "closed"


def test_limits_and_kinds_are_checked(breaker: Breaker) -> None:
    kind: Any = "bad luck"
    with pytest.raises(UsageError, match="rate_limited"):
        breaker.failed(Allowed(STUDIO), kind)
    for wrong in ({"failures": 0}, {"open_s": 0}, {"window_s": -1}):
        with pytest.raises(UsageError):
            CircuitLimits(**wrong)


def test_a_service_that_never_failed_is_not_written_down(breaker: Breaker, ledger: Ledger) -> None:
    call = breaker.before_call(STUDIO)
    assert isinstance(call, Allowed)
    breaker.succeeded(call)
    with transaction(ledger.engine, "anna") as connection:
        assert connection.execute(circuits.select()).all() == []


def test_failures_of_this_machine_count_for_longer(ledger: Ledger, breaker: Breaker, clock: Clock) -> None:
    for _ in range(2):
        breaker.failed(Allowed(STUDIO), "local")
        clock.advance(seconds=300)
    assert breaker.look(STUDIO) is None
    breaker.failed(Allowed(STUDIO), "local")
    found = breaker.look(STUDIO)
    assert found is not None
    assert (found.kind, found.probing, (found.at - clock.now).total_seconds()) == ("local", False, 90)


def test_a_look_changes_nothing_and_sees_the_probe(breaker: Breaker, clock: Clock) -> None:
    assert breaker.look(STUDIO) is None
    fail(breaker, 3)
    found = breaker.look(STUDIO)
    assert found is not None
    assert (found.kind, found.probing) == ("server", False)
    clock.advance(seconds=30)
    assert breaker.look(STUDIO) is None  # whoever asks may be the probe, and a look is none
    call = probe(breaker)
    found = breaker.look(STUDIO)
    assert found is not None
    assert found.probing
    breaker.succeeded(call)
    assert breaker.look(STUDIO) is None
