"""What was chosen and how models did, on both kinds of database."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from datasets.ledger import ChosenModel, Ledger, open_ledger
from datasets.ledger.routing_rows import ModelTimes, names_in
from tests.datasets.ledger_rows import NOW, a_run, a_stage, new_ledger_url

CHOICE = ChosenModel(
    run_id="run-1",
    item="",
    capability="upscale",
    position=0,
    model="fine",
    licence="MIT",
    purpose="commercial",
    reason="fast; best score 0.790 of 2",
    record={"request": {"max_latency_s": 0.1}, "scores": [{"total": 0.123456789}]},
    at=NOW,
)


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    opened = open_ledger(new_ledger_url(request, request.param, tmp_path))
    for tenant in ("anna", "bert"):
        with opened.session(tenant) as session:
            session.start_run(a_run("run-1", flow="product"))
    yield opened
    opened.close()


def test_choices_come_back_in_their_order_and_the_last_word_counts(ledger: Ledger) -> None:
    other = replace(CHOICE, item="cup", position=1, model="plain")
    with ledger.session("anna") as session:
        for choice in (other, replace(CHOICE, model="best"), CHOICE):
            session.record_choice(choice)
    with ledger.session("anna", read_only=True) as session:
        assert session.choices("run-1") == [CHOICE, other]
    with ledger.session("bert", read_only=True) as session:
        assert session.choices("run-1") == []


def test_a_tenant_learns_of_its_own_stages_alone(ledger: Ledger) -> None:
    values: dict[str, Any] = {"cached": False, "skipped": None, "chunks": 1, "device": "cpu", "started_at": NOW}
    with ledger.session("anna") as session:
        session.record_stage(a_stage(**values, stage_run_id="a", model="x + y", seconds=2.0, error_code=None))
        session.record_stage(a_stage(**values, stage_run_id="b", model="x", seconds=4.0, error_code=None))
        session.record_stage(a_stage(**values | {"chunks": 0}, stage_run_id="c", model="y", error_code="model_memory"))
    asked: dict[str, Any] = {"flow": "product", "since": NOW - timedelta(days=7), "faults": ("model_memory",)}
    with ledger.session("anna", read_only=True) as session:
        found = session.model_times(**asked)
    assert sorted(found) == [("x", "cpu"), ("y", "cpu")]
    assert (sorted(found["x", "cpu"].seconds), found["x", "cpu"].failures) == ([2.0, 4.0], 0)
    assert (found["y", "cpu"].seconds, found["y", "cpu"].failures) == ([2.0], 1)
    with ledger.session("bert", read_only=True) as session:
        assert session.model_times(**asked) == {}


def test_the_slowest_in_twenty_by_nearest_rank() -> None:
    times = ModelTimes([float(number) for number in range(1, 21)])
    assert (times.median_s, times.p95_s) == (10.5, 19.0)
    assert (ModelTimes([7.0]).p95_s, ModelTimes().p95_s, ModelTimes().median_s) == (7.0, 0.0, 0.0)


def test_models_are_read_from_how_a_stage_shows_them() -> None:
    assert names_in("a + b (unpublished weights 0123abcd)") == ["a", "b"]
