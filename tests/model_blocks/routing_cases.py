"""Situations in which a model is chosen, each with the choice worked out by hand.

Four made-up models to enlarge, one thing different between any two; figures that can be checked in the head:

    name      provider   price per item   assumed   quality   cost figure   latency figure   reliability (no history)
    plain     embedded   nothing             0 s*     0.40        1              1               0.9
    fine      official   nothing            20 s      0.80        1              0.5             0.9
    best      official   nothing            60 s      0.90        1              0.25            0.9
    bought    acme       one cent            0 s*     1.00        0.5            1               0.9

    * a millionth of a second, which no figure here shows.

balanced = 0.25 cost + 0.25 latency + 0.35 quality + 0.15 reliability (0.135 without a history):

    plain   0.25  + 0.25   + 0.14  + 0.135 = 0.775
    fine    0.25  + 0.125  + 0.28  + 0.135 = 0.79
    best    0.25  + 0.0625 + 0.315 + 0.135 = 0.7625
    bought  0.125 + 0.25   + 0.35  + 0.135 = 0.86

economy = 0.40, 0.30, 0.15, 0.15:

    plain   0.4 + 0.3   + 0.06  + 0.135 = 0.895
    fine    0.4 + 0.15  + 0.12  + 0.135 = 0.805
    best    0.4 + 0.075 + 0.135 + 0.135 = 0.745
    bought  0.2 + 0.3   + 0.15  + 0.135 = 0.785

premium = 0.05, 0.05, 0.75, 0.15:

    plain   0.05  + 0.05   + 0.3   + 0.135 = 0.535
    fine    0.05  + 0.025  + 0.6   + 0.135 = 0.81
    best    0.05  + 0.0125 + 0.675 + 0.135 = 0.8725
    bought  0.025 + 0.05   + 0.75  + 0.135 = 0.96
"""

from dataclasses import dataclass, field
from typing import Any

from model_blocks.routing_types import Candidate, History, RouteRequest, Rule

NO_TIME = 1e-6  # seconds

PLAIN = Candidate(
    name="plain", capability="upscale", provider="embedded", licence="Apache-2.0", quality=0.40, prior_s=NO_TIME,
    purposes=("commercial", "research", "personal"),
)  # fmt: skip
FINE = PLAIN.model_copy(update={"name": "fine", "provider": "official", "quality": 0.80, "prior_s": 20.0})
BEST = FINE.model_copy(update={"name": "best", "quality": 0.90, "prior_s": 60.0})
BOUGHT = PLAIN.model_copy(update={"name": "bought", "provider": "acme", "quality": 1.0, "price_micro_usd": 10_000})
ALL = {each.name: each for each in (BEST, FINE, PLAIN, BOUGHT)}
LOCAL = ("best", "fine", "plain")


@dataclass(frozen=True)
class Situation:
    """What is asked, what differs from the models above, and what must come of it.

    Attributes:
        names: The candidates, in the registry's order.
        changes: By candidate, what is different about it.
        chosen: The model; empty where the run is refused.
        then: The fallbacks in their order.
        out: Why which candidates were left out.
        why: How the choice was worked out.
    """

    title: str
    why: str
    chosen: str
    then: tuple[str, ...] = ()
    by: str = "score"
    names: tuple[str, ...] = LOCAL
    request: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    out: dict[str, str] = field(default_factory=dict)
    code: str = ""

    @property
    def asked(self) -> RouteRequest:
        return RouteRequest.model_validate({"capability": "upscale", **self.request})

    @property
    def candidates(self) -> list[Candidate]:
        return [ALL[name].model_copy(update=self.changes.get(name, {})) for name in self.names]


def rule(use: str, *fallbacks: str, priority: int = 0, **when: object) -> Rule:
    return Rule.model_validate({"priority": priority, "when": when, "use": use, "fallbacks": fallbacks})


def runs(successes: int, seconds: float, failures: int = 0, p95: float | None = None) -> History:
    return History(successes=successes, failures=failures, median_s=seconds, p95_s=seconds if p95 is None else p95)


ALONE = ("plain",)
RESTRICTED = {"licence": "CC-BY-NC-4.0", "purposes": ("research", "personal")}
GONE = {"available": False}

