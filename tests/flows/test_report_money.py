"""What the report says of money and of guardrails, as text: sums, words, escaping."""

from dataclasses import replace

import pytest

from datasets.money import digits_of
from expectations.measures import MEASURES
from expectations.suites import SUITES
from flows.gate_reporting import release_command
from flows.gate_words import FAULTS, LABELS, asked, fault, label, observed, shown
from flows.report import render_report
from flows.report_gates import TWIN
from flows.report_money import Saving, bar, lines, money_rows, usd
from tests.flows.report_samples import (
    BUDGET,
    HOSTILE,
    delivered,
    hostile_paid_run,
    paid_run,
    purse,
    run_of,
    stopped,
    waiting,
)
from tests.flows.test_report import Page


def text_of(*items: object, **changes: object) -> str:
    return Page(render_report(run_of(items, **changes))).text  # type: ignore[arg-type]


def test_the_sums_say_spent_gross_taken_back_cost_of_checks_and_net() -> None:
    said = [(line.title, line.count, line.amount) for line in lines(purse())]
    assert said == [
        ("Spent", 1, "0.0395"),
        ("From the cache", 1, "0.0390"),
        ("Duplicates", 1, "0.0390"),
        ("Stopped by a guardrail", 2, "0.0780"),
        ("Avoided, gross", 4, "0.1560"),
        ("Taken back", None, "−0.0390"),
        ("What the checks cost", None, "−0.0005"),
        ("Avoided, net", None, "0.1165"),
    ]
    assert money_rows(purse())[0] == {"what": "Spent", "pictures": 1, "USD": "0.0395"}


def test_lines_about_nothing_are_left_out() -> None:
    spent_only = purse(savings=(), reversed=0, guard_cost=0)
    assert [line.title for line in lines(spent_only)] == ["Spent"]
    open_ends = [line.title for line in lines(replace(spent_only, held=1, unknown=2))]
    assert open_ends == ["Spent", "On its way", "Perhaps charged"]


def test_the_bar_shares_its_length_by_money() -> None:
    parts = bar(purse(spent=30_000, savings=(Saving("cache_hit", 1, 10_000),), unknown=40_000))
    assert [(part.kind, part.start, part.width) for part in parts] == [
        ("spent", 0.0, 37.5), ("cache_hit", 37.5, 12.5), ("held", 50.0, 50.0)
    ]  # fmt: skip
    assert bar(purse(spent=0, savings=())) == []


@pytest.mark.parametrize(
    ("micro", "decimals", "words"),
    [(0, 2, "0.00"), (39_000, 3, "0.039"), (-500, 4, "−0.0005"), (1_234_567_890_000, 2, "1,234,567.89"),
     (1, 6, "0.000001")],
)  # fmt: skip
def test_amounts_are_exact(micro: int, decimals: int, words: str) -> None:
    assert usd(micro, decimals) == words


@pytest.mark.parametrize(
    ("amounts", "decimals"), [([], 2), ([0, 10_000], 2), ([39_000, 10_000], 3), ([39_000, 50], 5), ([-1], 6)]
)
def test_all_amounts_share_the_fewest_exact_decimals(amounts: list[int], decimals: int) -> None:
    assert digits_of(amounts) == decimals


def test_a_run_without_anything_paid_says_nothing_of_money() -> None:
    page = Page(render_report(run_of((delivered("one"),))))
    assert "USD" not in page.text
    assert "Money" not in page.text
    assert "Cost" not in page.text


def test_budget_service_and_every_item_are_named() -> None:
    page = Page(render_report(paid_run()))
    assert "Budget of this run 0.0500 USD Left of it 0.0105 USD Paid to scenes price list 2026-01" in page.text
    for name, words in (
        ("bought", "bought in this run 0.0390 –"),
        ("blurred", "stopped by a guardrail – 0.0390"),
        ("dear", "put off because the budget is used up – –"),
        ("unsure", "kept back because it may have been charged, 0.0390 kept aside – –"),
    ):
        assert f"{name} {words}" in page.text
    assert "0.0390 USD, bought in this run" in page.text
    assert "Nothing paid: stopped by a guardrail (0.0390 USD avoided)" in page.text


def test_a_stopped_item_says_what_was_seen_and_how_it_goes_on() -> None:
    page = Page(render_report(run_of((stopped("blurred"),))))
    assert "Stopped before paying The cutout was checked. Nothing was paid for it." in page.text
    assert "It is not sharp. Sharpness: 3.14, wanted: at least 8" in page.text
    assert 'stillmotion release blurred --why "..."' in page.text
    assert 'stillmotion release blurred --why "..."' in [button["data-copy"] for button in page.of_class("copy")]
    assert [image["alt"] for image in page.all("img")] == ["blurred, before", "blurred, checked and not published"]
    assert not page.of_class("wipe")
    assert "not met" in page.text


def test_a_stop_after_paying_says_that_it_is_paid_for() -> None:
    item = stopped("scene", stop=replace(stopped("scene").stop, gate="delivery", measured="place"))  # type: ignore[type-var]
    money = replace(paid_run().money, items=(replace(paid_run().money.items[0], item="scene"),))  # type: ignore[type-var, union-attr]
    assert "Stopped before publishing The scene was checked. It is paid for and kept" in text_of(item, money=money)


