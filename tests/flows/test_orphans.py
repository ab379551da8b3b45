"""Closing crashed runs in Prefect: only those still open, and never at the cost of the run that looks."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.states import Running

from datasets.ledger import Ledger
from flows import orphans
from flows.orphans import close_flow_runs, closing_orphans
from tests.datasets.ledger_rows import a_run, new_ledger


@flow
def _quick() -> UUID:
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    return context.flow_run.id


def _left_running() -> UUID:
    with get_client(sync_client=True) as client:
        return client.create_flow_run(_quick, state=Running()).id


def _state(flow_run_id: UUID) -> tuple[str, str | None]:
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(flow_run_id).state
    assert state is not None
    return str(state.name), state.message


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = new_ledger(tmp_path / "ledger.db")
    yield opened
    opened.close()


def _note(ledger: Ledger, flow_run_id: UUID, status: str) -> None:
    with ledger.session("default") as session:
        run = a_run(str(flow_run_id), flow_run_id=str(flow_run_id), status=status, heartbeat_at=datetime.now(UTC))
        session.start_run(run)


@pytest.mark.usefixtures("prefect_api")
def test_only_runs_that_crashed_and_are_still_open_are_closed(ledger: Ledger) -> None:
    crashed, alive, ended = _left_running(), _left_running(), _quick()
    _note(ledger, crashed, "crashed")
    _note(ledger, alive, "running")
    _note(ledger, ended, "crashed")

    @flow
    def looks() -> None:
        with closing_orphans(ledger, "default"):
            pass

    looks()
    assert _state(crashed) == ("Crashed", "Its process is gone.")
    assert _state(alive)[0] == "Running"
    assert _state(ended)[0] == "Completed"


@pytest.mark.usefixtures("prefect_api")
def test_a_flow_run_that_prefect_does_not_know_is_passed_over() -> None:
    crashed = _left_running()
    with get_client(sync_client=True) as client:
        close_flow_runs(client, [str(uuid4()), str(crashed)])
    assert _state(crashed)[0] == "Crashed"


@pytest.mark.usefixtures("prefect_api")
def test_an_api_that_does_not_answer_fails_no_run(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*_: object) -> None:
        raise httpx.ConnectError("connection refused")

    monkeypatch.setattr(orphans, "close_flow_runs", refused)
    _note(ledger, uuid4(), "crashed")

    @flow
    def looks() -> str:
        with caplog.at_level(logging.INFO, logger="flows.orphans"), closing_orphans(ledger, "default"):
            return "worked"

    assert looks() == "worked"
    assert "connection refused" in caplog.text


def test_outside_a_flow_run_nobody_is_asked(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans, "close_flow_runs", lambda *_: pytest.fail("asked"))
    _note(ledger, uuid4(), "crashed")
    with closing_orphans(ledger, "default"):
        pass
