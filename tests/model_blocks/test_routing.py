"""Routing: the choice in many situations, what it may not depend on, and that a record is enough to make it again."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.errors import ModelUnknownError
from model_blocks.quality import STANDINGS, standing
from model_blocks.registry import MODELS
from model_blocks.routing import replay, route
from model_blocks.routing_candidates import candidate
from model_blocks.routing_scores import WEIGHTS, expected_s, reliability, workload
from model_blocks.routing_types import Candidate, Decision, History, RouteRequest, Rule
from tests.model_blocks.routing_cases import ALL, BEST, FINE, PLAIN, SITUATIONS, Situation, rule, runs


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda each: each.title)
def test_the_choice_is_the_one_worked_out_by_hand(situation: Situation) -> None:
    if not situation.chosen:
        with pytest.raises(ModelUnknownError) as caught:
            route(situation.asked, situation.candidates, situation.rules)
        assert caught.value.code == situation.code
        assert {each["name"]: each["why"] for each in caught.value.facts["left_out"]} == situation.out  # type: ignore[attr-defined]
        assert all(name in caught.value.message for name in situation.out)
        return
    decision = route(situation.asked, situation.candidates, situation.rules)
    assert (decision.chosen, decision.by) == (situation.chosen, situation.by)
    assert decision.fallbacks == situation.then
    assert {each.name: each.why for each in decision.left_out} == situation.out
    assert decision.reason


def test_there_are_thirty_situations_and_no_two_alike() -> None:
    assert len({each.title for each in SITUATIONS}) == len(SITUATIONS) >= 30


def test_scores_are_the_sums_in_the_table() -> None:
    def totals(level: str) -> dict[str, float]:
        asked = RouteRequest.model_validate({"capability": "upscale", "quality": level})
        return {each.name: round(each.total, 6) for each in route(asked, list(ALL.values())).scores}

    assert totals("balanced") == {"plain": 0.775, "fine": 0.79, "best": 0.7625, "bought": 0.86}
    assert totals("economy") == {"plain": 0.895, "fine": 0.805, "best": 0.745, "bought": 0.785}
    assert totals("premium") == {"plain": 0.535, "fine": 0.81, "best": 0.8725, "bought": 0.96}
    assert WEIGHTS["balanced"] == (0.25, 0.25, 0.35, 0.15)
    assert all(sum(weights) == pytest.approx(1) for weights in WEIGHTS.values())


def test_history_and_prior_are_weighed_by_their_number() -> None:
    known = FINE.model_copy(update={"history": runs(15, 40.0)})
    assert workload([known, BEST]) == 2.0  # 40 s instead of 20 s
    assert expected_s(known, 2.0) == 40.0
    assert expected_s(known, 1.0) == 35.0  # (5*20 + 15*40) / 20
    assert expected_s(BEST, 2.0) == 120.0
    assert [
        reliability(FINE.model_copy(update={"history": runs(good, 1.0, bad)}))
        for good, bad in ((0, 0), (10, 0), (0, 10))
    ] == [0.9, 0.95, 0.45]


def test_the_reason_is_in_words() -> None:
    asked = RouteRequest(capability="upscale")
    assert route(asked, [PLAIN]).reason == "fast, cost-effective; the only one that can be used"
    assert route(asked, [FINE, PLAIN]).reason == "cost-effective, high quality; best score 0.790 of 2"
    assumed = FINE.model_copy(update={"measured": False})
    assert route(asked, [assumed, PLAIN]).reason.endswith("of 2; its quality is assumed, not measured")
    assert route(asked, [FINE, PLAIN], [rule("gone", "fine", priority=7)]).reason == (
        "a rule of priority 7, whose gone cannot be used"
    )


def test_a_refusal_names_the_purpose_that_would_allow_it() -> None:
    restricted = FINE.model_copy(update={"purposes": ("research",), "licence": "S-Lab-1.0"})
    with pytest.raises(ModelUnknownError, match=r"fine: its licence \(S-Lab-1.0\).*; --purpose research would allow"):
        route(RouteRequest(capability="upscale"), [restricted])


# properties

_SHARES = st.floats(0, 1)
_SECONDS = st.floats(0.001, 1e6)
_HISTORIES = st.none() | st.builds(
    History, successes=st.integers(0, 50), failures=st.integers(0, 50), median_s=_SECONDS, p95_s=_SECONDS
)
_CHANGES = st.fixed_dictionaries(
    {
        "quality": _SHARES,
        "prior_s": _SECONDS,
        "history": _HISTORIES,
        "price_micro_usd": st.integers(0, 10**7),
        "price_per": st.sampled_from(["item", "megapixel"]),
        "available": st.booleans(),
        "given": st.booleans(),
        "out_of_service": st.booleans(),
        "provider": st.sampled_from(["embedded", "official", "acme"]),
        "purposes": st.sets(st.sampled_from(["commercial", "research"])).map(lambda some: tuple(sorted(some))),
        "auto_on": st.sampled_from([(), ("cpu",), ("cuda",), ("cpu", "cuda")]),
    }
)
_CANDIDATES = st.lists(_CHANGES, min_size=1, max_size=5).map(
    lambda some: [PLAIN.model_copy(update={**each, "name": f"m{number}"}) for number, each in enumerate(some)]
)
_NAMES = st.sampled_from(["m0", "m1", "m2", "elsewhere"])
_RULES = st.lists(
    st.builds(
        lambda use, spare, priority, side: rule(use, *spare, priority=priority, long_side_above=side),
        _NAMES,
        st.lists(_NAMES, max_size=2),
        st.integers(-3, 3),
        st.none() | st.integers(0, 5000),
    ),
    max_size=4,
)
_REQUESTS = st.builds(
    RouteRequest,
    capability=st.just("upscale"),
    quality=st.sampled_from(["economy", "balanced", "premium"]),
    long_side=st.none() | st.integers(1, 9000),
    megapixels=st.none() | st.floats(0.01, 1000),
    max_cost_micro_usd=st.none() | st.integers(0, 10**7),
    max_latency_s=st.none() | _SECONDS,
    prefer=st.sampled_from([None, "embedded", "acme"]),
)


def _routed(asked: RouteRequest, candidates: list[Candidate], rules: list[Rule]) -> Decision | None:
    try:
        return route(asked, candidates, rules)
    except ModelUnknownError:
        return None


@given(_REQUESTS, _CANDIDATES, _RULES)
def test_a_decision_is_made_again_from_its_record(
    asked: RouteRequest, candidates: list[Candidate], rules: list[Rule]
) -> None:
    decision = _routed(asked, candidates, rules)
    if decision is not None:
        assert replay(json.loads(json.dumps(decision.model_dump(mode="json")))) == decision


@given(_REQUESTS, _CANDIDATES, _RULES)
def test_nothing_forbidden_is_chosen_or_falls_back_and_nobody_is_lost(
    asked: RouteRequest, candidates: list[Candidate], rules: list[Rule]
) -> None:
    decision = _routed(asked, candidates, rules)
    if decision is None:
        return
    by_name = {each.name: each for each in candidates}
    order = (decision.chosen, *decision.fallbacks)
    assert len(set(order)) == len(order)
    for name in order:
        assert by_name[name].available
        assert not by_name[name].out_of_service
        assert asked.purpose in by_name[name].purposes
    assert not set(order) & {each.name for each in decision.left_out}
    if decision.by != "given":
        assert {*order, *(each.name for each in decision.left_out)} == set(by_name)


@given(_REQUESTS, _CANDIDATES)
def test_who_was_not_chosen_decides_nothing_by_being_removed(asked: RouteRequest, candidates: list[Candidate]) -> None:
    """Without histories: these tell how long a tenant's items take, whichever model they are of."""
    plain = [each.model_copy(update={"history": None}) for each in candidates]
    decision = _routed(asked, plain, [])
    if decision is not None and decision.fallbacks:
        without = [each for each in plain if each.name != decision.fallbacks[-1]]
        again = route(asked, without)
        assert (again.chosen, again.fallbacks) == (decision.chosen, decision.fallbacks[:-1])


