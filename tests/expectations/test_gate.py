"""Gates: every decision by hand, and nothing that was not evaluated ever passes or fails an item."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.errors import RecipeError
from expectations.decisions import Decision
from expectations.gate import Gate, GateError
from expectations.measures import MEASURES, measures_row, measures_table
from expectations.micro_batches import MicroBatcher
from expectations.suites import SUITES, Suite, Threshold, suite
from expectations.validation import Validator

ROOT = Path(__file__).parents[2]
GOOD: dict[str, Any] = {
    "item": "cup",
    "short_side": 800,
    "aspect": 1.0,
    "sharpness": 120.0,
    "luma_mean": 130.0,
    "luma_std": 40.0,
    "clipped_black": 0.0,
    "clipped_white": 0.1,
    "noise": 1.0,
    "blockiness": 1.1,
    "cast": 2.0,
    "coverage": 0.3,
    "pieces": 1,
    "largest_piece": 1.0,
    "holes": 0,
    "border": 0.0,
    "softness": 0.1,
}


def rows(*changes: dict[str, Any]) -> pl.DataFrame:
    return measures_table([GOOD | change for change in changes])


def decided(gate: Gate, **change: Any) -> Decision:
    return gate.decide(rows(change))[0]


@pytest.fixture(scope="module")
def spend() -> Gate:
    return Gate(suite("spend"))


@pytest.mark.parametrize("name", SUITES)
def test_a_good_item_passes_every_gate(name: Any) -> None:
    decision = decided(Gate(suite(name)))
    assert (decision.decision, decision.failed, decision.unknown) == ("pass", (), ())
    assert len(decision.expectations) == len(SUITES[name].thresholds)


@pytest.mark.parametrize(
    ("change", "decision", "failed"),
    [
        ({"coverage": 0.0}, "stop", ["object_found"]),
        ({"coverage": 0.005}, "pass", []),  # bounds belong to what is right
        ({"coverage": 0.99}, "stop", ["not_everything"]),
        ({"border": 0.4}, "stop", ["not_cut_off"]),
        ({"pieces": 9}, "warn", ["few_pieces"]),
        ({"pieces": 9, "largest_piece": 0.3}, "stop", ["one_piece", "few_pieces"]),
        ({"luma_mean": 20.0}, "warn", ["not_dark"]),
        ({"luma_mean": 2.0}, "stop", ["not_black", "not_dark"]),
    ],
)
def test_each_item_is_decided_by_its_own_row(
    spend: Gate, change: dict[str, Any], decision: str, failed: list[str]
) -> None:
    before, made, after = spend.decide(rows({}, change, {}))
    assert (before.decision, after.decision) == ("pass", "pass")
    assert made.decision == decision
    assert [each.expectation for each in made.failed] == failed


def test_a_decision_says_what_was_seen_and_what_was_asked(spend: Gate) -> None:
    decision = decided(spend, border=0.4, phash="00ff00ff00ff00ff")
    assert decision.reasons == ["not_cut_off: border is 0.4, expected at most 0.1"]
    written = decision.to_json()
    assert written["measures"]["phash"] == "00ff00ff00ff00ff"  # type: ignore[index]
    entry = next(each for each in written["expectations"] if each["expectation"] == "not_cut_off")  # type: ignore[attr-defined]
    assert entry == {
        "expectation": "not_cut_off",
        "measure": "border",
        "observed": 0.4,
        "bound": {"max": 0.1},
        "level": "stop",
        "success": False,
        "skipped": False,
    }


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_missing_is_an_error_of_that_item_alone(spend: Gate, value: float | None) -> None:
    first, second = spend.decide(rows({"border": value}, {}))
    assert (first.decision, first.code, first.goes_on) == ("error", "gate_not_evaluated", False)
    assert ([each.measure for each in first.unknown], first.failed) == (["border"], ())
    assert second.decision == "pass"


def test_what_does_not_concern_an_item_is_skipped() -> None:
    decision = decided(Gate(suite("delivery")), fidelity_ssim=None)
    kept = next(each for each in decision.expectations if each.expectation == "product_kept")
    assert (decision.decision, kept.success, kept.skipped) == ("pass", None, True)


def test_a_known_failure_outweighs_a_missing_number(spend: Gate) -> None:
    assert decided(spend, border=None, coverage=0.0).decision == "stop"
    assert decided(spend, border=None, pieces=20).decision == "error"


def test_a_missing_column_is_no_failure_of_the_items(spend: Gate) -> None:
    with pytest.raises(GateError, match="border") as caught:
        spend.decide(rows({}).drop("border"))
    assert caught.value.code == "gate_not_evaluated"


def test_text_in_place_of_numbers_is_refused(spend: Gate) -> None:
    with pytest.raises(GateError, match="numbers in 'border'"):
        spend.decide(rows({}).with_columns(border=pl.lit("much")))


def test_an_evaluation_that_raises_inside_the_library_is_no_decision() -> None:
    """Numbers and text in one column: the library answers ``success=False``, which must not be believed."""
    validator = Validator("spend", {"x": Threshold(measure="coverage", min=0.1)})
    with pytest.raises(GateError, match="could not be evaluated"):
        validator.failing({"coverage": [0.5, "much"]}, 2)


def test_an_incomplete_answer_is_no_decision(spend: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Validator._validate
    monkeypatch.setattr(Validator, "_validate", lambda *a: list(whole(*a))[1:])
    with pytest.raises(GateError, match="no answer"):
        decided(spend)


def test_names_may_repeat_within_a_batch_and_nothing_is_decided_of_nothing(spend: Gate) -> None:
    made = spend.decide(rows({}, {"border": 0.9}, {}))
    assert [(each.item, each.decision) for each in made] == [("cup", "pass"), ("cup", "stop"), ("cup", "pass")]
    assert spend.decide(rows({}).head(0)) == []


def test_values_of_a_set_and_values_that_must_be_there() -> None:
    thresholds = {
        "known": Threshold(measure="phash", one_of=("aa", "bb"), unknown="skip"),
        "hashed": Threshold(measure="phash", not_null=True, level="warn"),
        "sides": Threshold(measure="pieces", one_of=(1, 2)),
    }
    gate = Gate(Suite(gate="spend", thresholds=thresholds))
    made = gate.decide(rows({"phash": "aa"}, {"phash": "cc"}, {"phash": None}, {"phash": "bb", "pieces": 3}))
    assert [(each.decision, [f.expectation for f in each.failed]) for each in made] == [
        ("pass", []),
        ("stop", ["known"]),
        ("warn", ["hashed"]),
        ("stop", ["sides"]),
    ]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(-1, 2) | st.none() | st.just(float("nan")), min_size=1, max_size=64))
def test_decisions_are_those_of_plain_comparison(values: list[float | None]) -> None:
    gate = Gate(Suite(gate="spend", thresholds={"x": Threshold(measure="coverage", min=0.25, max=0.75)}))
    made = gate.decide(rows(*({"coverage": value} for value in values)))
    for value, decision in zip(values, made, strict=True):
        known = value is not None and value == value
        assert decision.decision == ("error" if not known else "pass" if 0.25 <= (value or 0) <= 0.75 else "stop")


def test_concurrent_gates_never_mix_up_their_answers() -> None:
    def judge(number: int) -> list[str]:
        gate = Gate(Suite(gate="spend", thresholds={"x": Threshold(measure="coverage", min=number / 10)}))
        made = gate.decide(rows(*({"coverage": value / 10 + 0.05} for value in range(10))))
        return [each.decision for each in made]

    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(judge, [*range(10)] * 2))
    assert answers == [["stop"] * n + ["pass"] * (10 - n) for n in [*range(10)] * 2]


def test_nothing_heavy_is_imported_before_the_first_decision() -> None:
    code = """
