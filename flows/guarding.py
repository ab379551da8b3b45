"""Guardrails on an item's way: what gates said is written down, what they stopped kept apart, what it saved counted."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from datasets.identity import fingerprint
from datasets.ledger import Avoided, GateRecord, QuarantineRecord
from datasets.ledger.avoided import Reason as AvoidedBy
from expectations.decisions import Decision, ExpectationResult
from expectations.suites import GateName, Suite, suite
from flows.journey_state import Journey
from flows.recipes import INTAKE, Step
from flows.summary import Reason
from tasks.context import current_run
from tasks.ends import StoppedError
from tasks.gate import decide, decision_of, measure, passing
from tasks.gate_config import GateConfig
from tasks.measure import Compared
from tasks.place import Origin, place, placement_of
from tasks.place_config import PlaceConfig
from tasks.stage import Picture, StageOutcome

TWIN = "not_bought_already"  # the expectation that a picture in other bytes fails


@dataclass(frozen=True)
class Stop:
    """Why a guardrail stopped an item, for its owner and for the quarantine."""

    gate: GateName
    picture: str
    reasons: tuple[Reason, ...]


def gate_suite(config: GateConfig) -> Suite:
    """The suite of a gate as the tenant and then the recipe want it."""
    settings = current_run().settings
    return suite(config.gate, settings.gates, {config.gate: config.thresholds})


def pass_gate(journey: Journey, step: Step, pictures: Mapping[str, Picture]) -> Iterator[StageOutcome]:
    """Measure and decide, yielding both as they are done. The picture goes on as it came.

    Raises:
        StoppedError: It is not good enough and nobody released it; it is in quarantine.
    """
    assert isinstance(step.config, GateConfig)
    picture = pictures[step.source]
    measured = measure(journey.item, picture, _compared(journey, step, pictures))
    yield passing(measured, picture)
    outcome = decide(journey.item, measured, gate_suite(step.config))
    decision = decision_of(journey.item, outcome)
    released = not decision.goes_on and is_released(hold_key(step.config.gate, picture))
    if not current_run().dry:
        write_down(journey, step, picture, decision, released=released)
    yield passing(outcome, picture)
    if not decision.goes_on and not released:
        reasons = [reason_of(decision.gate, each) for each in decision.failed if each.level == "stop"]
        raise _stopped(journey, step, Stop(decision.gate, picture.fingerprint, tuple(reasons)))
    passed = [reason_of(decision.gate, each) for each in decision.failed]
    journey.warnings += [replace(reason, level="warning") for reason in passed]  # those of a released item, too


def place_step(journey: Journey, step: Step, pictures: Mapping[str, Picture]) -> StageOutcome:
    """Have the product placed, and count what did not have to be paid.

    Raises:
        NotDeliveredError: It was stopped, deferred or is held.
    """
    assert isinstance(step.config, PlaceConfig)
    source, run = pictures[step.source], current_run()
    released = is_released(hold_key("spend", source, TWIN))
    try:
        outcome = place(
            journey.item, source, step.config, origin=None if released else _origin(journey, step, pictures)
        )
    except StoppedError as error:
        reason = Reason(TWIN, error.message, error.facts, "error")
        twin = str(error.facts["purchase"])
        raise _stopped(journey, step, Stop("spend", source.fingerprint, (reason,)), twin=twin) from error
    if not run.dry:
        _count(journey, outcome)
    return outcome


def _origin(journey: Journey, step: Step, pictures: Mapping[str, Picture]) -> Origin:
    """The photograph, and what was done to it until it came here. Gates change nothing."""
    way = [each.config for each in journey.recipe.way_to(step.source) if not isinstance(each.config, GateConfig)]
    done = {
        "stages": [{"stage": config.stage_name, **config.parameters()} for config in way],
        "models": {capability: model.identity for capability, model in sorted(current_run().models.items())},
    }
    return Origin(pictures[INTAKE], fingerprint(done))


def hold_key(gate: str, picture: Picture | str, expectation: str = "") -> str:
    """What a release is about: one picture at one gate. Another picture is decided anew."""
    digest = picture if isinstance(picture, str) else picture.fingerprint
    return fingerprint({"gate": gate, "picture": digest, "expectation": expectation})


def is_released(key: str) -> bool:
    run = current_run()
    with run.ledger.session(run.storage.tenant, read_only=True) as session:
        return session.is_released(key)


def _compared(journey: Journey, step: Step, pictures: Mapping[str, Picture]) -> Compared | None:
    """With which cutout to compare, at the delivery gate: the one that was placed, unless the recipe names another."""
    assert isinstance(step.config, GateConfig)
    placed = next((each for each in journey.recipe.way_to(step.source) if isinstance(each.config, PlaceConfig)), None)
    name = step.config.cutout or (placed.source if placed else None)
    if step.config.gate != "delivery" or name is None:
        return None
    return Compared(pictures[name], placement_of(pictures[step.source].facts))


def write_down(journey: Journey, step: Step, picture: Picture, decision: Decision, *, released: bool) -> None:
    """Keep what a gate said in the ledger, and for the records of the item's files."""
    run = current_run()
    expectations = [asdict(each) for each in decision.expectations]
    record = GateRecord(
        run_id=run.run_id,
        item=journey.item,
        step=step.name,
        gate=decision.gate,
        picture=picture.fingerprint,
        decision=decision.decision,
        released=released,
        measures=dict(decision.measures),
        expectations=expectations,
        at=datetime.now(UTC),
    )
    with run.ledger.session(run.storage.tenant) as session:
        session.record_gate(record)
    shown = [{"expectation": e.expectation, "success": e.success} for e in decision.expectations if not e.skipped]
    told = {"gate": decision.gate, "decision": decision.decision, "released": released, "expectations": shown}
    journey.guardrails.append(told | {"picture": picture.fingerprint})


