"""OpenLineage events about runs, built from facts with the library's own classes.

The facts are what the outbox keeps: plain values, written in the transaction of the run's own rows. Importing the
library takes longer than that, so an event is built when it is told; the same facts always give the same event.

Source: OpenLineage 2-0-2; cost rows in the columns of FOCUS 1.2 (FinOps Open Cost and Usage Specification).
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from datasets.identity import canonical_json
from datasets.ledger.lineage_rows import OutboxRow
from datasets.ledger.tables import json_ready
from datasets.money import dollars

Kind = Literal["START", "COMPLETE", "FAIL", "ABORT"]
PRODUCER = "urn:stillmotion"
NAMES = uuid.UUID("7f0d2b3c-57a5-5b39-9f0e-0b6f8b5a1c11")  # of this project's event and run ids


@dataclass(frozen=True)
class DatasetFacts:
    """A file that a run read or published.

    Attributes:
        assertions: Checks of it, in the fields of OpenLineage's Assertion: ``assertion``, ``success``, ``column``, ...
    """

    name: str
    sha256: str | None = None
    bytes: int | None = None
    assertions: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class RunEventFacts:
    """What is told about a run at its start or end.

    Attributes:
        charges: Rows of its cost, as ``cost_row`` makes them.
        message: Why it failed.
    """

    kind: Kind
    run_id: str
    flow: str
    recipe: str
    at: datetime
    version: str = ""
    inputs: Sequence[DatasetFacts] = ()
    outputs: Sequence[DatasetFacts] = ()
    charges: Sequence[Mapping[str, Any]] = ()
    message: str | None = None
    event_id: str = field(default="")

    def row(self) -> OutboxRow:
        """The facts as the outbox keeps them. One run tells of each kind once: the id follows from both."""
        values = asdict(self) | {
            "at": self.at.astimezone(UTC).isoformat(),
            "event_id": str(uuid.uuid5(NAMES, f"{self.run_id} {self.kind}")),
        }
        return OutboxRow(values["event_id"], self.run_id, canonical_json(json_ready(values)))


def cost_row(
    service: str,
    billed_micro_usd: int,
    start: datetime,
    end: datetime,
    *,
    sku: str | None = None,
    resource: str | None = None,
    custom: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """One charge in FOCUS columns; money as decimal text, exact to the micro-dollar.

    Args:
        sku: What of the service was bought.
        resource: The service's own name of what it delivered.
        custom: More columns; their names get the ``x_`` that FOCUS asks for.
    """
    row: dict[str, Any] = {
        "BilledCost": dollars(billed_micro_usd),
        "BillingCurrency": "USD",
        "ChargeCategory": "Usage",
        "ChargePeriodStart": start.astimezone(UTC).isoformat(),
        "ChargePeriodEnd": end.astimezone(UTC).isoformat(),
        "ServiceName": service,
    }
    more = {"SkuId": sku, "ResourceId": resource} | {f"x_{name}": value for name, value in (custom or {}).items()}
    return row | {name: value for name, value in more.items() if value}


def render(facts: str, tenant: str) -> str:
    """The OpenLineage event of some facts, as one line of JSON.

    Args:
        facts: As ``RunEventFacts.row`` wrote them.
        tenant: Whose run it was; part of the names of job and datasets.
    """
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
    from openlineage.client.serde import Serde

    values = json.loads(facts)
    space = f"stillmotion/{tenant}"
    event = RunEvent(
        eventType=RunState[values["kind"]],
        eventTime=values["at"],
        run=Run(runId=_run_uuid(values["run_id"]), facets=_run_facets(values)),
        job=Job(namespace=space, name=f"{values['flow']}.{values['recipe']}"),
        inputs=[_input(space, each) for each in values["inputs"]],
        outputs=[_output(space, each) for each in values["outputs"]],
        producer=PRODUCER,
    )
    return Serde.to_json(event)


def _run_uuid(run_id: str) -> str:
    """OpenLineage's run ids are UUIDs, and so are ours, unless a caller named a run otherwise."""
    try:
        return str(uuid.UUID(run_id))
    except ValueError:
        return str(uuid.uuid5(NAMES, run_id))


def _run_facets(values: Mapping[str, Any]) -> dict[str, Any]:
    from openlineage.client.facet_v2 import RunFacet, error_message_run

    told = RunFacet(producer=PRODUCER).with_additional_properties(
        eventId=values["event_id"], runId=values["run_id"], version=values["version"]
    )
    facets: dict[str, Any] = {"stillmotion_event": told}
    if values["charges"]:
        facets["stillmotion_cost"] = RunFacet(producer=PRODUCER).with_additional_properties(charges=values["charges"])
    if values["message"]:
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(values["message"], "python", producer=PRODUCER)
    return facets


def _input(space: str, each: Mapping[str, Any]) -> Any:
    from openlineage.client.event_v2 import InputDataset
    from openlineage.client.facet_v2 import data_quality_assertions_dataset as quality

    checks = [quality.Assertion(**assertion) for assertion in each["assertions"]]
    facet: dict[str, Any] = {
        "dataQualityAssertions": quality.DataQualityAssertionsDatasetFacet(checks, producer=PRODUCER)
    }
    return InputDataset(space, f"sources/{each['name']}", facets=_version(each), inputFacets=facet if checks else {})


def _output(space: str, each: Mapping[str, Any]) -> Any:
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import output_statistics_output_dataset as statistics

    facet = statistics.OutputStatisticsOutputDatasetFacet(size=each["bytes"], fileCount=1, producer=PRODUCER)
    return OutputDataset(
        space, f"outputs/{each['name']}", facets=_version(each), outputFacets={"outputStatistics": facet}
    )


def _version(each: Mapping[str, Any]) -> dict[str, Any]:
    from openlineage.client.facet_v2 import dataset_version_dataset

    if not each["sha256"]:
        return {}
    return {"version": dataset_version_dataset.DatasetVersionDatasetFacet(each["sha256"], producer=PRODUCER)}
