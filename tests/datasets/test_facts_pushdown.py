"""Filters that go down to SQL: never a row too few, and no row too many where SQL can say what is asked."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.errors import StorageUnavailableError
from datasets.facts import Facts
from datasets.facts.pushdown import condition_of
from datasets.facts.relations import STAGES
from datasets.facts.scan import batches
from datasets.ledger import Ledger, open_ledger
from datasets.storage import open_storage
from tests.datasets import made_ledger
from tests.datasets.ledger_rows import a_stage, new_ledger, new_ledger_url
from tests.datasets.made_ledger import MONDAY, TENANT, TUESDAY

ROOT = Path(__file__).parents[2]
C = pl.col
Closed = Literal["both", "none", "left", "right"]
HARD = ["shoe", "Shoe", "vase", "", "ünder", "a'b", "%", "_", "\\udcff", "日本"]


def odd_rows(ledger: Ledger) -> None:
    """Names and values that databases and polars might see differently."""
    with ledger.session(TENANT) as session:
        for number, name in enumerate(HARD):
            session.record_stage(
                a_stage(f"odd-{number}", "mon", item=name, stage=name, position=number, seconds=number / 3,
                        model=None if number % 2 else name, error_code=None if number % 3 else "x",
                        peak_memory_bytes=None if number % 4 else number << 33, started_at=MONDAY)
            )  # fmt: skip


def facts_of(ledger: Ledger, folder: Path) -> Facts:
    made_ledger.fill(ledger)
    odd_rows(ledger)
    return Facts(ledger, open_storage(str(folder / "store"), TENANT))


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    folder = tmp_path_factory.mktemp("pushdown")
    return facts_of(new_ledger(folder / "ledger.db"), folder)


TEXTS = st.sampled_from([*HARD, "mon", "tue", "intake", "nothing", "\udcff".encode(errors="replace").decode()])
NUMBERS = st.sampled_from([0, 1, 3, 0.25, 1.0, 2 / 3, 20.0, -1, 5 << 32, 2**40])
TIMES = st.sampled_from([MONDAY, TUESDAY, MONDAY + timedelta(minutes=1), datetime(2030, 1, 1, tzinfo=UTC)])
CLOSED: st.SearchStrategy[Closed] = st.sampled_from(["both", "none", "left", "right"])
BY_KIND: list[tuple[list[str], st.SearchStrategy[Any]]] = [
    (["run_id", "item", "stage", "model", "error_code"], TEXTS),
    (["position", "seconds", "peak_memory_bytes", "chunks"], NUMBERS),
    (["started_at"], TIMES),
]


@st.composite
def terms(draw: st.DrawFn) -> pl.Expr:
    names, values = draw(st.sampled_from(BY_KIND))
    name, value = draw(st.sampled_from(names)), draw(values)
    column = C(name)
    alike = draw(values.filter(lambda other: type(other) is type(value)))
    fits = (name == "seconds") == isinstance(value, float) or isinstance(value, (str, datetime))  # else polars refuses
    kinds: dict[str, pl.Expr] = {
        "eq": column == value, "turned": pl.lit(value) == column, "ne": column != value, "lt": column < value,
        "ge": column >= value, "turned_gt": pl.lit(value) > column, "null": column.is_null(),
        "not_null": column.is_not_null(), "missing": column.eq_missing(value), "flag": C("cached"),
        "between": column.is_between(pl.lit(value), pl.lit(alike), closed=draw(CLOSED)),
        "in": column.is_in([value, alike]) if fits else column == value, "not_flag": ~C("cached"),
        "flag_is": C("cached") == draw(st.booleans()),
    }  # fmt: skip
    return kinds[draw(st.sampled_from(sorted(kinds)))]


PREDICATES = st.recursive(
    terms(),
    lambda inner: st.one_of(
        st.builds(lambda a, b: a & b, inner, inner), st.builds(lambda a, b: a | b, inner, inner),
        st.builds(lambda a: ~a, inner),
    ),
    max_leaves=4,
)  # fmt: skip


@given(predicate=PREDICATES)
def test_a_filter_gives_what_it_gives_on_the_whole(predicate: pl.Expr, facts: Facts) -> None:
    whole = facts.stages().collect()
    expected = whole.filter(predicate).sort("position", "stage", "started_at")
    assert facts.stages().filter(predicate).collect().sort("position", "stage", "started_at").equals(expected)
    assert facts.stages().filter(predicate).select(pl.len()).collect().item() == expected.height


@pytest.fixture(params=["sqlite", "postgresql"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Facts]:
    ledger = open_ledger(new_ledger_url(request, request.param, tmp_path))
    yield facts_of(ledger, tmp_path)
    ledger.close()


def read_by_sql(facts: Facts, predicate: pl.Expr) -> int:
    """How many rows leave the database for a filter."""
    condition = condition_of(predicate, STAGES.read)
    return sum(batch.height for batch in batches(STAGES, facts.ledger, TENANT, ["item"], condition, 3))


def test_only_rows_that_are_asked_for_leave_the_database(both: Facts) -> None:
    asked = {
        "run": C("run_id") == "tue",
        "both": (C("run_id") == "mon") & (C("stage") == "cutout"),
        "one of": C("stage").is_in(["decode", "cutout"]),
        "time": C("started_at") >= TUESDAY,
        "slow": C("seconds") > 7.5,
        "either": (C("seconds") > 7.5) | (C("error_code") == "unreadable"),
        "cached": C("cached"),
        "unknown beside known": (C("run_id") == "tue") & C("stage").str.contains("o"),
        "nothing known": C("stage").str.len_chars() > 100,
    }
    found = {name: read_by_sql(both, predicate) for name, predicate in asked.items()}
    assert found == {"run": 3, "both": 2, "one of": 4, "time": 3, "slow": 2, "either": 3, "cached": 2,
                     "unknown beside known": 3, "nothing known": 18}  # fmt: skip
    for predicate in asked.values():
        assert both.stages().filter(predicate).collect().height == both.stages().collect().filter(predicate).height


def test_a_head_stops_the_reading(facts: Facts) -> None:
    assert facts.stages().head(4).collect().height == 4
    assert facts.stages().filter(C("run_id") == "mon").head(2).collect().height == 2
    assert facts.stages().head(0).collect().height == 0
    assert facts.stages().tail(2).collect().height == 2


def test_a_ledger_that_is_away_is_said(facts: Facts, tmp_path: Path) -> None:
    gone = open_ledger(f"sqlite:///{tmp_path / 'gone.db'}")
    gone.close()
    (tmp_path / "gone.db").unlink()
    (tmp_path / "gone.db").mkdir()
    broken = Facts(gone, open_storage(str(tmp_path), TENANT))
    with pytest.raises((StorageUnavailableError, pl.exceptions.ComputeError), match="cannot be used now"):
        broken.stages().collect()


ROWS = 1_000_000
MEASURED = """
import resource, sys
import polars as pl
from pathlib import Path
from datasets.facts import Facts
from datasets.ledger import open_ledger
from datasets.storage import open_storage
facts = Facts(open_ledger(f"sqlite:///{sys.argv[1]}"), open_storage(sys.argv[2], "anna"))
few = facts.stages().filter(pl.col("run_id") == "few")
print(few.collect().height)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if sys.argv[3] == "filter":
    print(facts.stages().filter(pl.col("run_id") == "some").collect().height)
else:
    print(facts.stages().group_by("stage").agg(pl.len(), pl.col("seconds").sum()).collect(engine="streaming").row(0)[1])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.fixture(scope="module")
def long_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "ledger.db"
    ledger = new_ledger(path)
    for name, count in (("many", ROWS), ("some", 1000), ("few", 10)):
        with ledger.session(TENANT) as session:
            session.start_run(made_ledger.run_of(name, MONDAY, 1.0))
        made_ledger.add_stages(ledger, TENANT, name, count)
    ledger.close()
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("how", "rows", "most_mb"), [("filter", 1000, 10), ("sum", ROWS + 1010, 120)])
def test_a_million_stages_are_not_loaded_whole(how: str, rows: int, most_mb: int, long_ledger: Path) -> None:
    """The whole is some 400 MB as a frame; what a question needs is a few batches."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(long_ledger), str(long_ledger.parent), how],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    few, found, grown_mb = done.stdout.split()
    assert (int(few), int(found)) == (10, rows)
    assert float(grown_mb) < most_mb
