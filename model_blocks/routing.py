"""Which of several models does the work: tenants' rules first, then the best score under the limits that were set.

A decision holds everything it was made from, so it can be made again from its record, and says why it came out so.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from datasets.errors import ModelUnknownError
from model_blocks.routing_scores import cost_micro_usd, score, slowest_s, workload
from model_blocks.routing_types import By, Candidate, Decision, LeftOut, RouteRequest, Rule, Score

FAST_S = 5.0
FINE = 0.7  # quality from which on it is a reason
STEADY = 0.95


class NoModelFitsError(ModelUnknownError):
    """Every candidate was left out; the facts say why each."""

    code = "no_model_fits"


class LicenceRefusedError(ModelUnknownError):
    """The licence does not allow what the run is for."""

    code = "licence_refused"


def route(request: RouteRequest, candidates: Sequence[Candidate], rules: Sequence[Rule] = ()) -> Decision:
    """Choose a model.

    1. Whatever cannot be used is left out: licence, missing weights, out of service, over a limit.
    2. A model whose weights the user gave comes before all.
    3. Of the rules that hold, the one of the highest priority, the first of equals, decides: its model, else its first
       fallback that can be used. If none of them can, it is as if there were no rule.
    4. Of the others, those that do not suit the device are left out, and the best score wins, models of a preferred
       provider before all others. Of equal scores, the first candidate has it.

    Raises:
        LicenceRefusedError: Nothing is left, and a licence is why one of those that could be used is not.
        NoModelFitsError: Nothing is left; the message says why each was left out.
    """
    factor = workload(candidates)
    refusals = {each.name: _refusal(each, request, factor) for each in candidates}
    usable = [each for each in candidates if refusals[each.name] is None]
    suited = [each for each in usable if request.device in each.auto_on or each.given]
    holding = (each for each in _by_priority(rules) if each.when.hold(request) and _names_any(each, candidates))
    rule = next(holding, None)
    by_rule = [each for name in (rule.models if rule else ()) for each in usable if each.name == name]
    scores = {each.name: score(each, request, factor) for each in usable if each in suited or each in by_rule}
    ranked = sorted(suited, key=lambda each: (not _preferred(each, request), -scores[each.name].total))
    given = [each for each in ranked if each.given]
    order = list(dict.fromkeys((*given, *by_rule, *ranked)))
    out = [*(found for found in refusals.values() if found), *(_unsuited(e, request) for e in usable if e not in order)]
    if not order:
        raise _nothing_left(request, candidates, out)
    chosen = order[0]
    by: By = "given" if given else "rule" if by_rule else "preferred" if _preferred(chosen, request) else "score"
    return Decision(
        request=request,
        candidates=tuple(candidates),
        rules=tuple(rules),
        chosen=chosen.name,
        by=by,
        reason=_reason(by, chosen, scores[chosen.name], len(order), rule, request),
        scores=tuple(scores[each.name] for each in candidates if each.name in scores),
        left_out=tuple(out),
        fallbacks=() if given else tuple(each.name for each in order[1:]),
    )


def replay(record: Mapping[str, Any]) -> Decision:
    """The decision again, worked out from what is written down of it: its request, its candidates, its rules."""
    kept = Decision.model_validate(record)
    return route(kept.request, kept.candidates, kept.rules)


def fixed(request: RouteRequest, candidate: Candidate, by: By, reason: str) -> Decision:
    """The decision where nothing was to be decided: a model was named, or a policy says which."""
    return Decision(request=request, candidates=(candidate,), chosen=candidate.name, by=by, reason=reason)


def _by_priority(rules: Sequence[Rule]) -> list[Rule]:
    return sorted(rules, key=lambda rule: -rule.priority)


def _names_any(rule: Rule, candidates: Sequence[Candidate]) -> bool:
    """Whether the rule is about this capability: it names one of its models."""
    return any(each.name in rule.models for each in candidates)


def _preferred(candidate: Candidate, request: RouteRequest) -> bool:
    return candidate.provider == request.prefer


def _refusal(candidate: Candidate, request: RouteRequest, factor: float) -> LeftOut | None:
    """Why a candidate cannot be used at all, or None."""
    price, seconds = cost_micro_usd(candidate, request), slowest_s(candidate, factor)
    name = candidate.name
    if request.purpose not in candidate.purposes:
        words = f"its licence ({candidate.licence}) does not allow a {request.purpose} run"
        return LeftOut(name=name, why="licence", words=words)
    if not candidate.available:
        words = "its weights are not present" + (f"; {candidate.remedy}" if candidate.remedy else "")
        return LeftOut(name=name, why="weights", words=words)
    if candidate.out_of_service:
        return LeftOut(name=name, why="out_of_service", words="it is out of service at the moment")
    if request.max_cost_micro_usd is not None and price > request.max_cost_micro_usd:
        words = f"an item costs {price} micro-USD, {request.max_cost_micro_usd} are allowed"
        return LeftOut(name=name, why="cost", words=words)
    if request.max_latency_s is not None and seconds > request.max_latency_s:
        words = f"an item takes up to {seconds:.3g} s, {request.max_latency_s:g} s are allowed"
        return LeftOut(name=name, why="latency", words=words)
    return None


def _unsuited(candidate: Candidate, request: RouteRequest) -> LeftOut:
    words = f"it is not chosen by itself on {request.device}: made for something else, or too slow; name it, or a rule"
    return LeftOut(name=candidate.name, why="device", words=words)


def _reason(by: By, chosen: Candidate, found: Score, among: int, rule: Rule | None, request: RouteRequest) -> str:
    """Why, in words: ``fast, cost-effective; best score 0.84 of 3``."""
    if by == "given":
        return "its weights were given"
    if by == "rule":
        assert rule is not None
        ahead = rule.models.index(chosen.name)
        spare = f", whose {', '.join(rule.models[:ahead])} cannot be used" if ahead else ""
        return f"a rule of priority {rule.priority}{spare}"
    traits = [
        *(["fast"] if found.expected_s <= FAST_S else []),
        *(["cost-effective"] if found.cost_micro_usd == 0 else []),
        *(["high quality"] if found.quality >= FINE else []),
        *(["reliable"] if found.reliability >= STEADY else []),
    ]
    how = "the only one that can be used" if among == 1 else f"best score {found.total:.3f} of {among}"
    how = f"preferred provider {request.prefer}, {how}" if by == "preferred" else how
    assumed = "; its quality is assumed, not measured" if among > 1 and not chosen.measured else ""
    return f"{', '.join(traits)}; {how}{assumed}" if traits else f"{how}{assumed}"


def _nothing_left(
    request: RouteRequest, candidates: Sequence[Candidate], out: Sequence[LeftOut]
) -> NoModelFitsError | LicenceRefusedError:
    facts: dict[str, object] = {
        "capability": request.capability,
        "purpose": request.purpose,
        "left_out": [each.model_dump() for each in out],
    }
    told = "; ".join(f"{each.name}: {each.words}" for each in out) or "none is registered"
    forbidden = {each.name for each in out if each.why == "licence"}
    restricted = [each for each in candidates if each.name in forbidden]
    message = f"no model can be used to {request.capability}: {told}"
    if not restricted or not (len(restricted) == len(out) or any(each.available for each in restricted)):
        return NoModelFitsError(message, **facts)
    allowed = [purpose for purpose in ("research", "personal") if any(purpose in each.purposes for each in restricted)]
    hint = f"; {' or '.join(f'--purpose {each}' for each in allowed)} would allow it" if allowed else ""
    return LicenceRefusedError(f"{message}{hint}", **facts)
