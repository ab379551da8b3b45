"""Placed pictures: their records name the answer that was bought, and they are made again without buying anything."""

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from datasets.assets import asset_path
from datasets.errors import NotFoundError
from datasets.ledger import open_ledger
from datasets.lineage.beside import record_path
from datasets.lineage.keys import make_keys
from datasets.lineage.outbox import drain
from datasets.lineage.record import CORE, bought_in, parse_record, subject_of
from datasets.lineage.signing import read_credentials
from datasets.lineage.tree import tree_lines
from datasets.settings import Settings, read_settings
from datasets.storage import open_storage
from flows.order import ProductOrder
from flows.product import run_product
from flows.rebuilding import rebuild
from flows.services import served_by
from flows.summary import RunSummary
from tests.flows.test_telling import told
from tests.photographs import save_product
from tests.services.paid_adapters import generic
from tests.services.paid_service import Rules, Service, serve

pytestmark = pytest.mark.usefixtures("prefect_api")

PROMPT = "On a table of oak."
ASKING = {"large_enough": {"min": 100}}
RULES = Rules(keys=True, look_up=True)
RECIPE: tuple[dict[str, Any], ...] = (
    {"stage": "gate", "gate": "intake"},
    {"stage": "cutout"},
    {"stage": "compose", "width": 160, "height": 160, "preset": "transparent", "id": "product"},
    {"stage": "gate", "gate": "spend", "thresholds": ASKING},
    {"stage": "place", "width": 160, "height": 160, "fill": 0.8, "prompt": PROMPT, "id": "scene"},
    {"stage": "gate", "gate": "delivery"},
    {"stage": "publish", "format": "jpeg", "role": "placed"},
    {"stage": "thumbnails", "sizes": [32, 64]},
    {"stage": "compose", "width": 96, "height": 96, "input": "product"},
    {"stage": "publish", "format": "jpeg", "role": "placed"},
)
PLACED = ("cup-placed.jpg", "cup-thumbnail-32.webp", "cup-thumbnail-64.webp")
LOCAL = "cup-placed-2.jpg"


@dataclass(frozen=True)
class Shop:
    """A folder with a photograph and a storage, and a service that charges."""

    folder: Path
    service: Service

    @property
    def settings(self) -> Settings:
        return read_settings(storage_root=str(self.folder / "store"))

    def run(self, recipe: tuple[dict[str, Any], ...] = RECIPE, out: str = "out", key: Path | None = None) -> RunSummary:
        photo = self.folder / "cup.png"
        order = ProductOrder(photos=(str(photo),), recipe=recipe, out=str(self.folder / out), models="embedded")
        with served_by(generic(self.service.url, RULES)):
            return run_product(order, self.settings.model_copy(update={"signing_key": key}))

    def record(self, name: str, out: str = "out") -> dict[str, Any]:
        return parse_record(record_path(self.folder / out / name).read_bytes())


@pytest.fixture(scope="module")
def made(prefect_api: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shop, RunSummary]]:
    """What one run made, which nobody changes."""
    folder = tmp_path_factory.mktemp("placed")
    save_product(folder / "cup.png", 320, 240)
    with serve(folder / "service", RULES) as service:
        shop = Shop(folder, service)
        summary = shop.run()
        assert summary.exit_status == 0, summary.to_json()
        yield shop, summary


@pytest.fixture
def shop(made: tuple[Shop, RunSummary], tmp_path: Path) -> Shop:
    """A copy of it, of this test's own; the service is shared."""
    folder = tmp_path / "copy"
    shutil.copytree(made[0].folder, folder, ignore=shutil.ignore_patterns("service"))
    return Shop(folder, made[0].service)


def again(shop: Shop, record: dict[str, Any]) -> bytes:
    """The file of a record, made again in a place where nothing is known of a service."""
    shutil.rmtree(shop.folder / "store" / "tenants" / "default" / "outputs", ignore_errors=True)
    storage = open_storage(shop.settings.storage_root, "default")
    rebuilt = rebuild(record, storage, shop.settings, shop.folder / "again")
    assert rebuilt.equal, rebuilt
    assert rebuilt.path is not None
    return rebuilt.path.read_bytes()


