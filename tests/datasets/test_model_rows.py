"""What is wanted of models, how they fare and where they are, on both kinds of database."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from datasets.errors import UsageError
from datasets.ledger import Ledger, ModelCircuitLimits, ModelEvent, ModelInProcess, open_ledger
from datasets.thermal import Wanted
from tests.datasets.ledger_rows import new_ledger_url

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LIMITS = ModelCircuitLimits(failures=3, open_s=60, longest_s=150, try_s=600)


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    opened = open_ledger(new_ledger_url(request, request.param, tmp_path))
    yield opened
    opened.close()


def in_process(**facts: object) -> ModelInProcess:
    told = datetime.now(UTC)
    return replace(ModelInProcess("here", 7, "net", "cpu", 5 << 32, told, told, 2.5, 1, 9, 0, told), **facts)  # type: ignore[arg-type]


def test_the_last_wish_counts_and_belongs_to_its_tenant(ledger: Ledger) -> None:
    until = Wanted("warm", NOW + MINUTE)
    with ledger.session("anna") as session:
        session.want_model("net", Wanted("hot"), by="anna")
        session.want_model("net", until, by="carl")
        session.model_failed("net", "could not be loaded", at=NOW)
        session.want_model("other", Wanted("off"), by="anna")
    with ledger.session("anna", read_only=True) as session:
        states = session.model_states()
    assert {name: state.wanted for name, state in states.items()} == {"net": until, "other": Wanted("off")}
    assert (states["net"].changed_by, states["net"].circuit.failures) == ("carl", 1)
    with ledger.session("bert", read_only=True) as session:
        assert session.model_states() == {}


def test_what_was_warm_is_automatic_when_its_time_is_over() -> None:
    wanted = Wanted("warm", NOW)
    assert [wanted.at(NOW.timestamp() + seconds) for seconds in (-1, 0, 1)] == ["warm", "automatic", "automatic"]
    for thermal, until in (("tepid", None), ("warm", None), ("hot", NOW)):
        with pytest.raises(UsageError):
            Wanted(thermal, until)  # type: ignore[arg-type]


def test_three_failures_in_a_row_open_the_circuit_and_one_try_decides(ledger: Ledger) -> None:
    """Open for 1 minute after the third, 2 after a try that failed, 2.5 (the most) after the next."""
    with ledger.session("anna") as session:
        for second in range(2):
            session.model_failed("net", "out of memory", at=NOW + timedelta(seconds=second), limits=LIMITS)
        session.model_worked("net", at=NOW + timedelta(seconds=3))
        for _ in range(2):
            assert session.model_failed("net", "again", at=NOW, limits=LIMITS).circuit == "closed"
        opened = session.model_failed("net", "and again", at=NOW, limits=LIMITS)
        assert (opened.circuit, opened.retry_at, opened.last_reason) == ("open", NOW + MINUTE, "and again")
        late = session.model_failed("net", "begun before", at=NOW + 0.5 * MINUTE, limits=LIMITS)
        assert (late.trips, late.retry_at) == (1, NOW + MINUTE)
        assert session.model_worked("net", at=NOW + 0.5 * MINUTE).circuit == "open"
        assert session.model_tried("net", at=NOW + 0.5 * MINUTE, limits=LIMITS).circuit == "open"

        tried = session.model_tried("net", at=NOW + MINUTE, limits=LIMITS)
        assert (tried.circuit, tried.is_left_alone(NOW + 2 * MINUTE)) == ("half_open", True)
        assert not tried.is_left_alone(NOW + 11 * MINUTE)  # whoever tried it never came back
        again = session.model_failed("net", "still", at=NOW + 2 * MINUTE, limits=LIMITS)
        assert (again.circuit, again.retry_at) == ("open", NOW + 4 * MINUTE)
        session.model_tried("net", at=NOW + 4 * MINUTE, limits=LIMITS)
        most = session.model_failed("net", "still", at=NOW + 5 * MINUTE, limits=LIMITS)
        assert most.retry_at == NOW + 7.5 * MINUTE
        session.model_tried("net", at=NOW + 8 * MINUTE, limits=LIMITS)
        closed = session.model_worked("net", at=NOW + 9 * MINUTE)
        assert (closed.circuit, closed.failures, closed.trips) == ("closed", 0, 0)


def test_a_model_that_always_worked_leaves_no_row(ledger: Ledger) -> None:
    with ledger.session("anna") as session:
        session.model_worked("net")
        assert session.model_states() == {}


def test_a_process_replaces_what_it_told_and_the_long_silent_is_forgotten(ledger: Ledger) -> None:
    silent = in_process(pid=8, told_at=datetime.now(UTC) - timedelta(days=2))
    with ledger.session("anna") as session:
        session.record_model_process("here", 8, [silent])
        session.record_model_process("here", 7, [in_process(), in_process(model="gone")])
        again = in_process(hits=10)
        session.record_model_process("here", 7, [again])
        session.record_model_process("there", 7, [in_process(host="there")])
        assert {(each.host, each.pid, each.model, each.hits) for each in session.model_processes()} == {
            ("here", 7, "net", 10),
            ("there", 7, "net", 9),
        }
        assert again in session.model_processes()
    with ledger.session("bert") as session:
        assert session.model_processes() == []


def test_events_come_back_the_latest_first(ledger: Ledger) -> None:
    first = ModelEvent("here", 7, "net", "cpu", "load", NOW, seconds=1.5, bytes=5 << 32, run_id="run-1")
    second = replace(first, kind="evict", at=NOW + MINUTE, detail="idle")
    with ledger.session("anna") as session:
        session.record_model_events([first, second, replace(first, model="other")])
        assert session.model_events("net") == [second, first]
        assert session.model_events(limit=1) == [second]
    with ledger.session("bert") as session:
        assert session.model_events() == []
