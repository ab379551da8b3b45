"""A deployment's run that asks is suspended; process and server may die, its runner starts it again once resumed."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from PIL import Image
from prefect.client.schemas.objects import StateType
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling, Scheduled

from datasets.ledger import ItemRecord
from flows.approval import SpendApproval
from flows.deciding import decide
from flows.run_states import agree
from tests.flows.hero_runs import hero_service, ledger, stages
from tests.flows.own_prefect import OwnPrefect, own_prefect, wait_until
from tests.product_photographs import product_photo
from tests.services.paid_service import Service

pytestmark = pytest.mark.slow
TENANT = "default"
SIDES = count(step=16)
Bought = Callable[[], tuple[int, int]]
House = tuple[OwnPrefect, Service]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A server, a runner and the charging service for all tests: each takes long to come up."""
    folder = tmp_path_factory.mktemp("house")
    with own_prefect(folder / "prefect") as prefect, pytest.MonkeyPatch.context() as monkeypatch:
        prefect.environment["STILLMOTION_STORAGE_ROOT"] = str(folder / "store")
        for name, value in prefect.environment.items():
            monkeypatch.setenv(name, value)
        url = prefect.environment["PREFECT_API_URL"]
        with (
            temporary_settings({PREFECT_API_URL: url}, restore_defaults={PREFECT_API_AUTH_STRING}),
            hero_service(folder / "service", monkeypatch) as service,
        ):
            prefect.start_runner()
            yield prefect, service


@pytest.fixture
def prefect(house: House, monkeypatch: pytest.MonkeyPatch) -> OwnPrefect:
    prefect, _ = house
    monkeypatch.setenv("STILLMOTION_STORAGE_ROOT", prefect.environment["STILLMOTION_STORAGE_ROOT"])
    if "runner" not in prefect.running:
        prefect.start_runner()
    return prefect


@pytest.fixture
def bought(house: House) -> Bought:
    """Requests and charges of the service since the test began."""
    _, service = house
    requests, charges = service.requests, service.charges
    return lambda: (service.requests - requests, service.charges - charges)


@pytest.fixture
def order(tmp_path: Path) -> dict[str, Any]:
    side = 300 + next(SIDES)  # another picture for each test: nothing was bought for it yet
    Image.fromarray(product_photo("mug", side)).save(tmp_path / "mug.png")
    return {
        "photos": [str(tmp_path / "mug.png")],
        "recipe": stages(),
        "out": str(tmp_path / "out"),
        "approve": "spend",
    }


def in_ledger(run_id: UUID) -> str:
    with ledger().session(TENANT, read_only=True) as session:
        return session.find_run(str(run_id)).status


def items_of(run_id: UUID) -> list[ItemRecord]:
    with ledger().session(TENANT, read_only=True) as session:
        return session.items(str(run_id))


def in_step(prefect: OwnPrefect) -> list[tuple[str, str, str]]:
    with prefect.client() as client:
        return [(each.side, each.was, each.became) for each in agree(client, ledger(), TENANT)]


def test_approved_through_the_api_after_everything_was_killed_it_delivers(
    prefect: OwnPrefect, bought: Bought, order: dict[str, Any]
) -> None:
    run_id = prefect.trigger(order)
    state = prefect.wait_for(run_id, "Suspended").state
    assert state is not None
    assert state.state_details.pause_timeout is None  # nobody has to hurry
    assert (in_ledger(run_id), bought()) == ("paused", (0, 0))
    prefect.kill("runner")
    prefect.kill("server")
    prefect.start_server()
    assert (prefect.flow_run(run_id).state_name, in_ledger(run_id), in_step(prefect)) == ("Suspended", "paused", [])
    with prefect.client() as client:
        client.resume_flow_run(run_id, run_input={"decision": "approve", "budget_usd": 0.04})
    assert (in_step(prefect), bought()) == ([("ledger", "paused", "scheduled")], (0, 0))
    prefect.start_runner()
    prefect.wait_for(run_id, "Completed")
    assert (in_ledger(run_id), bought()) == ("delivered", (1, 1))
    assert [item.status for item in items_of(run_id)] == ["delivered"]
    with ledger().session(TENANT, read_only=True) as session:
        (approval,) = session.approvals(str(run_id))
    assert (approval.state, approval.decided_by, approval.budget_micro_usd) == ("approved", "Prefect", 39_000)
    assert in_step(prefect) == []


