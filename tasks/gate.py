"""Gates as stages: a picture is measured, the row is decided in a micro-batch, and both are kept like any output.

A gate changes no pixel: what comes after it takes the picture that came to it, so that another threshold makes
nothing anew.
"""

from dataclasses import replace
from importlib.metadata import version as installed_version
from typing import Any

from expectations.decisions import Decision, ExpectationResult
from expectations.measures import MEASURES
from expectations.suites import Suite
from expectations.validation import GateError
from tasks.context import current_run
from tasks.measure import Compared, measure_picture
from tasks.prefect_stage import stage_task
from tasks.stage import Picture, StageKey, StageOutcome, StageWork, run_stage

MEASURE_VERSION = 1
VERSION = 1
VALIDATORS = ("great-expectations",)
MEASURERS = ("numpy", "opencv-python-headless")


@stage_task("measure")
def measure(item: str, picture: Picture, compared: Compared | None = None) -> StageOutcome:
    """Measure one picture, and the product it shows against the cutout it was made from."""
    placement = compared.placement if compared else None
    parameters = {
        "compared": compared is not None,
        "placement": [placement.x, placement.y, placement.width] if placement else None,
        "object_found": picture.facts.get("object_found"),
    }
    inputs = [picture.fingerprint, *([compared.cutout.fingerprint] if compared else [])]
    key = StageKey(
        "measure",
        MEASURE_VERSION,
        parameters,
        tuple(("output", digest) for digest in inputs),
        libraries=_versions(MEASURERS),
    )

    def compute(_: object) -> StageWork:
        row = measure_picture(item, picture, compared=compared).row(0, named=True)
        return StageWork(same_as=picture.frames, facts={"measures": {**row, "item": ""}})

    return run_stage(item, key, picture, compute)


@stage_task("gate")
def decide(item: str, measured: StageOutcome, suite: Suite) -> StageOutcome:
    """Decide by a suite what becomes of a picture that was measured."""
    picture = measured.picture
    parameters = {
        "gate": suite.gate,
        "thresholds": {name: each.model_dump(mode="json") for name, each in suite.thresholds.items()},
    }
    key = StageKey("gate", VERSION, parameters, (("output", picture.fingerprint),), libraries=_versions(VALIDATORS))

    def compute(_: object) -> StageWork:
        decision = current_run().gates.decide(suite, {**measures_of(measured), "item": item})
        if decision.decision == "error":
            unknown = ", ".join(each.measure for each in decision.unknown)
            raise GateError(
                f"the {suite.gate} gate could not be evaluated: nothing is known of {unknown}; that says nothing about "
                "the picture; `stillmotion check` shows all measures",
                gate=suite.gate,
                unknown=unknown,
            )
        return StageWork(same_as=picture.frames, facts={"decision": {**decision.to_json(), "item": ""}})

    return run_stage(item, key, picture, compute)


def measures_of(measured: StageOutcome) -> dict[str, Any]:
    """The row of a measured picture, with every column of the measures table."""
    found = measured.picture.facts["measures"]
    assert isinstance(found, dict)
    return {name: found.get(name) for name in MEASURES}


def decision_of(item: str, outcome: StageOutcome) -> Decision:
    """What the gate said, for this item: the same bytes under another name share the output."""
    found: Any = outcome.picture.facts["decision"]
    expectations = tuple(ExpectationResult(**each) for each in found["expectations"])
    return Decision(item, found["gate"], found["decision"], found["measures"], expectations)


def passing(outcome: StageOutcome, picture: Picture) -> StageOutcome:
    """The outcome with the picture that came to the gate, which is what later stages take."""
    return replace(outcome, picture=picture)


def _versions(names: tuple[str, ...]) -> dict[str, str]:
    return {name: installed_version(name) for name in names}
