"""The ledger as LazyFrames, held against sums that were worked out by hand."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from datasets.facts import Facts, relations, runs
from datasets.facts.scan import Relation
from datasets.ledger import Ledger, open_ledger
from datasets.settings import Settings
from datasets.storage import open_storage
from tests.datasets import made_ledger
from tests.datasets.ledger_rows import new_ledger, new_ledger_url
from tests.datasets.made_ledger import MONDAY, TENANT, TUESDAY

C = pl.col
EVERY = [each for each in vars(relations).values() if isinstance(each, Relation)]


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    opened = open_ledger(new_ledger_url(request, request.param, tmp_path))
    made_ledger.fill(opened)
    made_ledger.fill(opened, "berta")  # whose rows must not be seen
    yield opened
    opened.close()


@pytest.fixture
def facts(ledger: Ledger, tmp_path: Path) -> Facts:
    return Facts(ledger, open_storage(str(tmp_path / "store"), TENANT))


def test_runs_have_their_times_and_how_long_they_took(facts: Facts) -> None:
    found = facts.runs().sort("started_at").collect()
    assert found["run_id"].to_list() == ["mon", "tue"]
    assert found["started_at"].to_list() == [MONDAY, TUESDAY]
    assert found["seconds"].to_list() == [2400.0, None]
    assert json.loads(found["parameters"][0])["margin"] == 0.05


def test_stages_add_up(facts: Facts) -> None:
    by_stage = facts.stages().filter(C.run_id == "mon").group_by("stage").agg(C.seconds.sum()).sort("stage").collect()
    assert by_stage.rows() == [("cutout", 11.0), ("intake", 3.5)]
    assert facts.stages().select(C.cached.sum()).collect().item() == 2
    assert facts.stages().select(pl.len()).collect().item() == 8


def test_money_is_exact(facts: Facts) -> None:
    sums = facts.spend().select("charged_usd", "avoided_usd").sum().collect()
    assert sums.row(0) == (Decimal("0.079999"), Decimal("0.040000"))
    guard = facts.spend().filter(C.guard).select("item", "charged_micro_usd").collect()
    assert guard.rows() == [("vase", 39_999)]
    assert facts.spend().filter(C.entry == "avoided").select("reason", "day").collect().rows() == [
        ("cache_hit", "2026-05-05")
    ]


def test_a_measure_is_a_row_of_its_own(facts: Facts) -> None:
    found = facts.measures().sort("item", "measure").select("item", "decision", "measure", "value", "text").collect()
    assert found.rows() == [
        ("shoe", "pass", "format", None, "png"),
        ("shoe", "pass", "sharpness", 12.5, None),
        ("shoe", "pass", "width", 640.0, None),
        ("vase", "warn", "sharpness", 3.5, None),
    ]
    mean = facts.measures().filter(C.measure == "sharpness").select(C.value.mean()).collect()
    assert mean.item() == 8.0


def test_a_record_of_lineage_says_where_its_file_was_put(facts: Facts) -> None:
    found = facts.lineage().select("sha256", "run_id", "item", "path", "record").collect()
    assert found.rows() == [("ab" * 32, "mon", "shoe", "/out/shoe-cutout.png", '{"a": 1}')]
    assert facts.inputs().select("kind", "input_digest").collect().rows() == [("asset", "99" * 32)]


def test_a_clip_counts_its_frames_and_a_picture_one(facts: Facts) -> None:
    found = facts.outputs().sort("run_id", "path").select("path", "frames").collect()
    assert dict(found.rows())["/out/clip.mp4"] == 48
    assert found["frames"].sum() == 4 + 48


def test_errors_and_items_are_there(facts: Facts) -> None:
    assert facts.errors().select("item", "code").collect().rows() == [("sock", "unreadable")]
    counts = facts.items().group_by("status").len().sort("status").collect()
    assert counts.rows() == [("delivered", 4), ("failed", 1)]


def test_nobody_sees_anothers_rows(ledger: Ledger, facts: Facts, tmp_path: Path) -> None:
    with ledger.session("berta") as session:
        session.finish_run("tue", "delivered")
    others = Facts(ledger, open_storage(str(tmp_path / "store"), "berta"))
    assert facts.runs().filter(C.status == "delivered").collect().is_empty()
    assert others.runs().filter(C.status == "delivered").collect().height == 1
    assert Facts(ledger, open_storage(str(tmp_path), "nobody")).stages().collect().is_empty()


@pytest.mark.parametrize("relation", EVERY, ids=lambda relation: relation.name)
def test_an_empty_ledger_has_the_same_columns(relation: Relation, tmp_path: Path) -> None:
    facts = Facts(new_ledger(tmp_path / "empty.db"), open_storage(str(tmp_path), TENANT))
    found = getattr(facts, relation.name)().collect()
    assert dict(found.schema) == relation.schema
    assert found.is_empty()


def test_every_column_alone_is_the_column_of_the_whole(facts: Facts) -> None:
    for relation in EVERY:
        lazy = getattr(facts, relation.name)()
        whole = lazy.collect()
        assert dict(whole.schema) == relation.schema
        assert whole.height > 0
        for name in relation.schema:
            alone = lazy.select(name).collect()[name]
            assert alone.sort().equals(whole[name].sort()), name  # a database gives rows in an order of its own
            assert lazy.select(name, pl.len().alias("n")).collect()["n"][0] == whole.height


def test_what_the_environment_says_is_read(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLMOTION_TENANT", TENANT)
    monkeypatch.setenv("STILLMOTION_LEDGER_URL", ledger.engine.url.render_as_string(hide_password=False))
    assert Settings().tenant == TENANT
    assert runs().select(pl.len()).collect().item() == 2


def test_a_time_is_a_moment_in_utc(facts: Facts) -> None:
    berlin = datetime(2026, 5, 5, 0, 0, tzinfo=UTC) + timedelta(hours=1)
    assert facts.runs().filter(C.started_at >= berlin).select("run_id").collect()["run_id"].to_list() == ["tue"]