def _stopped(journey: Journey, step: Step, stop: Stop, *, twin: str | None = None) -> StoppedError:
    """Put the item into quarantine and count what is not bought now."""
    run = current_run()
    reasons = [each.to_json() for each in stop.reasons]
    words = "; ".join(each.message for each in stop.reasons)
    error = StoppedError(f"the {stop.gate} gate stopped it: {words}", gate=stop.gate, reasons=reasons)
    if run.dry:
        return error
    record = QuarantineRecord(
        hold_key=hold_key(stop.gate, stop.picture, TWIN if twin else ""),
        run_id=run.run_id,
        item=journey.item,
        source=journey.source,
        asset_digest=journey.asset,
        gate=stop.gate,
        picture=stop.picture,
        reasons=reasons,
        stopped_at=datetime.now(UTC),
    )
    with run.ledger.session(run.storage.tenant) as session:
        session.put_in_quarantine(record)
    _avoid_rest(journey, step, stop, twin)
    return error


def _avoid_rest(journey: Journey, step: Step, stop: Stop, twin: str | None) -> None:
    """Everything paid that comes from here on is not bought."""
    run = current_run()
    for later in journey.recipe.from_on(step):
        if not isinstance(later.config, PlaceConfig):
            continue
        declaration = run.paid.adapter.declaration
        evidence: dict[str, Any] = {"gate": stop.gate, "picture": stop.picture}
        evidence |= {"purchase": twin} if twin else {"reasons": [each.to_json() for each in stop.reasons]}
        record = Avoided(
            run_id=run.run_id,
            item=journey.item,
            deliverable_key=fingerprint(
                {"asset": journey.asset, "wish": later.config.wish(declaration.name, declaration.version)}
            ),
            reason="duplicate" if twin else "guardrail_stop",
            micro_usd=declaration.price_of(1),
            evidence=evidence,
        )
        with run.ledger.spending(run.storage.tenant) as session:
            session.avoid(record)


def _count(journey: Journey, outcome: StageOutcome) -> None:
    """Note the charge for the records of the item's files; one that somebody else paid was avoided here."""
    run = current_run()
    key = str(outcome.picture.facts["purchase"])
    with run.ledger.spending(run.storage.tenant) as session:
        purchase = session.find(key)
        if purchase is None:
            return
        charge: dict[str, object] = {
            "purchase": key,
            "service": purchase.adapter,
            "service_version": purchase.adapter_version,
            "reference": purchase.provider_reference,
            "micro_usd": purchase.charged_micro_usd,
            "price_list": purchase.price_list,
            "run_id": purchase.run_id,
            "day": purchase.day,
        }
        journey.charges.append(charge)
        if (purchase.run_id, purchase.item) == (run.run_id, journey.item):
            return
        evidence = {"purchase": key, "run_id": purchase.run_id, "item": purchase.item}
        reason: AvoidedBy = "duplicate" if purchase.run_id == run.run_id else "cache_hit"
        session.avoid(Avoided(run.run_id, journey.item, key, reason, purchase.price_micro_usd, evidence))


def reason_of(gate: str, result: ExpectationResult) -> Reason:
    """An expectation that failed, as the item's owner is told."""
    facts: dict[str, object] = {
        "gate": gate,
        "measure": result.measure,
        "observed": result.observed,
        "bound": result.bound,
    }
    return Reason(result.expectation, result.sentence, facts, "error" if result.level == "stop" else "warning")