def test_the_way_leads_over_the_answer_to_the_original(made: tuple[Shop, RunSummary]) -> None:
    shop, summary = made
    record = shop.record(PLACED[0])
    (answer,) = bought_in(record)
    with open_ledger(shop.settings.ledger).spending("default") as session:
        (purchase,) = session.purchases(run_id=summary.run_id)
    assert (answer["name"], answer["digest"]) == ("paid-test", {"sha256": purchase.response_digest})
    assert answer["annotations"]["purchase"] == purchase.purchase_key
    (charge,) = record["predicate"]["stillmotion_charges"]
    assert (charge["micro_usd"], charge["reference"]) == (RULES.price_micro_usd, purchase.provider_reference)
    gates = record["predicate"]["stillmotion_guardrails"]
    assert [(gate["gate"], gate["released"]) for gate in gates] == [
        ("intake", False), ("spend", False), ("delivery", False)
    ]  # fmt: skip
    lines = list(tree_lines(record))
    text = "\n".join(lines)
    ways = [line.split("└─ ")[1].split()[0] for line in lines if "└─ " in line]
    assert ways == ["publish", "place", "answer", "compose", "cutout", "intake", "asset"]
    assert f"answer of paid-test 1  sha256 {purchase.response_digest}" in text
    assert f"reference {purchase.provider_reference}  paid 0.039000 USD" in text
    assert PROMPT in text
    assert hashlib.sha256((shop.folder / "cup.png").read_bytes()).hexdigest() in lines[-1]


def test_a_picture_that_was_not_placed_knows_nothing_of_the_purchase(made: tuple[Shop, RunSummary]) -> None:
    record = made[0].record(LOCAL)
    assert bought_in(record) == []
    assert record["predicate"]["stillmotion_charges"] == []
    assert [gate["gate"] for gate in record["predicate"]["stillmotion_guardrails"]] == ["intake", "spend"]


def test_a_run_that_finds_the_answer_has_records_of_the_same_core(shop: Shop) -> None:
    """One takes the stage from the store, one asks the ledger; neither knows the first one's records."""
    first = shop.record(PLACED[0])
    charges = shop.service.charges
    for out, forgotten in (("second", "none"), ("third", "outputs")):
        shutil.rmtree(shop.folder / "store" / "tenants" / "default" / forgotten, ignore_errors=True)
        with sqlite3.connect(shop.folder / "store" / "ledger.db") as connection:
            connection.execute("DELETE FROM lineage_records")
        assert shop.run(out=out).exit_status == 0
        other = shop.record(PLACED[0], out)
        assert other["predicate"][CORE] == first["predicate"][CORE]
        ids = [record["predicate"]["runDetails"]["metadata"]["invocationId"] for record in (first, other)]
        assert ids[0] != ids[1]
    assert shop.service.charges == charges


@pytest.mark.parametrize("name", [*PLACED, LOCAL])
def test_it_is_made_again_and_nobody_is_asked(shop: Shop, name: str) -> None:
    requests = shop.service.requests
    expected = (shop.folder / "out" / name).read_bytes()
    record = shop.record(name)
    (shop.folder / "store" / "ledger.db").unlink()
    assert again(shop, record) == expected
    assert shop.service.requests == requests


def test_without_the_answer_it_is_said_and_nothing_is_bought(shop: Shop) -> None:
    record = shop.record(PLACED[0])
    (answer,) = bought_in(record)
    (shop.folder / "store" / "tenants" / "default" / asset_path(answer["digest"]["sha256"])).unlink()
    requests = shop.service.requests
    with pytest.raises(NotFoundError, match=r"the answer of paid-test, sha256 .* not bought again"):
        again(shop, record)
    assert shop.service.requests == requests


