"""A human is asked before money is spent: what waits costs nothing, yes buys it, no stops it, the first word stands."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from PIL import Image
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun

from datasets.errors import UsageError
from datasets.settings import read_settings
from flows.order import ProductOrder
from flows.product import product
from flows.resuming import begin_or_go_on
from flows.summary import RunSummary
from tasks.prefect_stage import value_of
from tests.flows.approvals import in_step, said
from tests.flows.hero_runs import codes, hero, hero_service, ledger, stages
from tests.product_photographs import product_photo
from tests.services.paid_service import Service

pytestmark = pytest.mark.usefixtures("prefect_api")
PRICE = 0.039  # US dollars, the charging service's


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    with hero_service(tmp_path / "service", monkeypatch) as running:
        yield running


@pytest.fixture
def photos(tmp_path: Path) -> tuple[str, ...]:
    for name in ("mug", "drink"):
        Image.fromarray(product_photo(name, 320)).save(tmp_path / f"{name}.png")
    return tuple(str(tmp_path / f"{name}.png") for name in ("mug", "drink"))


def asking(photos: tuple[str, ...], **more: Any) -> RunSummary:
    """What a command does that asks before it spends."""
    order = ProductOrder(
        photos=photos, recipe=tuple(stages()), out=str(Path("out").absolute()), approve="spend", **more
    )
    summary = value_of(begin_or_go_on(product, order, read_settings()))
    assert isinstance(summary, RunSummary), summary
    return summary


def flow_run_of(run_id: str) -> FlowRun:
    with get_client(sync_client=True) as client:
        return client.read_flow_run(UUID(run_id))


def shown(run_id: str) -> tuple[str, str]:
    """What ledger and Prefect say of a run."""
    with ledger().session(read_settings().tenant, read_only=True) as session:
        return session.find_run(run_id).status, str(flow_run_of(run_id).state_name)


def test_a_run_that_asks_spends_nothing_and_the_same_order_goes_on_with_it_once_approved(
    service: Service, photos: tuple[str, ...]
) -> None:
    first = asking(photos)
    assert (first.status, first.exit_status, service.requests) == ("paused", 3, 0)
    assert [(item.status, codes(item)) for item in first.items] == [("deferred", ["awaiting_approval"])] * 2
    assert first.approval is not None
    assert (first.approval.purchases, first.approval.asked_micro_usd) == (2, 78_000)
    assert shown(first.run_id) == ("paused", "Paused")
    assert in_step() == []

    still = asking(photos)  # nobody answered: it asks again, in the same run
    assert (still.run_id, still.status, service.requests) == (first.run_id, "paused", 0)

    decided = said(first.run_id[:8], "approve")
    assert (decided.goes_on, decided.approval.budget_micro_usd) == ("command", 78_000)
    last = asking(photos)
    assert (last.run_id, last.status, last.exit_status) == (first.run_id, "delivered", 0)
    assert (service.charges, round(last.money.spent, 3)) == (2, 2 * PRICE)
    assert shown(first.run_id) == ("delivered", "Completed")
    assert in_step() == []


def test_rejected_nothing_is_spent_and_the_run_is_over(service: Service, photos: tuple[str, ...]) -> None:
    first = asking(photos)
    decided = said(first.run_id, "reject")
    assert (decided.goes_on, decided.approval.state) == ("closed", "rejected")
    assert shown(first.run_id) == ("partial", "Completed")
    with ledger().session(read_settings().tenant, read_only=True) as session:
        items = session.items(first.run_id)
    assert [(item.status, item.reasons[0]["code"]) for item in items] == [("stopped", "rejected")] * 2
    with pytest.raises(UsageError, match="asks for nothing"):
        said(first.run_id, "approve")
    assert asking(photos).run_id != first.run_id  # whoever gives the command again is asked again
    assert service.requests == 0


def test_a_smaller_budget_buys_as_many_as_it_pays_for(service: Service, photos: tuple[str, ...]) -> None:
    first = asking(photos)
    said(first.run_id, "approve", budget_usd=0.05)
    last = asking(photos)
    assert sorted((item.status, *codes(item)) for item in last.items) == [("deferred", "over_budget"), ("delivered",)]
    assert (last.status, service.charges) == ("partial", 1)


@pytest.mark.slow
def test_a_budget_above_what_was_asked_for_buys_no_more_than_that(service: Service, photos: tuple[str, ...]) -> None:
    first = asking(photos[:1])
    assert said(first.run_id, "approve", budget_usd=1000).approval.budget_micro_usd == 39_000
    assert (asking(photos[:1]).status, service.charges) == ("delivered", 1)


@pytest.mark.slow
def test_another_picture_is_asked_for_anew(service: Service, photos: tuple[str, ...]) -> None:
    first = asking(photos[:1])
    said(first.run_id, "approve")
    Path(photos[0]).write_bytes(Path(photos[1]).read_bytes())
    again = asking(photos[:1])
    assert (again.run_id, again.status, service.requests) == (first.run_id, "paused", 0)


@pytest.mark.slow
def test_what_was_bought_before_needs_no_approval(service: Service, photos: tuple[str, ...]) -> None:
    assert hero(Path(photos[0])).status == "delivered"
    asked = asking(photos)
    assert [(item.status, *codes(item)) for item in asked.items] == [("delivered",), ("deferred", "awaiting_approval")]
    assert asked.approval is not None
    assert (asked.approval.purchases, service.charges) == (1, 1)


def test_the_first_decision_stands(service: Service, photos: tuple[str, ...]) -> None:
    first = asking(photos[:1])
    said(first.run_id, "approve", budget_usd=0.039)
    with pytest.raises(UsageError, match="was approved by command line already"):
        said(first.run_id, "reject")
    assert said(first.run_id, "approve", budget_usd=0.01).approval.budget_micro_usd == 39_000
    assert service.requests == 0


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_a_command_s_run_that_is_resumed_in_prefect_waits_for_its_command_or_is_over(
    service: Service, photos: tuple[str, ...], decision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = asking(photos[:1])
    with get_client(sync_client=True) as client:
        client.resume_flow_run(UUID(first.run_id), run_input={"decision": decision})
    assert shown(first.run_id) == ("paused", "Running")
    monkeypatch.setattr("flows.run_states.is_gone", lambda *_: True)  # its process has ended, as a command's does
    assert in_step() == [("Prefect", "Running", "Paused" if decision == "approve" else "Completed")]
    assert shown(first.run_id) == (("paused", "Paused") if decision == "approve" else ("partial", "Completed"))
    assert in_step() == []
    last = asking(photos[:1])
    assert (last.run_id == first.run_id) == (decision == "approve")
    assert (last.status, service.charges) == (("delivered", 1) if decision == "approve" else ("paused", 0))


def test_a_form_without_a_decision_is_refused(service: Service, photos: tuple[str, ...]) -> None:
    first = asking(photos[:1])
    with get_client(sync_client=True) as client:
        response = client.resume_flow_run(UUID(first.run_id), run_input={"budget_usd": 1})
        form = client.read_flow_run_input(UUID(first.run_id), f"paused-{first.approval.form}-schema")  # type: ignore[union-attr]
    assert response.status == "REJECT"
    assert shown(first.run_id) == ("paused", "Paused")
    assert all(name in form for name in ("approve", "reject", "budget_usd"))
    assert service.requests == 0