SITUATIONS = (
    # scores alone
    Situation("one candidate", "there is no other", "plain", names=ALONE),
    Situation("balanced", "0.79 > 0.775 > 0.7625", "fine", ("plain", "best")),
    Situation("economy", "0.895 > 0.805 > 0.745", "plain", ("fine", "best"), request={"quality": "economy"}),
    Situation("premium", "0.8725 > 0.81 > 0.535", "best", ("fine", "plain"), request={"quality": "premium"}),
    Situation("one cent is worth it", "0.86 leads", "bought", ("fine", "plain", "best"), names=tuple(ALL)),
    Situation(
        "three cents are not",
        "30,000 micro-USD give a cost figure of 0.25: 0.0625 + 0.25 + 0.35 + 0.135 = 0.7975 still leads; nine cents "
        "give 0.1: 0.025 + 0.735 = 0.76 is last",
        "fine",
        ("plain", "best", "bought"),
        names=tuple(ALL),
        changes={"bought": {"price_micro_usd": 90_000}},
    ),
    Situation(
        "economy does not buy", "0.895 > 0.805 > 0.785 > 0.745", "plain", ("fine", "bought", "best"),
        names=tuple(ALL), request={"quality": "economy"},
    ),
    Situation(
        "equal scores", "the first in the registry's order has it", "twin-a", ("twin-b",),
        names=("best", "fine"),
        changes={"best": {"name": "twin-a", "quality": 0.8, "prior_s": 20.0}, "fine": {"name": "twin-b"}},
    ),
    # limits
    Situation(
        "half a cent at most", "bought costs 10,000 micro-USD and is out; then as balanced", "fine", ("plain", "best"),
        names=tuple(ALL), request={"max_cost_micro_usd": 5_000}, out={"bought": "cost"},
    ),
    Situation(
        "exactly a cent", "a limit that is met holds", "bought", ("fine", "plain", "best"),
        names=tuple(ALL), request={"max_cost_micro_usd": 10_000},
    ),
    Situation(
        "price per megapixel", "1,500 a megapixel times 4, where the size is not known, is 6,000 > 5,000",
        "fine", ("plain", "best"), names=tuple(ALL), request={"max_cost_micro_usd": 5_000},
        changes={"bought": {"price_micro_usd": 1_500, "price_per": "megapixel"}}, out={"bought": "cost"},
    ),
    Situation(
        "a small item of a known size",
        "1,500 times 2 megapixels is 3,000: allowed; cost figure 10/13: 0.192 + 0.735 = 0.927 leads",
        "bought", ("fine", "plain", "best"), names=tuple(ALL),
        request={"max_cost_micro_usd": 5_000, "megapixels": 2.0},
        changes={"bought": {"price_micro_usd": 1_500, "price_per": "megapixel"}},
    ),
    Situation(
        "ten seconds at most", "20 s and 60 s are out", "plain", request={"max_latency_s": 10},
        out={"best": "latency", "fine": "latency"},
    ),
    Situation(
        "slow in the tail", "fine's median of 20 s would do, its 95th percentile of 40 s does not", "plain",
        request={"max_latency_s": 30}, changes={"fine": {"history": runs(20, 20.0, p95=40.0)}},
        out={"best": "latency", "fine": "latency"},
    ),
    Situation(
        "nothing is quick enough", "even plain is assumed to take more than no time", "", request={"max_latency_s": 0},
        out={"best": "latency", "fine": "latency", "plain": "latency"}, code="no_model_fits",
    ),
    # licence, weights, device, service
    Situation(
        "licence forbids", "fine may not; 0.775 > 0.7625", "plain", ("best",), changes={"fine": RESTRICTED},
        out={"fine": "licence"},
    ),
    Situation(
        "licence allows research", "then as balanced", "fine", ("plain", "best"), changes={"fine": RESTRICTED},
        request={"purpose": "research"},
    ),
    Situation(
        "licences forbid all there is", "the only ones may not", "", names=("best", "fine"),
        changes={"best": RESTRICTED, "fine": RESTRICTED}, out={"best": "licence", "fine": "licence"},
        code="licence_refused",
    ),
    Situation(
        "weights are missing", "best and fine have none here", "plain", changes={"best": GONE, "fine": GONE},
        out={"best": "weights", "fine": "weights"},
    ),
    Situation(
        "not by itself on this device", "premium would take best, which is for cuda alone", "fine", ("plain",),
        request={"quality": "premium"}, changes={"best": {"auto_on": ("cuda",)}}, out={"best": "device"},
    ),
    Situation(
        "an open circuit", "fine is out of service; 0.775 > 0.7625", "plain", ("best",),
        changes={"fine": {"out_of_service": True}}, out={"fine": "out_of_service"},
    ),
    Situation("preferred provider", "0.775 is enough for plain: nobody else is embedded", "plain", ("fine", "best"),
        by="preferred", request={"prefer": "embedded"}),
    Situation("preferred provider is not there", "acme has none here; as balanced", "fine", ("plain", "best"),
        request={"prefer": "acme"}),
    Situation(
        "weights that the user gave", "given weights come first, and nothing takes over from them", "best",
        by="given", changes={"best": {"given": True, "auto_on": ()}}, rules=(rule("plain", priority=9),),
    ),
    # rules
    Situation("a rule", "it names the one with the least score", "best", ("fine", "plain"), by="rule",
        rules=(rule("best"),)),
    Situation("the higher priority", "10 beats 5, whatever the order", "plain", ("fine", "best"), by="rule",
        rules=(rule("best", priority=5), rule("plain", priority=10))),
    Situation("equal priorities", "the first one has it", "best", ("fine", "plain"), by="rule",
        rules=(rule("best", priority=5), rule("plain", priority=5))),
    Situation(
        "a rule's fallback", "best's weights are missing, plain stands behind it in the rule; then fine by score",
        "plain", ("fine",), by="rule", rules=(rule("best", "plain"),), changes={"best": GONE}, out={"best": "weights"},
    ),
    Situation(
        "a rule of nothing that can be used", "best and its fallback are missing: scores", "plain",
        rules=(rule("best", "fine"),), changes={"best": GONE, "fine": GONE}, out={"best": "weights", "fine": "weights"},
    ),
    Situation("large enough for a rule", "4001 > 4000", "plain", ("fine", "best"), by="rule",
        request={"long_side": 4001}, rules=(rule("plain", long_side_above=4000),)),
    Situation("not large enough for a rule", "4000 is not above 4000", "fine", ("plain", "best"),
        request={"long_side": 4000}, rules=(rule("plain", long_side_above=4000),)),
    Situation("a rule about a size that is not known", "it does not hold", "fine", ("plain", "best"),
        rules=(rule("plain", long_side_below=9000),)),
    Situation(
        "all conditions must hold", "the recipe is another one; the lower rule decides", "plain", ("fine", "best"),
        by="rule", request={"recipe": "packshot", "purpose": "personal"},
        rules=(rule("best", priority=9, recipe="enlarge", purpose="personal"), rule("plain", recipe="packshot")),
    ),
    Situation(
        "a rule may use what is not chosen by itself", "the rule's word counts on any device", "best",
        ("fine", "plain"), by="rule", changes={"best": {"auto_on": ()}}, rules=(rule("best"),),
    ),
    Situation(
        "a rule does not lift a limit", "60 s are over 30 s; of the others 0.79 leads", "fine", ("plain",),
        request={"max_latency_s": 30}, rules=(rule("best"),), out={"best": "latency"},
    ),
    # history
    Situation(
        "ten failures",
        "reliability 9/20 = 0.45: fine has 0.655 + 0.0675 = 0.7225; 0.775 > 0.7625 > 0.7225",
        "plain", ("best", "fine"), changes={"fine": {"history": runs(0, 0.0, failures=10)}},
    ),
    Situation(
        "one failure decides nothing here",
        "reliability 9/11 = 0.818: 0.655 + 0.1227 = 0.7777 > 0.775",
        "fine", ("plain", "best"), changes={"fine": {"history": runs(0, 0.0, failures=1)}},
    ),
    Situation(
        "faster than assumed",
        "five items of 20 s: all take a third of what is assumed by best alone, so factor 1/3; expected (5*60/3 + "
        "5*20)/10 = 20 s, which are 60 s of a usual item: nothing changes but reliability 14/15 = 0.933: "
        "best 0.6275 + 0.14 = 0.7675 < 0.775",
        "fine", ("plain", "best"), changes={"best": {"history": runs(5, 20.0)}},
    ),
    Situation(
        "slower than the others",
        "fine 5 times 60 s (ratio 3), best 5 times 60 s (ratio 1): factor 2; fine (5*40 + 5*60)/10 = 50 s, 25 s of a "
        "usual item: 20/45 = 0.444: 0.25 + 0.1111 + 0.28 + 0.14 = 0.7811; best (5*120 + 5*60)/10 = 90 s, 45 s: "
        "20/65 = 0.308: 0.25 + 0.0769 + 0.315 + 0.14 = 0.7819 > 0.7811 > 0.775",
        "best", ("fine", "plain"), changes={"fine": {"history": runs(5, 60.0)}, "best": {"history": runs(5, 60.0)}},
    ),
)  # fmt: skip
