"""The upkeep flow: its form, what real runs find again afterwards, lost runs, models, events, artifacts."""

import json
import os
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.utilities.callables import parameter_schema

from datasets.ledger import ModelInProcess
from datasets.ledger.lineage_rows import OutboxRow
from datasets.ledger.processes import host_name
from datasets.lineage.sinks import EVENTS
from datasets.outputs import OutputPlace, find_output
from datasets.retention import RetentionRules
from datasets.settings import read_settings
from datasets.thermal import AUTOMATIC, Wanted
from flows.opening import open_books
from flows.retention import Retention
from flows.retention_told import remove_artifacts, remove_events
from flows.upkeep import Part, Place
from flows.upkeep_flow import upkeep
from flows.upkeep_order import UpkeepOrder, UpkeepPart
from flows.upkeep_parts import done_parts
from tasks.prefect_stage import value_of
from tests.datasets.ledger_rows import a_run
from tests.flows.test_product import SMALL, run
from tests.photographs import save_product

DAY = timedelta(days=1)
NOW = datetime.now(UTC)


def do(*parts: UpkeepPart, **more: Any) -> dict[str, Part]:
    storage, ledger = open_books(read_settings())
    order = UpkeepOrder(parts=parts, **more)
    return {part.name: part for part in done_parts(Place(read_settings(), storage, ledger, lambda: None), order)}


def retain(days: int, rules: RetentionRules | None = None) -> Any:
    storage, ledger = open_books(read_settings())
    later = (datetime.now(UTC) + days * DAY).timestamp()
    clock = partial(datetime.fromtimestamp, later, UTC)
    return Retention(storage, ledger, rules or RetentionRules(), clock=clock).run()


@pytest.mark.usefixtures("prefect_api")
def test_a_real_run_is_found_again_and_another_recipe_makes_the_pixels_again(tmp_path: Path) -> None:
    photo = save_product(tmp_path / "cup.png")
    first = run(photo)
    removed = retain(20)
    assert removed.things["frames"] >= 3
    assert removed.things.total() == removed.things["frames"]
    again = run(photo)
    assert all(stage.cached for stage in again.items[0].stages)
    stages: list[Any] = list(SMALL)
    wider = [{**each, "width": 168} if "width" in each else each for each in stages]
    other = run(photo, recipe=wider)
    assert (other.items[0].status, len(other.items[0].outputs)) == ("delivered", len(first.items[0].outputs))
    assert retain(500).things["outputs"] >= 1
    storage, _ = open_books(read_settings())
    gone = [find_output(OutputPlace(storage, stage.picture.fingerprint)) for stage in again.items[0].stages]
    assert gone == [None] * len(gone)
    assert storage.list_tree("assets") == {}
    assert run(photo).items[0].status == "delivered"


@pytest.mark.usefixtures("prefect_api")
def test_all_parts_as_a_flow_show_what_came_of_them() -> None:
    state = upkeep(return_state=True)
    done: list[Part] = value_of(state)  # type: ignore[assignment]
    assert [part.name for part in done] == list(UpkeepPart)
    assert [part.failed for part in done] == [None] * len(UpkeepPart)
    with get_client(sync_client=True) as client:
        of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
        (artifact,) = client.read_artifacts(artifact_filter=of_run)
    rows = json.loads(str(artifact.data))
    assert [row["part"] for row in rows] == list(UpkeepPart)


@pytest.mark.usefixtures("prefect_api")
def test_a_part_that_fails_fails_the_flow_and_no_other_part() -> None:
    order = UpkeepOrder(parts=(UpkeepPart.RECONCILE, UpkeepPart.MODELS), usage_export="/nowhere.csv")
    state = upkeep(order, return_state=True)
    assert state.is_failed()
    assert "reconcile" in str(state.message)
    done: list[Part] = value_of(state)  # type: ignore[assignment]
    assert [part.failed is not None for part in done] == [True, False]