def test_an_answer_to_another_picture_is_not_taken_for_this_one(shop: Shop) -> None:
    record = shop.record(PLACED[0])
    bought_in(record)[0]["annotations"]["purchase"] = "ab" * 32
    storage = open_storage(shop.settings.storage_root, "default")
    requests = shop.service.requests
    with served_by(generic(shop.service.url, RULES)):
        rebuilt = rebuild(record, storage, shop.settings, shop.folder / "again")
    assert (rebuilt.equal, rebuilt.path) == (False, None)
    assert "nothing is bought to make a file again" in rebuilt.reasons[0]
    assert shop.service.requests == requests


def test_what_was_released_is_made_again_though_the_gate_would_stop_it(shop: Shop) -> None:
    strict = tuple(
        stage | {"thresholds": {"large_enough": {"min": 5000}}} if stage.get("gate") == "delivery" else stage
        for stage in RECIPE
    )
    assert [item.status for item in shop.run(strict, out="released").items] == ["stopped"]
    with open_ledger(shop.settings.ledger).session("default") as session:
        (held,) = session.quarantined()
        session.release(held.hold_key, by="owner", why="it is meant to be small")
    assert shop.run(strict, out="released").exit_status == 0
    record = shop.record(PLACED[0], "released")
    gate = record["predicate"]["stillmotion_guardrails"][-1]
    assert (gate["gate"], gate["decision"], gate["released"]) == ("delivery", "stop", True)
    assert "  delivery gate: stop (large_enough), released" in list(tree_lines(record))
    assert hashlib.sha256(again(shop, record)).hexdigest() == subject_of(record)[1]


def test_signed_it_says_that_a_model_made_it_and_is_made_again_unsigned(shop: Shop) -> None:
    keys = make_keys(shop.folder / "keys", "Cup Shop")
    assert shop.run(out="signed", key=keys.folder).exit_status == 0
    trained = {
        name: "compositeWithTrainedAlgorithmicMedia" in str(read_credentials(shop.folder / "signed" / name))
        for name in (*PLACED, LOCAL)
    }
    assert trained == dict.fromkeys(PLACED, True) | {LOCAL: False}
    assert again(shop, shop.record(PLACED[0], "signed")) == (shop.folder / "out" / PLACED[0]).read_bytes()


def test_others_hear_of_checks_and_charges(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLMOTION_STORAGE_ROOT", str(shop.folder / "store"))
    ledger = open_ledger(shop.settings.ledger)
    drain(ledger, open_storage(shop.settings.storage_root, "default"), shop.settings)  # what a slow run had left
    _, end = told()
    with ledger.spending("default") as session:
        (purchase,) = session.purchases()
    (row,) = end["run"]["facets"]["stillmotion_cost"]["charges"]
    assert purchase.sent_at is not None
    assert purchase.settled_at is not None
    assert row == {
        "BilledCost": "0.039000",
        "BillingCurrency": "USD",
        "ChargeCategory": "Usage",
        "ChargePeriodStart": purchase.sent_at.isoformat(),
        "ChargePeriodEnd": purchase.settled_at.isoformat(),
        "ServiceName": "paid-test",
        "SkuId": "1",
        "ResourceId": purchase.provider_reference,
        "x_Item": "cup",
        "x_PurchaseKey": purchase.purchase_key,
        "x_PriceList": "2026-01",
    }
    (read,) = end["inputs"]
    checks = {check["assertion"]: check for check in read["inputFacets"]["dataQualityAssertions"]["assertions"]}
    size = checks["spend.large_enough"]
    assert (size["success"], size["column"], size["severity"]) == (True, "short_side", "error")
    assert (json.loads(size["expected"]), json.loads(size["actual"])) == ({"min": 100}, 160)
    assert {name.split(".")[0] for name in checks} == {"intake", "spend", "delivery"}
    shop.run(out="second")
    *_, end = told()
    assert "stillmotion_cost" not in end["run"]["facets"]  # nothing was charged this time
