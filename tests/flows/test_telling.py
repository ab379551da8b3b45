"""What others hear of a run: its start, its end, what it read and wrote, also when nobody listens."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from datasets.ledger import open_ledger
from datasets.settings import read_settings
from datasets.storage import open_storage
from flows.order import ProductOrder
from flows.product import run_product
from flows.summary import RunSummary
from tests.datasets.test_lineage_outbox import closed_port, waiting
from tests.photographs import save_product

pytestmark = pytest.mark.usefixtures("prefect_api")
RECIPE = ({"stage": "publish", "format": "png"},)


def run(*photos: Path, **settings: Any) -> RunSummary:
    order = ProductOrder(photos=tuple(map(str, photos)), recipe=RECIPE, out="out")
    return run_product(order, read_settings(**settings))


def told() -> list[dict[str, Any]]:
    """The events in the file, once none waits any more: a slow machine's run does not wait for the last one."""
    deadline = time.monotonic() + 30
    while waiting(open_ledger(read_settings().ledger)) and time.monotonic() < deadline:
        time.sleep(0.05)
    storage = open_storage(read_settings().storage_root, "default")
    return [json.loads(line) for line in storage.read_bytes("events/openlineage.ndjson").splitlines()]


def test_a_run_is_told_of_with_its_inputs_and_outputs(tmp_path: Path) -> None:
    summary = run(save_product(tmp_path / "a.png", 40, 32), tmp_path / "missing.png")
    start, end = told()
    assert [start["eventType"], end["eventType"]] == ["START", "FAIL"]  # one of two items failed
    assert {start["run"]["runId"], end["run"]["runId"]} == {summary.run_id}
    assert [each["name"] for each in start["inputs"]] == ["sources/a.png", "sources/missing.png"]
    (output,) = end["outputs"]
    assert output["name"] == "outputs/a-composed.png"
    assert output["facets"]["version"]["datasetVersion"] == summary.items[0].outputs[0].file.sha256
    assert end["inputs"][0]["facets"]["version"]["datasetVersion"] == summary.items[0].asset


def test_a_dead_sink_fails_no_run_and_the_next_run_tells_all(tmp_path: Path) -> None:
    photo = save_product(tmp_path / "a.png", 40, 32)
    with closed_port() as dead:
        assert run(photo, lineage_url=dead).exit_status == 0
    assert len(waiting(open_ledger(read_settings().ledger))) == 2
    assert run(photo).exit_status == 0
    assert [event["eventType"] for event in told()] == ["START", "COMPLETE"] * 2
    assert waiting(open_ledger(read_settings().ledger)) == []