import sys, expectations.gate, expectations.micro_batches, expectations.suites, expectations.measures
expectations.gate.Gate(expectations.suites.suite("spend"))
print(sorted({"great_expectations", "pandas", "scipy", "torch"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_the_library_is_silent_and_tells_nobody() -> None:
    code = """
import socket
def refused(*_): raise AssertionError("the network was used")
socket.socket.connect = socket.getaddrinfo = refused
from expectations.gate import Gate
from expectations.suites import suite
from expectations.measures import measures_row
import numpy as np
print(Gate(suite("intake")).decide(measures_row("cup", np.zeros((9, 9, 3), np.uint8)))[0].decision)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert (done.stdout.strip(), done.stderr) == ("stop", "")


class TestMicroBatches:
    @pytest.fixture
    def gate(self) -> "CountingGate":
        return CountingGate()

    def test_rows_of_many_threads_share_a_validation(self, gate: "CountingGate") -> None:
        with MicroBatcher(gate, most=16, wait_s=20) as batcher, ThreadPoolExecutor(16) as pool:
            borders = [0.0, 0.9] * 8
            made = list(pool.map(lambda n: batcher.decide(rows({"item": str(n), "border": borders[n]})), range(16)))
        assert [(each.item, each.decision) for each in made] == [
            (str(n), "stop" if n % 2 else "pass") for n in range(16)
        ]
        assert gate.sizes == [16]

    def test_a_single_row_waits_no_longer_than_it_should(self, gate: "CountingGate") -> None:
        with MicroBatcher(gate, wait_s=0.3) as batcher:
            batcher.decide(rows({}))
            begun = time.monotonic()
            batcher.decide(rows({}))
            assert 0.3 <= time.monotonic() - begun < 3

    def test_more_rows_than_a_batch_make_several(self, gate: "CountingGate") -> None:
        with MicroBatcher(gate, most=4, wait_s=0.2) as batcher:
            made = [batcher.submit(rows({"item": str(n)})) for n in range(10)]
            assert [each.result().item for each in made] == [str(n) for n in range(10)]
        assert gate.sizes == [4, 4, 2]

    def test_a_row_that_cannot_be_evaluated_harms_no_other(self, gate: "CountingGate") -> None:
        with MicroBatcher(gate, most=2, wait_s=20) as batcher:
            waiting = batcher.submit(rows({}))
            with pytest.raises(GateError, match="border"):
                batcher.submit(rows({}).drop("border"))
            with pytest.raises(GateError, match="one row"):
                batcher.submit(rows({}, {}))
            with pytest.raises(GateError, match="type"):
                batcher.submit(rows({}).with_columns(noise=pl.lit("loud")))
            assert batcher.decide(rows({}).select("item", *sorted(GOOD.keys() - {"item"}))).decision == "pass"
            assert waiting.result().decision == "pass"

    def test_whoever_waits_is_told_when_the_gate_fails(self, gate: "CountingGate") -> None:
        gate.error = GateError("out of order")
        with MicroBatcher(gate, most=2, wait_s=20) as batcher:
            made = [batcher.submit(rows({})) for _ in range(2)]
            for each in made:
                with pytest.raises(GateError, match="out of order"):
                    each.result(timeout=20)
            gate.error = None
            made = [batcher.submit(rows({})) for _ in range(2)]
            assert [each.result(timeout=20).decision for each in made] == ["pass", "pass"]

    def test_closing_decides_what_waits_and_takes_no_more(self, gate: "CountingGate") -> None:
        batcher = MicroBatcher(gate, wait_s=60)
        made = batcher.submit(rows({}))
        batcher.close()
        batcher.close()
        assert made.result(timeout=0).decision == "pass"
        with pytest.raises(GateError, match="closed"):
            batcher.submit(rows({}))
        assert "gate" not in {thread.name for thread in threading.enumerate()}


class CountingGate(Gate):
    def __init__(self) -> None:
        super().__init__(suite("spend"))
        self.sizes: list[int] = []
        self.error: GateError | None = None

    def decide(self, rows: pl.DataFrame) -> list[Decision]:
        self.sizes.append(rows.height)
        if self.error:
            raise self.error
        return super().decide(rows)


class TestSuites:
    def test_every_expectation_asks_for_a_measure_that_exists(self) -> None:
        asked = {each.measure for one in SUITES.values() for each in one.thresholds.values()}
        assert asked - set(MEASURES) == set()

    def test_a_tenant_and_a_recipe_change_what_they_name_and_no_more(self) -> None:
        tenant: Any = {
            "spend": {"not_cut_off": {"max": 0.5}, "few_holes": None},
            "intake": {"sharp": {"level": "stop"}},
        }
        recipe: Any = {"spend": {"not_cut_off": {"level": "warn"}, "wide": {"measure": "aspect", "min": 1.5}}}
        made = suite("spend", tenant, recipe).thresholds
        assert made["not_cut_off"] == Threshold(measure="border", max=0.5, level="warn")
        assert made["wide"] == Threshold(measure="aspect", min=1.5)
        assert set(made) == set(SUITES["spend"].thresholds) - {"few_holes"} | {"wide"}
        assert suite("intake", tenant, recipe).thresholds["sharp"].level == "stop"

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"spend": {"wide": {"measure": "aspekt", "min": 1}}}, "aspekt"),
            ({"spend": {"wide": {"min": 1}}}, "measure"),
            ({"spend": {"not_cut_off": {"maximum": 1}}}, "maximum"),
            ({"spend": {"not_cut_off": {"min": 1, "max": 0}}}, "above"),
            ({"spend": {"not_cut_off": {"max": float("nan")}}}, "max"),
            ({"spend": {"not_cut_off": {"one_of": [1]}}}, "give"),
            ({"spend": {"hash": {"measure": "phash", "min": 1}}}, "text"),
            ({"spend": {"not_there": None}}, "not_there"),
            ({"spent": {}}, "spent"),
        ],
    )
    def test_a_change_that_is_wrong_is_refused_by_name(self, change: Any, said: str) -> None:
        with pytest.raises(RecipeError, match=said):
            suite("spend", change)


def test_a_thousand_rows_are_validated_at_once() -> None:
    gate, many = Gate(suite("spend")), pl.concat([rows({})] * 1000)
    gate.decide(many)
    begun = time.process_time()
    assert len(gate.decide(many)) == 1000
    assert time.process_time() - begun < 1  # 0.17 s on two slow cores


def test_a_dark_picture_is_stopped_by_its_pixels() -> None:
    picture = np.full((300, 300, 3), 3, np.uint8)
    decision = Gate(suite("intake")).decide(measures_row("night", picture))[0]
    assert "not_black" in [each.expectation for each in decision.failed]
    assert decision.decision == "stop"