def test_rejected_through_the_command_s_way_it_is_started_again_and_spends_nothing(
    prefect: OwnPrefect, bought: Bought, order: dict[str, Any]
) -> None:
    run_id = prefect.trigger(order)
    prefect.wait_for(run_id, "Suspended")
    with prefect.client() as client:
        decided = decide(client, ledger(), TENANT, str(run_id), SpendApproval(decision="reject"))
    assert decided.goes_on == "runner"
    prefect.wait_for(run_id, "Completed")
    assert (in_ledger(run_id), bought()) == ("partial", (0, 0))
    (item,) = items_of(run_id)
    assert (item.status, item.reasons[0]["code"]) == ("stopped", "rejected")
    assert in_step(prefect) == []


def test_a_suspended_run_that_is_cancelled_in_prefect_is_cancelled_in_the_ledger(
    prefect: OwnPrefect, bought: Bought, order: dict[str, Any]
) -> None:
    run_id = prefect.trigger(order)
    prefect.wait_for(run_id, "Suspended")
    with prefect.client() as client:
        client.set_flow_run_state(run_id, Cancelling())
    assert prefect.flow_run(run_id).state_name == "Cancelled"
    assert in_step(prefect) == [("ledger", "paused", "cancelled")]
    assert (in_ledger(run_id), bought()) == ("cancelled", (0, 0))


@pytest.mark.parametrize("how", ["cancelled", "killed"])
def test_a_run_that_is_cancelled_or_killed_shows_the_same_on_both_sides(
    prefect: OwnPrefect, house: House, bought: Bought, order: dict[str, Any], how: str
) -> None:
    house[1].order({"kind": "timeout_before", "seconds": 90})  # so that the run is on its way for long
    run_id = prefect.trigger(order | {"approve": "none"})
    wait_until(lambda: bought()[0] > 0, "it buys")
    assert (prefect.flow_run(run_id).state_name, in_ledger(run_id), in_step(prefect)) == ("Running", "running", [])
    if how == "cancelled":
        with prefect.client() as client:
            client.set_flow_run_state(run_id, Cancelling())
        prefect.wait_for(run_id, "Cancelled")
    else:
        with ledger().session(TENANT, read_only=True) as session:
            pid = session.find_run(str(run_id)).pid
        prefect.kill("runner")
        for process in [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]:
            process.kill()
        wait_until(lambda: not psutil.pid_exists(pid), "its process is gone")
    in_step(prefect)
    word = {"cancelled": ("cancelled", StateType.CANCELLED), "killed": ("crashed", StateType.CRASHED)}[how]
    assert (in_ledger(run_id), prefect.flow_run(run_id).state_type) == word
    assert in_step(prefect) == []


def test_a_scheduled_run_that_nobody_starts_is_late_on_both_sides(prefect: OwnPrefect) -> None:
    prefect.kill("runner")
    due = datetime.now(UTC) - timedelta(seconds=5)
    run_id = prefect.trigger({"photos": ["gone.png"], "recipe": "thumbnails"}, state=Scheduled(scheduled_time=due))
    prefect.wait_for(run_id, "Late")
    assert in_step(prefect) == [("ledger", "unknown", "late")]
    with ledger().session(TENANT, read_only=True) as session:
        found = session.find_run(str(run_id))
    assert (found.status, found.recipe, abs(found.started_at - due) < timedelta(seconds=1)) == (
        "late",
        "thumbnails",
        True,
    )
    assert in_step(prefect) == []
    prefect.start_runner()
    prefect.wait_for(run_id, "Failed")  # there is no such picture
    with ledger().session(TENANT, read_only=True) as session:
        begun = session.find_run(str(run_id))
    assert (begun.status, begun.started_at > due + timedelta(seconds=5)) == ("unreadable", True)
