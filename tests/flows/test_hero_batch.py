"""40 photographs, 15 of them bad: the good ones are paid for, once, and what was not paid is counted to the row."""

from pathlib import Path

import pytest

from datasets.settings import read_settings
from flows.summary import ItemResult, RunSummary
from tests.flows.hero_batch import BAD, write_batch
from tests.flows.hero_runs import avoided, by_name, codes, hero, hero_service, ledger, stages
from tests.services.paid_service import Rules, Service

pytestmark = [pytest.mark.usefixtures("prefect_api"), pytest.mark.slow]

RECIPE = stages(512)
PRICE_USD = 0.039
STOPPED = {name: bad for name, bad in BAD.items() if bad.code}
TWINS = {name: bad.like for name, bad in BAD.items() if bad.like}


def stopped_as(item: ItemResult) -> tuple[str, set[str]]:
    return item.status, {str(reason.facts.get("gate", "spend")) for reason in item.reasons if reason.level == "error"}


def check_items(summary: RunSummary) -> None:
    """Every item ended as it should. Of two that show the same, whichever came first is bought."""
    items = by_name(summary)
    assert len(items) == 40
    for name, bad in STOPPED.items():
        if bad.like:
            continue
        assert stopped_as(items[name]) == ("stopped", {bad.gate}), (name, codes(items[name]))
        assert bad.code in codes(items[name]), name
    for name, like in TWINS.items():
        first, second = items[like], items[name]
        if BAD[name].code:
            assert {first.status, second.status} == {"delivered", "stopped"}, name
            bought, twin = (first, second) if second.status == "stopped" else (second, first)
            (reason,) = [each for each in twin.reasons if each.level == "error"]
            assert (reason.code, reason.facts["duplicate_of"]) == ("not_bought_already", bought.item)
        else:
            assert (first.status, second.status) == ("delivered", "delivered")
            digests = [[output.file.sha256 for output in each.outputs] for each in (first, second)]
            assert digests[0] == digests[1] != []
    good = set(items) - set(BAD) - set(TWINS.values())
    assert {name: codes(items[name]) for name in good if items[name].status != "delivered"} == {}
    assert summary.exit_status == 3


@pytest.fixture
def batch(tmp_path: Path) -> list[Path]:
    return write_batch(tmp_path / "photographs")


def test_a_batch_is_paid_for_as_far_as_it_is_good_and_once(
    tmp_path: Path, batch: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with hero_service(tmp_path / "service", monkeypatch) as service:
        summary = hero(*batch, recipe=RECIPE)
        check_items(summary)
        assert (service.charges, service.requests) == (25, 25)
        check_books(summary, service, bought=25)
        entries = avoided(summary.run_id)
        reasons = {entry.item: entry.reason for entry in entries}
        assert len(entries) == len(reasons) == 40 - 25
        assert sorted(reasons.values()) == ["duplicate"] * 4 + ["guardrail_stop"] * 11
        assert {name for name, reason in reasons.items() if reason == "guardrail_stop"} == set(STOPPED) - set(TWINS)
        with ledger().spending(read_settings().tenant, read_only=True) as session:
            settled = {purchase.purchase_key: purchase.item for purchase in session.purchases("settled")}
        for entry in entries:
            if entry.reason == "duplicate":
                pair = {entry.item, settled[entry.evidence["purchase"]]}
                assert pair in [{name, like} for name, like in TWINS.items()]
            else:
                assert STOPPED[entry.item].code in [reason["code"] for reason in entry.evidence["reasons"]]
        again = hero(*batch, recipe=RECIPE)
        check_items(again)
        assert (service.charges, service.requests) == (25, 25)
        entries = avoided(again.run_id)
        assert len({entry.item for entry in entries}) == len(entries) == 40
        counted = sorted(entry.reason for entry in entries)
        assert counted == ["cache_hit"] * 27 + ["duplicate"] * 2 + ["guardrail_stop"] * 11
        check_books(again, service, bought=0)


def check_books(summary: RunSummary, service: Service, *, bought: int) -> None:
    assert sum(service.totals["by_key"].values()) == service.charges
    assert set(service.totals["by_key"].values()) == {1}
    assert summary.money.spent == pytest.approx(bought * PRICE_USD)
    assert summary.money.avoided_net == pytest.approx((40 - bought) * PRICE_USD)
    assert sum(summary.money.avoided.values()) == pytest.approx(summary.money.avoided_net)


def three_alike(batch: list[Path]) -> list[Path]:
    """A photograph, its bytes under another name, and its pixels in other bytes."""
    files = {path.stem: path for path in batch}
    (files["mug-120"].parent / "bytes.png").write_bytes(files["mug-120"].read_bytes())
    return [files["mug-120"], files["mug-120"].parent / "bytes.png", files["other-jpeg"]]


def test_what_a_budget_deferred_is_no_duplicate_and_nothing_is_saved(
    tmp_path: Path, batch: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with hero_service(tmp_path / "service", monkeypatch) as service:
        summary = hero(*three_alike(batch), recipe=RECIPE, budget_usd=PRICE_USD / 2)
        assert [item.status for item in summary.items] == ["deferred"] * 3
        assert (service.charges, summary.money.avoided_net, avoided(summary.run_id)) == (0, 0, [])


def test_what_may_have_been_charged_holds_its_duplicates_too(
    tmp_path: Path, batch: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLMOTION_SERVICE_PATIENCE_S", "1")
    with hero_service(tmp_path / "service", monkeypatch, Rules()) as service:
        first, same, other = three_alike(batch)
        service.order("reset_after")
        assert [item.status for item in hero(first, recipe=RECIPE).items] == ["held"]
        summary = hero(same, other, recipe=RECIPE)
        items = by_name(summary)
        assert {name: item.status for name, item in items.items()} == {same.stem: "held", other.stem: "stopped"}
        assert codes(items[other.stem]) == ["not_bought_already"]
        assert [(entry.item, entry.reason) for entry in avoided(summary.run_id)] == [(other.stem, "duplicate")]
        assert service.charges == 1
