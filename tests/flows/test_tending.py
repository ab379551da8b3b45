"""What a run leaves of its models in the ledger, and what it heeds of what is written there."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from datasets.ledger import Ledger, open_ledger
from datasets.settings import read_settings
from datasets.thermal import Wanted
from flows.order import ProductOrder
from flows.product import product
from flows.summary import RunSummary
from model_blocks import runtime
from model_blocks.shelf import ModelShelf
from tasks.prefect_stage import value_of
from tests.photographs import save_product

NAME = "embedded-segmenter"
RECIPE = [{"stage": "cutout"}, {"stage": "publish", "format": "png"}]

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture(autouse=True)
def shelf(monkeypatch: pytest.MonkeyPatch) -> ModelShelf:
    own = ModelShelf()
    monkeypatch.setattr(runtime, "SHELF", own)
    return own


def run(*photos: Path) -> RunSummary:
    order = ProductOrder(photos=tuple(map(str, photos)), recipe=RECIPE, out=str(Path("out").absolute()))
    summary = value_of(product(order, return_state=True))
    assert isinstance(summary, RunSummary)
    return summary


def ledger() -> Ledger:
    return open_ledger(read_settings().ledger)


def test_a_run_heeds_what_is_wanted_and_writes_down_what_became_of_its_models(
    tmp_path: Path, shelf: ModelShelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLMOTION_MODEL_MEMORY_MB", "100")
    with ledger().session("default") as session:
        session.want_model(NAME, Wanted("hot"), by="anna")
    photo = save_product(tmp_path / "cup.png")
    first = run(photo)
    assert first.exit_status == 0
    assert (shelf.rules.memory_bytes, shelf.rules.wanted) == (100 << 20, {NAME: Wanted("hot")})
    with ledger().session("default", read_only=True) as session:
        told = {each.model: each for each in session.model_processes()}
        events = session.model_events(NAME)
    assert (told[NAME].pid, told[NAME].loads, told[NAME].loaded_at is None) == (os.getpid(), 1, False)
    assert [(event.kind, event.run_id) for event in events] == [("load", first.run_id)]
    run(photo)  # from the cache: nothing is asked of any model
    with ledger().session("default", read_only=True) as session:
        assert {each.model: each for each in session.model_processes()} == told
        assert session.model_events(NAME) == events


def test_a_run_tries_a_model_whose_time_has_come_and_its_success_closes_the_circuit(tmp_path: Path) -> None:
    past = datetime.now(UTC) - timedelta(days=1)
    with ledger().session("default") as session:
        for _ in range(3):
            session.model_failed(NAME, "out of memory", at=past)
    run(save_product(tmp_path / "mug.png"))
    with ledger().session("default", read_only=True) as session:
        circuit = session.model_states()[NAME].circuit
    assert (circuit.circuit, circuit.failures, circuit.last_reason) == ("closed", 0, "out of memory")


@pytest.mark.slow
def test_worker_processes_are_asked_what_they_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLMOTION_WORKERS", "2")
    assert run(save_product(tmp_path / "cup.png"), save_product(tmp_path / "mug.png")).exit_status == 0
    with ledger().session("default", read_only=True) as session:
        pids = {each.pid for each in session.model_processes() if each.model == NAME}
    assert pids
    assert os.getpid() not in pids
