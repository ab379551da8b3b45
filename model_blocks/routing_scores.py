"""How well candidates suit a request, in numbers that a person can check.

Cost and latency are made shares by half points: what costs one US cent, or takes twenty seconds, has 0.5; nothing has
1; three times as much has 0.25. So one candidate, equal ones and free ones are no special cases. Seconds are those of
an item of usual size: with larger items all models take longer, which speaks for none of them. Limits are compared with
the seconds that a tenant's items really take.
"""

import math
from collections.abc import Sequence
from statistics import median

from model_blocks.routing_types import Candidate, Level, RouteRequest, Score

HALF_COST_MICRO_USD = 10_000  # one cent
HALF_LATENCY_S = 20.0
PRIOR_SAMPLES = 5  # so many measured items weigh as much as the assumed time
PRIOR_SUCCESSES, PRIOR_FAILURES = 9, 1  # Beta(9, 1): nine of ten, until there is more to know
FEW = 5  # items; with less, the slowest in twenty is not known
USUAL_MEGAPIXELS = 4.0  # where an item's size is not known
DIGITS = 9  # sums that differ by less are equal, so that ties do not hang on the order of additions

# cost, latency, quality, reliability
WEIGHTS: dict[Level, tuple[float, float, float, float]] = {
    "economy": (0.40, 0.30, 0.15, 0.15),
    "balanced": (0.25, 0.25, 0.35, 0.15),
    "premium": (0.05, 0.05, 0.75, 0.15),
}


def cost_micro_usd(candidate: Candidate, request: RouteRequest) -> int:
    """What an item costs, rounded up; where its size is not known, four megapixels are taken."""
    if candidate.price_per == "item":
        return candidate.price_micro_usd
    return math.ceil(candidate.price_micro_usd * (request.megapixels or USUAL_MEGAPIXELS))


def workload(candidates: Sequence[Candidate]) -> float:
    """How long this tenant's items take, in times of what was assumed: the median over the models that have a history.

    Without it, a model that has worked on large items would be compared with one that was only assumed to.
    """
    known = [(each.history, each.prior_s) for each in candidates if each.history and each.history.successes]
    ratios = [history.median_s / prior_s for history, prior_s in known if history.median_s > 0]
    return median(ratios) if ratios else 1.0


def expected_s(candidate: Candidate, factor: float) -> float:
    """Seconds for an item: (5 * prior * workload + n * median) / (5 + n), with n successes in the history."""
    known = candidate.history.successes if candidate.history else 0
    measured = candidate.history.median_s if candidate.history else 0.0
    return (PRIOR_SAMPLES * candidate.prior_s * factor + known * measured) / (PRIOR_SAMPLES + known)


def slowest_s(candidate: Candidate, factor: float) -> float:
    """What a limit is compared with: the 95th percentile where five items or more are known, else what is expected."""
    if candidate.history and candidate.history.successes >= FEW:
        return candidate.history.p95_s
    return expected_s(candidate, factor)


def reliability(candidate: Candidate) -> float:
    """The share of successes with a prior, (successes + 9) / (all + 10): one failure alone decides little."""
    good = candidate.history.successes if candidate.history else 0
    bad = candidate.history.failures if candidate.history else 0
    return (good + PRIOR_SUCCESSES) / (good + bad + PRIOR_SUCCESSES + PRIOR_FAILURES)


def score(candidate: Candidate, request: RouteRequest, factor: float) -> Score:
    """The candidate's figures and their sum, weighted by the quality that was asked for.

    ``balanced`` is 0.25 cost + 0.25 latency + 0.35 quality + 0.15 reliability; ``economy`` looks at money and time
    (0.40, 0.30, 0.15, 0.15), ``premium`` at quality (0.05, 0.05, 0.75, 0.15). None of them leaves a candidate out.
    """
    seconds, price = expected_s(candidate, factor), cost_micro_usd(candidate, request)
    figures = (
        HALF_COST_MICRO_USD / (HALF_COST_MICRO_USD + price),
        HALF_LATENCY_S / (HALF_LATENCY_S + seconds / factor),
        candidate.quality,
        reliability(candidate),
    )
    total = sum(weight * figure for weight, figure in zip(WEIGHTS[request.quality], figures, strict=True))
    return Score(
        name=candidate.name,
        total=round(total, DIGITS),
        cost=figures[0],
        latency=figures[1],
        quality=figures[2],
        reliability=figures[3],
        expected_s=seconds,
        cost_micro_usd=price,
    )
