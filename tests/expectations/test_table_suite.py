"""A table as a whole: what stops a run before any work, and what is only told."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from datasets.catalogue import TableFacts
from expectations.table_suite import TableLimits, judge_table, measures

COLUMNS = (("sku", "String"), ("image_url", "String"), ("price", "Float64"), ("note", "Null"))
FACTS = TableFacts(columns=COLUMNS, rows=100, bad=0, duplicates=0, sha256="a" * 64, bytes=1000)


def codes(facts: TableFacts, last: TableFacts | None = None, **limits: object) -> list[tuple[str, str]]:
    return [(each.code, each.level) for each in judge_table(facts, last, TableLimits.model_validate(limits))]


def test_a_table_as_it_should_be_has_nothing_against_it() -> None:
    assert codes(FACTS) == codes(FACTS, FACTS) == []


def test_an_empty_table_stops_the_run_even_the_first_time() -> None:
    assert codes(replace(FACTS, rows=0)) == [("table_empty", "stop")]
    found = judge_table(replace(FACTS, rows=0), FACTS)
    assert [(each.code, each.level) for each in found] == [
        ("table_empty", "stop"),
        ("table_shrunk", "stop"),
        ("table_shrunk", "stop"),
    ]


def test_a_table_may_shrink_to_its_limit_and_grow_as_it_likes() -> None:
    assert codes(replace(FACTS, rows=80), FACTS) == []
    assert codes(replace(FACTS, rows=10_000), FACTS) == []
    assert codes(replace(FACTS, rows=10), FACTS, shrink=0.9) == []
    (reason, *_others) = judge_table(replace(FACTS, rows=79), FACTS)
    assert (reason.code, reason.level, reason.facts) == ("table_shrunk", "stop", {"rows": 79, "last": 100})
    assert "79 rows" in reason.message
    assert "0.2" in reason.message


def test_rows_that_turn_bad_are_a_shrink_too() -> None:
    found = judge_table(replace(FACTS, bad=21), FACTS)
    assert [(each.code, each.facts) for each in found] == [("table_shrunk", {"rows": 79, "last": 100})]
    assert "usable" in found[0].message


def test_refused_rows_are_told_and_stop_only_beyond_a_share() -> None:
    facts = replace(FACTS, bad=9, duplicates=2, reasons={"sku_missing": 3, "sku_duplicate": 2, "image_missing": 4})
    told = [("sku_missing", "warn"), ("sku_duplicate", "warn"), ("image_refused", "warn")]
    assert codes(facts) == told
    assert codes(facts, bad=0.09) == told
    assert codes(facts, bad=0.08) == [("table_bad", "stop"), *told]


def test_columns_that_are_gone_new_or_of_another_type_are_named() -> None:
    now = replace(
        FACTS,
        columns=(("sku", "String"), ("image_url", "String"), ("price", "String"), ("note", "Int64"), ("x", "Null")),
    )
    found = judge_table(now, FACTS)
    assert [(each.code, each.level, each.facts) for each in found] == [
        ("columns_added", "warn", {"columns": ["x"]}),
        ("columns_retyped", "warn", {"columns": ["price: Float64, now String"]}),
    ]
    assert codes(FACTS, now, columns="stop") == [("columns_missing", "stop"), ("columns_retyped", "stop")]


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.sampled_from([0.0, 0.2, 1.0]))
def test_it_decides_as_the_arithmetic_says(rows: int, bad: int, last_rows: int, last_bad: int, shrink: float) -> None:
    now = replace(FACTS, rows=max(rows, bad), bad=bad)
    last = replace(FACTS, rows=max(last_rows, last_bad), bad=last_bad)
    kept = (1 - shrink) - 1e-12
    shrunk = (last.rows > 0 and now.rows / last.rows < kept) or (last.good > 0 and now.good / last.good < kept)
    stops = {each.code for each in judge_table(now, last, TableLimits(shrink=shrink)) if each.level == "stop"}
    assert ("table_shrunk" in stops) == shrunk
    assert ("table_empty" in stops) == (now.rows == 0)


def test_what_has_nothing_to_compare_with_is_not_known() -> None:
    assert {name for name, value in measures(FACTS, None).items() if value is None} == {
        "rows_kept",
        "good_kept",
        "columns_missing",
        "columns_added",
        "columns_retyped",
    }


def test_limits_are_shares() -> None:
    with pytest.raises(ValidationError):
        TableLimits(shrink=1.5)