def test_its_form_has_bounds_defaults_and_descriptions() -> None:
    schema = parameter_schema(upkeep).model_dump()
    assert not schema["required"]
    order, rules = (schema["definitions"][name]["properties"] for name in ("UpkeepOrder", "RetentionRules"))
    assert set(schema["definitions"]["UpkeepPart"]["enum"]) == set(UpkeepPart)
    assert all(field["description"] for field in (*order.values(), *rules.values()))
    days = [field["anyOf"][0] for name, field in rules.items() if name.endswith("_days")]
    assert [(each["minimum"], each["maximum"]) for each in days] == [(1, 36_500)] * 8


def test_a_dry_run_does_nothing_else() -> None:
    done = do(*UpkeepPart, dry_run=True, retention={"reports_days": None})
    assert list(done) == ["retention"]
    assert done["retention"].facts["dry_run"]


@pytest.mark.usefixtures("prefect_api")
def test_runs_whose_process_is_gone_are_closed() -> None:
    storage, ledger = open_books(read_settings())
    with ledger.session(storage.tenant) as session:
        session.start_run(a_run("lost", pid=2**22 + 1, host=host_name()))
        session.start_run(a_run("alive", heartbeat_at=datetime.now(UTC), host=host_name()))
    assert do(UpkeepPart.RUNS)["runs"].facts["closed"] == ["lost"]
    with ledger.session(storage.tenant) as session:
        assert {record.run_id: record.status for record in session.runs()} == {"lost": "crashed", "alive": "running"}


def test_models_whose_time_is_over_are_cooled_and_dead_processes_forgotten() -> None:
    storage, ledger = open_books(read_settings())
    with ledger.session(storage.tenant) as session:
        session.want_model("over", Wanted("warm", NOW - DAY), by="anna")
        session.want_model("warm", Wanted("warm", NOW + DAY), by="anna")
        for pid in (os.getpid(), 2**22 + 1):
            told = ModelInProcess(host_name(), pid, "warm", "cpu", 1, None, None, 0.0, 1, 0, 0, datetime.now(UTC))
            session.record_model_process(host_name(), pid, [told])
    assert do(UpkeepPart.MODELS)["models"].facts == {"cooled": ["over"], "processes_gone": 1}
    with ledger.session(storage.tenant) as session:
        states = session.model_states()
        assert (states["over"].wanted, states["warm"].wanted.thermal) == (AUTOMATIC, "warm")
        assert [each.pid for each in session.model_processes()] == [os.getpid()]


def test_events_that_were_told_go_and_those_that_wait_stay() -> None:
    storage, ledger = open_books(read_settings())
    with ledger.session(storage.tenant) as session:
        session.post_events([OutboxRow("told", "run-1", "{}"), OutboxRow("waiting", "run-1", "{}")])
        session.mark_delivered("told")
    lines = [json.dumps({"eventTime": at.isoformat()}) for at in (NOW - 2 * DAY, NOW + 2 * DAY)]
    storage.write_bytes(EVENTS, "\n".join([lines[0], "no event", lines[1], ""]).encode())
    before = datetime.now(UTC) + DAY
    assert remove_events(storage, ledger, before, dry_run=True) == 2
    assert remove_events(storage, ledger, before, dry_run=False) == 2
    assert storage.read_bytes(EVENTS).decode() == f"no event\n{lines[1]}\n"
    with ledger.session(storage.tenant) as session:
        assert [each.event_id for each in session.waiting_events(10)] == ["waiting"]
    assert remove_events(storage, ledger, before, dry_run=False) == 0


@pytest.mark.usefixtures("prefect_api")
def test_artifacts_of_runs_long_past_go(tmp_path: Path) -> None:
    summary = run(save_product(tmp_path / "cup.png"))
    storage, ledger = open_books(read_settings())
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(summary.run_id)]))
    with get_client(sync_client=True) as client:
        there = len(client.read_artifacts(artifact_filter=of_run))
        assert remove_artifacts(ledger, storage.tenant, NOW - DAY, dry_run=False) == 0
        later = datetime.now(UTC) + DAY
        assert remove_artifacts(ledger, storage.tenant, later, dry_run=True) == there > 0
        assert remove_artifacts(ledger, storage.tenant, later, dry_run=False) == there
        assert client.read_artifacts(artifact_filter=of_run) == []