def test_a_released_item_names_who_released_it_and_offers_no_command() -> None:
    stop = replace(stopped("blurred").stop, released_by="kim", why="it is meant to be soft.")  # type: ignore[type-var]
    words = text_of(stopped("blurred", stop=stop))
    assert "Released by kim: it is meant to be soft. Run the same command again" in words
    assert "stillmotion release" not in words


def test_a_duplicate_leads_to_the_picture_that_was_bought() -> None:
    reason: dict[str, object] = {"code": TWIN, "message": "", "facts": {"duplicate_of": "first"}, "level": "error"}
    page = Page(render_report(run_of((delivered("first"), stopped("second", reasons=[reason])))))
    assert "A picture that shows the same was bought already." in page.text
    assert "#item-1" in [link["href"] for link in page.all("a")]


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        ("deferred", "service_unavailable", "Put off: the service was away scenes did not answer in time."),
        ("held", "outcome_unknown", "Kept back: perhaps it was charged scenes was asked"),
        ("deferred", "anything_else", "Put off Nothing is wrong with the picture. anything_else came"),
    ],
)
def test_waiting_items_say_why_and_what_to_do(status: str, code: str, words: str) -> None:
    said = text_of(waiting("one", status, code, service="scenes"))
    assert words in said
    assert "un the same command again" in said
    assert "Error:" not in said


def test_a_budget_that_is_used_up_shows_its_numbers() -> None:
    item = waiting("one", "deferred", "over_budget", **BUDGET, price_micro_usd=39_000)
    assert "Budget 0.050 USD Spent of it 0.039 USD This picture costs 0.039 USD" in text_of(item)
    month = waiting("one", "deferred", "over_budget", **{**BUDGET, "scope": "month:2026-03"}, price_micro_usd=39_000)
    assert "the month's budget is used up" in text_of(month)


def test_checks_of_delivered_items_are_folded_and_say_what_did_not_apply() -> None:
    page = Page(render_report(run_of((replace(delivered("one"), gates=stopped("one").gates),))))
    assert ["open" in details for details in page.all("details")] == [True, False]
    assert "Shorter side 640 px at least 64 px" in page.text
    assert "Softness of the outline did not apply – at most 70 %" in page.text


def test_hostile_words_about_money_and_gates_stay_words() -> None:
    html = render_report(hostile_paid_run())
    page = Page(html)
    assert len(page.all("script")) == 1
    assert all((image.get("src") or "").startswith("data:image/") for image in page.all("img"))
    assert not [attributes for _, attributes in page.elements if any(name.startswith("on") for name in attributes)]
    assert html.count("<script>") == 1
    assert page.text.count(HOSTILE) > 12


def test_every_measure_and_every_expectation_has_words() -> None:
    assert set(MEASURES) - {"item"} == set(LABELS)
    assert {name for suite in SUITES.values() for name in suite.thresholds} <= set(FAULTS)


@pytest.mark.parametrize(
    ("measure", "value", "words"),
    [("short_side", 1120, "1,120 px"), ("border", 0.1166, "11.7 %"), ("pieces", 3, "3"), ("sharpness", 7.119, "7.12"),
     ("fidelity_rotation", -2.5, "−2.5°"), ("fidelity_detail", 0.3, "0.3 ×"), ("phash", "ff00", "ff00"),
     ("noise", None, "–"), ("sharpness", 12_345.6, "12,346"), ("noise", 0.0, "0"), ("clipped_white", 0.9, "90 %")],
)  # fmt: skip
def test_values_have_their_units(measure: str, value: object, words: str) -> None:
    assert shown(measure, value) == words


@pytest.mark.parametrize(
    ("bound", "words"),
    [({"min": 8.0}, "at least 8"), ({"max": 12}, "at most 12"), ({"min": 1, "max": 2}, "1 to 2"),
     ({"one_of": ["a", "b"]}, "one of a, b"), ({"not_null": True}, "a value")],
)  # fmt: skip
def test_bounds_in_words(bound: dict[str, object], words: str) -> None:
    assert asked("sharpness", bound) == words


def test_a_value_just_below_its_bound_does_not_look_like_it() -> None:
    assert observed("fidelity_visible", 0.97996, {"min": 0.98}) == "97.996 %"
    assert observed("fidelity_visible", 0.98, {"min": 0.98}) == "98 %"


def test_what_a_tenant_adds_falls_back_to_the_measure() -> None:
    assert fault("own_rule", "noise") == "Noise is not as it should be."
    assert label("unheard_of") == "unheard of"


@pytest.mark.parametrize(
    ("item", "tenant", "command"),
    [
        ("cup", "default", 'stillmotion release cup --why "..."'),
        ("a; rm -r $HOME", "default", "stillmotion release 'a; rm -r $HOME' --why \"...\""),
        ("-x", "shop", 'stillmotion release --tenant shop --why "..." -- -x'),
    ],
)
def test_the_command_can_be_pasted(item: str, tenant: str, command: str) -> None:
    assert release_command(item, tenant) == command
