"""What gates said of an item, and why an item was not delivered, in words: the report's part about guardrails."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from datasets.money import digits_of
from flows.gate_words import asked, fault, label, moment_of, observed
from flows.report_money import usd

TWIN = "not_bought_already"
MADE_BY = {"intake": "The photograph", "cutout": "The cutout", "upscale": "The enlarged cutout", "place": "The scene"}
DECISIONS = {"pass": ("passed", "good"), "warn": ("passed with a remark", "mild"), "stop": ("stopped", "mild")}


@dataclass(frozen=True)
class ReportGate:
    """What one gate said of an item.

    Attributes:
        decision: ``pass``, ``warn`` or ``stop``; ``released``: it went on because somebody let it.
        expectations: ``{expectation, measure, observed, bound, level, success, skipped}`` each.
    """

    gate: str
    decision: str
    released: bool
    expectations: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class ReportStop:
    """How a stopped item may go on.

    Attributes:
        command: What releases it, to be copied.
        measured: The stage whose picture was looked at.
        released_by: Who let it go on since then, and ``why``.
    """

    gate: str
    command: str
    measured: str
    released_by: str | None = None
    why: str | None = None


@dataclass(frozen=True)
class Check:
    """One line of a gate's table. ``state``: ``met``, ``remark``, ``failed`` or ``idle`` (it did not apply)."""

    title: str
    seen: str
    asked: str
    state: str


@dataclass(frozen=True)
class GateView:
    """A gate's table as the template wants it."""

    title: str
    verdict: str
    tone: str
    checks: list[Check]


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: a sentence, what was seen, the code."""

    words: str
    detail: str
    code: str


@dataclass(frozen=True)
class EndView:
    """Why an item was not delivered, and what to do: ``facts`` are pairs of a name and a value."""

    title: str
    words: str
    faults: list[Fault]
    facts: list[tuple[str, str]] = field(default_factory=list)
    then: str = ""
    command: str = ""
    twin: str = ""
    code: str = ""


def gate_views(gates: Sequence[ReportGate]) -> list[GateView]:
    """The tables of all gates, in the order in which they looked."""
    return [_gate_view(gate) for gate in gates]


def _gate_view(gate: ReportGate) -> GateView:
    verdict, tone = DECISIONS.get(gate.decision, (gate.decision, "mild"))
    if gate.released:
        verdict, tone = "released by hand", "mild"
    checks = [_check(each) for each in gate.expectations]
    return GateView(moment_of(gate.gate).capitalize(), verdict, tone, checks)


def _check(found: Mapping[str, Any]) -> Check:
    measure, bound = str(found["measure"]), dict(found["bound"])
    if found["success"] is None:
        return Check(label(measure), "–", asked(measure, bound), "idle")
    state = "met" if found["success"] else "failed" if found["level"] == "stop" else "remark"
    return Check(label(measure), observed(measure, found["observed"], bound), asked(measure, bound), state)


def fault_of(reason: Mapping[str, Any]) -> Fault:
    """A reason in words: a gate's in those of ``gate_words``, any other in its own."""
    code, facts = str(reason.get("code", "")), reason.get("facts") or {}
    if code == TWIN:
        return Fault(fault(code, ""), "", code)
    if "measure" not in facts or "bound" not in facts:
        return Fault(str(reason.get("message", "")), "", code)
    measure, bound = str(facts["measure"]), dict(facts["bound"])
    seen = observed(measure, facts.get("observed"), bound)
    detail = f"{label(measure)}: {seen}, wanted: {asked(measure, bound)}"
    return Fault(fault(code, measure), detail, code)


def end_view(status: str, reasons: Sequence[Mapping[str, Any]], stop: ReportStop | None, paid: int) -> EndView | None:
    """Why an item was stopped, deferred or is held; None for all others.

    Args:
        status: The item's.
        reasons: Those of level ``error``.
        stop: Of a stopped item.
        paid: What it has cost, in micro-USD.
    """
    if stop is not None:
        return _stopped(reasons, stop, paid)
    if status in ("deferred", "held") and reasons:
        return _waiting(reasons[0])
    return None


def _stopped(reasons: Sequence[Mapping[str, Any]], stop: ReportStop, paid: int) -> EndView:
    cost = "It is paid for and kept, not published." if paid else "Nothing was paid for it."
    twin = next((str(each["facts"].get("duplicate_of", "")) for each in reasons if each.get("code") == TWIN), "")
    if stop.released_by is not None:
        then = f"Released by {stop.released_by}: {stop.why or ''} Run the same command again, and it goes on."
    elif twin:
        then = "If it is another product, release it and run the same command again:"
    else:
        then = "Send a better photograph. If this one is right as it is, release it and run the same command again:"
    return EndView(
        title=f"Stopped {moment_of(stop.gate)}",
        words=f"{MADE_BY.get(stop.measured, 'Its picture')} was checked. {cost}",
        faults=[fault_of(each) for each in reasons],
        then=then,
        command="" if stop.released_by is not None else stop.command,
        twin=twin,
    )


def _waiting(reason: Mapping[str, Any]) -> EndView:
    code, facts, message = str(reason["code"]), reason.get("facts") or {}, str(reason["message"])
    if code == "over_budget" and "price_micro_usd" in facts:
        return _over_budget(facts, code)
    service = str(facts.get("service", "the service"))
    told = [Fault(message, "", code)]
    if code == "outcome_unknown":
        return EndView(
            "Kept back: perhaps it was charged",
            f"{service} was asked and it is not known yet whether it charged. Nothing is sent again before that is "
            "known, so that nothing is paid twice.",
            told,
            then="Compare with the provider's list, then run the same command again:",
            command="stillmotion upkeep reconcile",
        )
    if code == "service_unavailable":
        words = f"{service} did not answer in time. Nothing was charged."
        return EndView("Put off: the service was away", words, told, then="Later, run the same command again.")
    if code == "awaiting_approval":
        words = "Everything before the paid service is done. Nothing was spent on it yet."
        return EndView("Waits for a human's yes", words, told, then="Approve it, then run the same command again.")
    return EndView("Put off", "Nothing is wrong with the picture.", told, then="Run the same command again.")


def _over_budget(facts: Mapping[str, Any], code: str) -> EndView:
    names = {"cap": "Budget", "spent": "Spent of it", "held": "Kept aside", "price": "This picture costs"}
    amounts = {words: int(facts[f"{name}_micro_usd"]) for name, words in names.items()}
    decimals = digits_of(amounts.values())
    own = str(facts.get("scope", "")).startswith("run:")
    return EndView(
        "Put off: the budget is used up" if own else "Put off: the month's budget is used up",
        "Nothing is wrong with the picture, and nothing was paid for it.",
        [],
        [(words, f"{usd(amount, decimals)} USD") for words, amount in amounts.items() if amount or words == "Budget"],
        "Raise the budget ("
        + ("--budget" if own else "stillmotion spend --cap")
        + ") and run the same command again; what is delivered already is not paid twice.",
        code=code,
    )
