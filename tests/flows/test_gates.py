"""Gates within runs: what they stop and let pass, what is written down, and that nothing behind them is made anew."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from PIL import Image, ImageFilter
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from datasets.ledger import GateRecord, QuarantineRecord
from flows.order import ProductOrder
from flows.product import plan_product, product
from flows.releasing import Wanted, release
from flows.summary import ItemResult, RunSummary
from tasks.prefect_stage import value_of
from tests.flows.gated_runs import PRICE, PUBLISH, books, guarded_recipe, money, paid_recipe, paid_service, produce
from tests.photographs import product_pixels, save_product
from tests.shared_data import fixture

pytestmark = pytest.mark.usefixtures("prefect_api")

NEVER = {"large_enough": {"min": 5000}}  # of the intake gate: no picture here is as large


def gate_rows(run_id: str) -> list[GateRecord]:
    settings, ledger = books()
    with ledger.session(settings.tenant, read_only=True) as session:
        return session.gate_records(run_id)


def held() -> list[QuarantineRecord]:
    settings, ledger = books()
    with ledger.session(settings.tenant, read_only=True) as session:
        return session.held()


def codes(item: ItemResult) -> list[tuple[str, str]]:
    return [(reason.level, reason.code) for reason in item.reasons]


def save_blurred(path: Path) -> Path:
    Image.fromarray(product_pixels(300, 240)).filter(ImageFilter.GaussianBlur(6)).save(path)
    return path


def test_a_stopped_item_is_kept_apart_with_what_failed_and_the_others_go_on(tmp_path: Path) -> None:
    good = save_product(tmp_path / "good.png", 300, 240)
    small = save_product(tmp_path / "small.png", 60, 50)
    summary = produce(good, small, recipe=guarded_recipe())
    assert (summary.status, summary.exit_status) == ("partial", 3)
    assert [item.status for item in summary.items] == ["delivered", "stopped"]
    assert codes(summary.items[1])[0] == ("error", "large_enough")
    assert summary.items[1].reasons[0].facts == {
        "gate": "intake",
        "measure": "short_side",
        "observed": 50,
        "bound": {"min": 64.0},
    }
    assert {row.item: (row.gate, row.decision) for row in gate_rows(summary.run_id)} == {
        "good": ("intake", "pass"),
        "small": ("intake", "stop"),
    }
    (entry,) = held()
    assert (entry.item, entry.gate, entry.source, entry.run_id) == ("small", "intake", str(small), summary.run_id)
    assert entry.reasons[0]["code"] == "large_enough"
    assert entry.asset_digest == summary.items[1].asset
    assert entry.picture == summary.items[1].stages[0].picture.fingerprint

    again = produce(good, small, recipe=guarded_recipe())
    assert [item.status for item in again.items] == ["delivered", "stopped"]
    assert all(stage.cached for item in again.items for stage in item.stages)
    assert [stage.stage for stage in again.items[1].stages] == ["intake", "measure", "gate"]
    assert [one.run_id for one in held()] == [again.run_id]


def test_what_was_released_is_bought_and_what_its_stop_had_saved_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with paid_service(tmp_path, monkeypatch) as service:
        photo, recipe = save_product(tmp_path / "cup.png", 300, 240), paid_recipe(intake=NEVER)
        first = produce(photo, recipe=recipe)
        assert ([item.status for item in first.items], service.requests) == (["stopped"], 0)
        assert first.to_json()["avoided_usd"] == PRICE / 1e6
        produce(photo, recipe=recipe)
        assert money().avoided == {"guardrail_stop": 2 * PRICE}  # each run would have bought it, had it not been held

        settings, ledger = books()
        released = release(ledger, settings.tenant, Wanted("cup"), by="ada", why="it is meant to be small")
        assert (released.before, released.reversed_usd) == (False, 2 * PRICE / 1e6)
        assert money().avoided_net == 0
        again = release(ledger, settings.tenant, Wanted("cup"), by="eve", why="so do I")
        assert (again.before, again.reversed_usd, again.record.released_by) == (True, 0, "ada")

        second = produce(photo, recipe=recipe)
        (item,) = second.items
        assert (item.status, service.charges) == ("delivered", 1), codes(item)
        assert (codes(item), second.exit_status) == ([("warning", "large_enough")], 0)
        rows = {row.gate: (row.decision, row.released) for row in gate_rows(second.run_id)}
        assert rows["intake"] == ("stop", True)
        assert {row[1] for gate, row in rows.items() if gate != "intake"} == {False}
        assert (money().spent, money().avoided_net) == (PRICE, 0)


def test_a_duplicate_that_was_released_is_bought_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with paid_service(tmp_path, monkeypatch) as service:
        photo, twin = save_product(tmp_path / "cup.png", 300, 240), tmp_path / "twin.png"
        Image.fromarray(product_pixels(300, 240) - 1).save(twin)  # a code darker: nobody sees it
        assert produce(photo, recipe=paid_recipe()).items[0].status == "delivered"
        (item,) = produce(twin, recipe=paid_recipe()).items
        assert (item.status, service.charges, money().avoided) == ("stopped", 1, {"duplicate": PRICE}), codes(item)
        settings, ledger = books()
        released = release(ledger, settings.tenant, Wanted("twin", gate="spend"), by="ada", why="another size")
        assert (released.reversed_usd, money().avoided_net) == (PRICE / 1e6, 0)
        (item,) = produce(twin, recipe=paid_recipe()).items
        assert (item.status, service.charges, money().spent) == ("delivered", 2, 2 * PRICE), codes(item)


def test_another_threshold_makes_nothing_behind_the_gate_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with paid_service(tmp_path, monkeypatch) as service:
        photo = save_product(tmp_path / "cup.png", 300, 240)
        first = produce(photo, recipe=paid_recipe())
        assert first.exit_status == 0, codes(first.items[0])
        other = produce(photo, recipe=paid_recipe({"large_enough": {"min": 10}}, {"large_enough": {"min": 20}}))
        anew = [stage.stage for stage in other.items[0].stages if not stage.cached]
        assert (anew, service.requests) == (["gate", "gate"], 1)
        assert [(output.file.sha256) for output in first.items[0].outputs] == [
            output.file.sha256 for output in other.items[0].outputs
        ]


def test_what_cannot_be_evaluated_fails_its_item_and_nothing_is_paid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = {"cut_out": {"measure": "coverage", "min": 0.1}}  # nobody has looked for an object at intake
    with paid_service(tmp_path, monkeypatch) as service:
        summary = produce(save_product(tmp_path / "cup.png", 300, 240), recipe=paid_recipe(intake=unknown))
        assert (summary.status, service.requests) == ("failed", 0)
        assert codes(summary.items[0])[0] == ("error", "gate_not_evaluated")
        assert summary.items[0].reasons[0].facts["unknown"] == "coverage"
        assert (held(), money().avoided_gross) == ([], 0)  # it says nothing about the picture


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(tmp_path: Path) -> None:
    photo = save_product(tmp_path / "small.png", 60, 50)
    order = {"photos": (str(photo),), "out": str(tmp_path / "out"), "models": "embedded"}

    def planned(**thresholds: Any) -> ItemResult:
        settings, _ = books()
        (item,) = plan_product(ProductOrder(recipe=tuple(guarded_recipe(**thresholds)), **order), settings).items
        return item

    item = planned()
    assert (item.status, codes(item)) == ("planned", [("plan", "would_compute")])
    assert item.reasons[0].facts["stages"] == "intake, measure, gate, publish"
    assert (held(), list((tmp_path / "store").rglob("manifest*")), (tmp_path / "out").exists()) == ([], [], False)
    stopped = produce(photo, recipe=guarded_recipe())
    before = held()
    item = planned()
    assert (item.status, codes(item)[0]) == ("stopped", ("error", "large_enough"))
    assert (held(), len(gate_rows(stopped.run_id))) == (before, 1)
    assert planned(large_enough={"min": 8}).reasons[0].facts["stages"] == "gate, publish"


@pytest.mark.parametrize("whose", ["tenant", "recipe"])
def test_thresholds_come_from_the_tenant_and_from_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    photo = save_product(tmp_path / "cup.png", 300, 240)
    assert produce(photo, recipe=guarded_recipe()).items[0].status == "delivered"
    if whose == "tenant":
        monkeypatch.setenv("STILLMOTION_GATES", json.dumps({"intake": {"large_enough": {"min": 241}}}))
        assert produce(photo, recipe=guarded_recipe()).items[0].status == "stopped"
        mine = {"large_enough": {"min": 240}}  # the recipe has the last word
        assert produce(photo, recipe=guarded_recipe(**mine)).items[0].status == "delivered"
    else:
        assert produce(photo, recipe=guarded_recipe(large_enough={"min": 241})).items[0].status == "stopped"
        assert produce(photo, recipe=guarded_recipe(large_enough=None)).items[0].status == "delivered"


def test_a_warning_lets_the_item_pass_and_stands_in_the_document_and_in_prefect(tmp_path: Path) -> None:
    photo = save_blurred(tmp_path / "blurred.png")
    order = ProductOrder(photos=(str(photo),), recipe=tuple(guarded_recipe()), out=str(tmp_path / "out"))
    summary = value_of(product(order, return_state=True))
    assert isinstance(summary, RunSummary)
    document = summary.to_json()["items"][0]  # type: ignore[index]
    assert document["status"] == "delivered"
    (reason,) = document["reasons"]
    assert (reason["code"], reason["level"], reason["facts"]["bound"]) == ("sharp", "warning", {"min": 8.0})
    assert reason["facts"]["observed"] < 8
    asked = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(summary.run_id)]))
    with get_client(sync_client=True) as client:
        artifacts = {artifact.key: artifact for artifact in client.read_artifacts(artifact_filter=asked)}
    (row,) = json.loads(str(artifacts["gates"].data))
    assert {name: row[name] for name in ("item", "gate", "decision", "failed", "bound")} == {
        "item": "blurred",
        "gate": "intake",
        "decision": "warn",
        "failed": "sharp",
        "bound": "at least 8.0",
    }


def test_the_spend_gate_knows_a_cutout_that_is_worth_the_money(tmp_path: Path) -> None:
    recipe = [{"stage": "cutout"}, {"stage": "gate", "gate": "spend"}, PUBLISH]
    scene, cup = fixture("images/brick.png"), fixture("images/coffee.png")
    summary = produce(scene, cup, recipe=recipe)
    assert [item.status for item in summary.items] == ["stopped", "delivered"]
    assert codes(summary.items[0])[0][1] in ("object_found", "not_cut_off", "one_piece", "not_everything")
