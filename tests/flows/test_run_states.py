"""Ledger and Prefect compared: for every pair of states that disagree, who is told what; told once, both agree."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.states import (
    Cancelled,
    Cancelling,
    Completed,
    Crashed,
    Failed,
    Late,
    Paused,
    Pending,
    Running,
    Scheduled,
    Suspended,
)

from datasets.ledger import Ledger
from flows.run_states import agree
from tests.datasets.ledger_rows import a_run, new_ledger

TENANT = "default"
LONG_AGO = datetime.now(UTC) - timedelta(hours=1)
# the ledger's state and Prefect's, whether the run's process lives; what both show then
PAIRS: list[tuple[str, State[None], bool, tuple[str, str]]] = [
    ("running", Running(), True, ("running", "Running")),
    ("running", Running(), False, ("crashed", "Crashed")),
    ("running", Cancelled(), False, ("cancelled", "Cancelled")),
    ("running", Failed(), False, ("failed", "Failed")),
    ("crashed", Pending(), False, ("crashed", "Crashed")),
    ("crashed", Crashed(), False, ("crashed", "Crashed")),
    ("crashed", Cancelling(), False, ("cancelled", "Cancelled")),
    ("crashed", Suspended(), False, ("paused", "Suspended")),
    ("crashed", Scheduled(name="AwaitingRetry"), False, ("scheduled", "AwaitingRetry")),
    ("interrupted", Running(), False, ("interrupted", "Crashed")),
    ("interrupted", Cancelled(), False, ("cancelled", "Cancelled")),
    ("paused", Paused(), False, ("paused", "Paused")),
    ("paused", Scheduled(name="Resuming"), False, ("scheduled", "Resuming")),
    ("paused", Cancelled(), False, ("cancelled", "Cancelled")),
    ("paused", Failed(), False, ("failed", "Failed")),
    ("scheduled", Suspended(), False, ("paused", "Suspended")),
    ("scheduled", Late(scheduled_time=LONG_AGO), False, ("late", "Late")),
    ("scheduled", Crashed(), False, ("crashed", "Crashed")),
    ("late", Scheduled(), False, ("scheduled", "Scheduled")),
    ("late", Cancelled(), False, ("cancelled", "Cancelled")),
    ("late", Running(), False, ("late", "Running")),  # it began a moment ago and will say so itself
    ("delivered", Running(), True, ("delivered", "Running")),  # its report is being written
    ("delivered", Running(), False, ("delivered", "Completed")),
    ("partial", Running(), False, ("partial", "Completed")),
    ("failed", Running(), False, ("failed", "Failed")),
    ("cancelled", Running(), False, ("cancelled", "Cancelled")),
    ("delivered", Completed(), False, ("delivered", "Completed")),
]


@flow
def _nothing() -> None:
    """A flow that is never run."""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = new_ledger(tmp_path / "ledger.db")
    yield opened
    opened.close()


def _made(ledger: Ledger, status: str, state: State[None], *, alive: bool) -> UUID:
    with get_client(sync_client=True) as client:
        flow_run_id = client.create_flow_run(_nothing, state=Scheduled()).id
        client.set_flow_run_state(flow_run_id, state, force=True)
    now = datetime.now(UTC)
    known = {"started_at": now, "heartbeat_at": now if alive else LONG_AGO}  # no process was born before its heartbeat
    ended = {"finished_at": None if status in ("running", "paused", "scheduled", "late") else now}
    run = a_run(str(flow_run_id), flow_run_id=str(flow_run_id), status=status, **known, **ended)
    with ledger.session(TENANT) as session:
        session.start_run(run)
    return flow_run_id


def _shown(ledger: Ledger, flow_run_id: UUID) -> tuple[str, str]:
    with ledger.session(TENANT, read_only=True) as session:
        status = session.find_run(str(flow_run_id)).status
    with get_client(sync_client=True) as client:
        return status, str(client.read_flow_run(flow_run_id).state_name)


@pytest.mark.usefixtures("prefect_api")
def test_both_sides_agree_after_one_look_and_stay_so(ledger: Ledger) -> None:
    made = [_made(ledger, status, state, alive=alive) for status, state, alive, _ in PAIRS]
    with get_client(sync_client=True) as client:
        agree(client, ledger, TENANT)
        shown = [_shown(ledger, run_id) for run_id in made]
        assert shown == [expected for *_, expected in PAIRS]
        assert agree(client, ledger, TENANT) == []
    assert [_shown(ledger, run_id) for run_id in made] == shown


@pytest.mark.usefixtures("prefect_api")
def test_a_run_that_died_before_it_kept_books_is_closed_after_a_while(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = _made(ledger, "scheduled", Running(), alive=False)
    monkeypatch.setattr("flows.run_states.ORPHAN_AFTER", timedelta(0))
    with get_client(sync_client=True) as client:
        agree(client, ledger, TENANT)
    assert _shown(ledger, run_id) == ("crashed", "Crashed")


@pytest.mark.usefixtures("prefect_api")
def test_runs_of_another_tenant_are_left_alone(ledger: Ledger) -> None:
    run_id = _made(ledger, "running", Running(), alive=False)
    with get_client(sync_client=True) as client:
        assert agree(client, ledger, "another") == []
    assert _shown(ledger, run_id) == ("running", "Running")


@pytest.mark.usefixtures("prefect_api")
def test_a_run_killed_before_prefect_heard_that_it_asks_shows_its_form(ledger: Ledger) -> None:
    run_id = _made(ledger, "paused", Running(), alive=False)
    with ledger.session(TENANT) as session:
        session.note_wanted(str(run_id), "ab" * 32, "mug", 39_000)
        asked = session.ask(str(run_id))
    assert asked is not None
    with get_client(sync_client=True) as client:
        agree(client, ledger, TENANT)
        assert _shown(ledger, run_id) == ("paused", "Paused")
        client.resume_flow_run(run_id, run_input={"decision": "approve"})
        agree(client, ledger, TENANT)
    assert _shown(ledger, run_id) == ("paused", "Paused")  # with the answer known, until its command goes on
    with ledger.session(TENANT, read_only=True) as session:
        assert session.decision_on(str(run_id), "ab" * 32) == "approved"
