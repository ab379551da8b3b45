"""A catalogue that asks before it spends: what waits costs nothing, and yes buys exactly that."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from datasets.ledger import CatalogueRecord, RunRecord
from datasets.settings import read_settings
from flows.catalogue import CatalogueOrder, CatalogueSummary, catalogue
from flows.resuming import begin_or_go_on
from tasks.prefect_stage import value_of
from tests.flows.approvals import in_step, said
from tests.flows.hero_runs import hero_service, ledger, stages
from tests.product_photographs import product_photo
from tests.services.paid_service import Service

pytestmark = pytest.mark.usefixtures("prefect_api")
PRICE_MICRO_USD = 39_000  # the charging service's


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    with hero_service(tmp_path / "service", monkeypatch) as running:
        yield running


def table(folder: Path, *names: str) -> Path:
    """A table of these products beside their photographs."""
    for name in names:
        Image.fromarray(product_photo(name, 320)).save(folder / f"{name}.png")
    path = folder / "products.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("sku", "image_url"), *((name, f"{name}.png") for name in names)])
    return path


def ran(path: Path, **more: Any) -> CatalogueSummary:
    """What a command does with the table."""
    order = CatalogueOrder(table=str(path), recipe=tuple(stages()), out=str(Path("out").absolute()), **more)
    summary = value_of(begin_or_go_on(catalogue, order, read_settings()))
    assert isinstance(summary, CatalogueSummary), summary
    return summary


def kept(run_id: str) -> tuple[RunRecord, CatalogueRecord | None]:
    with ledger().session(read_settings().tenant, read_only=True) as session:
        return session.find_run(run_id), session.find_catalogue("products")


def test_approved_the_same_run_goes_on_and_buys_what_was_listed(service: Service, tmp_path: Path) -> None:
    products = table(tmp_path, "mug", "drink")
    first = ran(products, approve="spend")
    assert (first.status, first.exit_status, first.counts, service.requests) == ("paused", 3, {"deferred": 2}, 0)
    assert first.approval is not None
    assert (first.approval.purchases, first.approval.asked_micro_usd) == (2, 2 * PRICE_MICRO_USD)
    record, compared = kept(first.run_id)
    assert (record.status, record.finished_at, compared) == ("paused", None, None)  # it has not ended
    assert in_step() == []

    assert said(first.run_id, "approve").goes_on == "command"
    last = ran(products, approve="spend")
    assert (last.run_id, last.status, last.counts) == (first.run_id, "delivered", {"delivered": 2})
    assert (last.changes, service.charges) == ({"added": 2}, 2)
    assert kept(first.run_id)[1] is not None
    assert in_step() == []

    again = ran(products, approve="spend")  # nothing has changed, so there is nothing to ask for
    assert (again.status, again.changes, again.worked) == ("delivered", {"unchanged": 2}, 0)
    assert (again.run_id != first.run_id, service.charges) == (True, 2)


@pytest.mark.slow
def test_a_smaller_budget_buys_as_many_as_it_pays_for_and_the_rest_is_bought_another_night(
    service: Service, tmp_path: Path
) -> None:
    products = table(tmp_path, "mug", "drink")
    first = ran(products, approve="spend")
    said(first.run_id, "approve", PRICE_MICRO_USD * 1.5 / 1e6)
    last = ran(products, approve="spend")
    assert (last.run_id, last.status) == (first.run_id, "partial")
    assert (dict(last.counts), service.charges) == ({"deferred": 1, "delivered": 1}, 1)
    rest = ran(products)
    assert (rest.changes, service.charges) == ({"added": 1, "unchanged": 1}, 2)


def test_rejected_it_is_over_and_what_was_delivered_before_stays(service: Service, tmp_path: Path) -> None:
    ran(table(tmp_path, "mug"))
    assert service.charges == 1
    asking = ran(table(tmp_path, "mug", "drink"), approve="spend")
    assert (asking.status, dict(asking.counts)) == ("paused", {"deferred": 1, "delivered": 1})
    assert said(asking.run_id, "reject").goes_on == "closed"
    record, _ = kept(asking.run_id)
    assert record.summary is not None
    assert (record.status, record.summary["items"]) == ("partial", {"delivered": 1, "stopped": 1})
    assert service.charges == 1
    assert in_step() == []
    assert ran(table(tmp_path, "mug", "drink"), approve="spend").run_id != asking.run_id  # asked anew


@pytest.mark.slow
def test_a_product_that_is_gone_retires_only_once_the_run_is_over(service: Service, tmp_path: Path) -> None:
    ran(table(tmp_path, "mug"))
    other = table(tmp_path, "drink")
    asking = ran(other, approve="spend", shrink_limit=1.0)
    assert (asking.status, dict(asking.changes)) == ("paused", {"deferred": 1})
    said(asking.run_id, "approve")
    last = ran(other, approve="spend", shrink_limit=1.0)
    assert (dict(last.changes), service.charges) == ({"added": 1, "retired": 1}, 2)
