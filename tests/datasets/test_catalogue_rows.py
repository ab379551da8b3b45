"""What is known of a catalogue's products, and notes of many items at once, on both kinds of database."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from datasets.ledger import (
    CatalogueChange,
    CatalogueRecord,
    CatalogueState,
    CatalogueTouch,
    ErrorRecord,
    ItemNotes,
    ItemRecord,
    Ledger,
    NotesWriter,
    OutputRecord,
    StageRecord,
)
from tests.datasets.ledger_rows import DIGEST, NOW, a_run, two_tenants

CUP = CatalogueState(
    catalogue="shop", sku_key="cup", sku="Cup", item="Cup", line=2, image="https://shop/cup.jpg", status="delivered",
    change="added", run_id="run-1", changed_at=NOW, etag='"1"', asset=DIGEST, identity=DIGEST,
    outputs=[{"path": "/out/cup.webp", "bytes": 3}],
)  # fmt: skip
MUG = replace(CUP, sku_key="mug", sku="Mug", item="Mug", line=3)
STAGE = StageRecord(
    "stage-1", "run-1", "Cup", 1, "intake", DIGEST, None, "cpu", 0.25, 1 << 20, False, 1, None, None, None, NOW
)
FILE = OutputRecord("run-1", "Cup", "thumbnail", "/out/cup.webp", DIGEST, 3, 2, 1, "webp", DIGEST, {"stored": "a"})


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    with two_tenants(request, tmp_path, "run-1", "run-2") as opened:
        with opened.session("anna") as session:
            session.save_catalogue_states([CUP, MUG, replace(CUP, catalogue="other")])
        yield opened


def every(ledger: Ledger, tenant: str, catalogue: str = "shop", at_once: int = 1) -> list[CatalogueState]:
    with ledger.session(tenant, read_only=True) as session:
        return [state for page in session.each_catalogue_state(catalogue, at_once) for state in page]


def test_products_come_back_by_their_keys_and_page_by_page(ledger: Ledger) -> None:
    with ledger.session("anna", read_only=True) as session:
        assert session.catalogue_states("shop", ["mug", "jug"]) == {"mug": MUG}
        assert session.count_active("shop") == 2
    assert every(ledger, "anna") == [CUP, MUG]


def test_what_is_touched_is_seen_and_nothing_else_of_it_changes(ledger: Ledger) -> None:
    touch = CatalogueTouch("cup", "CUP", 9, "https://shop/new.jpg", "https://cdn/new.jpg", '"2"', None, "unchanged")
    with ledger.session("anna") as session:
        session.touch_catalogue_states("shop", "run-2", [touch])
    now = replace(
        CUP, sku="CUP", line=9, image="https://shop/new.jpg", fetched_url="https://cdn/new.jpg", etag='"2"',
        change="unchanged", run_id="run-2",
    )  # fmt: skip
    assert every(ledger, "anna") == [now, MUG]
    assert every(ledger, "anna", "other") == [replace(CUP, catalogue="other")]


def test_products_that_a_run_did_not_see_retire_and_are_listed(ledger: Ledger) -> None:
    with ledger.session("anna") as session:
        session.save_catalogue_states([replace(CUP, run_id="run-2")])
        assert session.retire_catalogue_states("shop", "run-2") == 1
        assert session.retire_catalogue_states("shop", "run-2") == 0  # once is enough
        assert session.count_active("shop") == 1
        (listed,) = [each for page in session.each_catalogue_change("run-2") for each in page]
    assert listed == CatalogueChange("run-2", 0, "mug", "Mug", "retired", "delivered")
    assert [state.retired_at is None for state in every(ledger, "anna")] == [True, False]


def test_changes_come_in_the_order_of_lines_page_by_page(ledger: Ledger) -> None:
    found = [CatalogueChange("run-1", line, "", None, "failed", "failed", [{"code": "x"}]) for line in (9, 2, 5)]
    with ledger.session("anna") as session:
        session.save_catalogue_changes(found)
        session.save_catalogue_changes(found[:1])
        pages = list(session.each_catalogue_change("run-1", 2))
    assert [[each.line for each in page] for page in pages] == [[2, 5], [9]]


def test_a_stranger_finds_and_changes_nothing(ledger: Ledger) -> None:
    record = CatalogueRecord("shop", "shop.csv", {"rows": 2}, "run-1", NOW)
    with ledger.session("anna") as session:
        session.save_catalogue(record)
        session.record_stage(STAGE)
    with ledger.session("bert") as stranger:
        assert stranger.find_catalogue("shop") is None
        assert stranger.catalogue_states("shop", ["cup"]) == {}
        assert stranger.count_active("shop") == 0
        assert stranger.retire_catalogue_states("shop", "run-2") == 0
        stranger.touch_catalogue_states("shop", "run-2", [CatalogueTouch("cup", "x", 1, "x", None, None, None, "x")])
        assert list(stranger.each_catalogue_change("run-1")) == []
        assert stranger.stage_sums("run-1") == []
        assert stranger.some_items("run-1", "delivered", 9) == []
        assert stranger.stages_of("run-1", ["Cup"]) == []
        assert stranger.outputs_of("run-1", ["Cup"]) == []
        stranger.save_catalogue(replace(record, source="mine.csv"))
    assert every(ledger, "bert") == []
    assert every(ledger, "anna") == [CUP, MUG]
    with ledger.session("anna", read_only=True) as session:
        assert session.find_catalogue("shop") == record


def test_notes_are_all_there_once_their_writer_is_closed(ledger: Ledger) -> None:
    """200 items in a few transactions; an item that is written again is replaced, an edge that is known stays."""
    record = a_run("run-1")
    with NotesWriter(ledger, "anna", "shop", "run-1") as writer:
        for number in range(200):
            notes = ItemNotes(record, lambda _: [])
            notes.item = ItemRecord("run-1", f"item-{number}", number, "cup.jpg", DIGEST, "delivered")
            notes.record_stage(replace(STAGE, stage_run_id=f"stage-{number}", item=f"item-{number}"))
            notes.record_inputs(DIGEST, [("asset", DIGEST)])
            notes.record_output(replace(FILE, item=f"item-{number}"))
            notes.state = replace(CUP, sku_key=f"sku-{number:03}")
            writer.add(notes)
        failed = ItemNotes(record, lambda _: [])
        failed.item = ItemRecord("run-1", "item-0", 0, "cup.jpg", DIGEST, "failed")
        failed.record_error(ErrorRecord("e", "run-1", "item-0", "intake", "damaged", "it is", {}, NOW))
        writer.add(failed)
    assert 1 <= writer.transactions <= 20
    with ledger.session("anna", read_only=True) as session:
        assert len(session.items("run-1")) == len(session.stages("run-1")) == len(session.outputs("run-1")) == 200
        assert [item.status for item in session.items("run-1")[:2]] == ["failed", "delivered"]
        assert session.inputs_of(DIGEST) == [("asset", DIGEST)]
        assert [error.code for error in session.errors("run-1")] == ["damaged"]
        (total,) = session.stage_sums("run-1")
    assert (total.runs, total.seconds, total.longest, total.cached) == (200, 50.0, 0.25, 0)
    assert len(every(ledger, "anna", at_once=64)) == 202


def test_a_ledger_that_cannot_be_written_ends_the_run(ledger: Ledger) -> None:
    """A row of a run that there is not: nothing of the transaction is written, and nobody waits for ever."""
    notes = ItemNotes(a_run("no-run"), lambda _: [])
    notes.item = ItemRecord("no-run", "item", 0, "cup.jpg", DIGEST, "delivered")
    notes.state = replace(CUP, sku_key="new")
    with pytest.raises(Exception, match=r"(?i)foreign key"), NotesWriter(ledger, "anna", "shop", "no-run") as writer:
        writer.add(notes)
    assert every(ledger, "anna") == [CUP, MUG]