def test_larger_items_swap_no_two_models() -> None:
    """All took ten times as long as assumed: the order is that of models nothing is known of."""
    large = [each.model_copy(update={"history": runs(20, each.prior_s * 10)}) for each in (BEST, FINE)]
    fresh = [each.model_copy(update={"history": runs(20, each.prior_s)}) for each in (BEST, FINE)]
    asked = RouteRequest(capability="upscale")
    one, other = route(asked, large), route(asked, fresh)
    assert [each.total for each in one.scores] == pytest.approx([each.total for each in other.scores])
    assert one.scores[0].expected_s == pytest.approx(10 * other.scores[0].expected_s)


# the table of quality


@pytest.mark.parametrize("facts", MODELS, ids=lambda facts: facts.name)
def test_every_registered_model_has_a_standing(facts: object) -> None:
    known = standing(facts)  # type: ignore[arg-type]
    assert 0 < known.quality < 1
    assert known.seconds > 0
    assert known.source


def test_the_table_speaks_of_registered_models_alone() -> None:
    assert set(STANDINGS) <= {facts.name for facts in MODELS}


def test_what_was_measured_is_that_for_which_real_weights_were_there() -> None:
    assert {name for name, known in STANDINGS.items() if known.measured} == {
        "embedded-upscaler", "realesr-general-x4v3", "realesr-animevideo-v3",
    }  # fmt: skip


def test_official_models_that_suit_stay_before_embedded_ones_however_slow_their_items_are() -> None:
    known = {facts.name: facts for facts in MODELS}
    for seconds in (0.1, 10.0, 10_000.0):
        official = candidate(known["realesr-general-x4v3"], device="cpu")
        slow = official.model_copy(update={"history": runs(50, seconds)})
        assert (
            route(
                RouteRequest(capability="upscale"), [slow, candidate(known["embedded-upscaler"], device="cpu")]
            ).chosen
            == slow.name
        )
