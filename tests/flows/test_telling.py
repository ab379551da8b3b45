"""What others hear of a run: its start, its end, what it read and wrote, also when nobody listens."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from datasets.ledger import open_ledger
from datasets.ledger.gate_rows import GateRecord
from datasets.lineage.events import render
from datasets.lineage.outbox import drain
from datasets.settings import read_settings
from datasets.storage import open_storage
from flows.order import ProductOrder
from flows.product import run_product
from flows.summary import RunSummary
from flows.telling import tell_end, told_of
from tests.datasets.ledger_rows import NOW, a_run, an_item, new_ledger_url
from tests.datasets.spend_facts import ANSWER, PRICE, Clock, key_of, wish, yours
from tests.datasets.test_lineage_outbox import Service as Sink
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


@contextmanager
def silent_port() -> Iterator[str]:
    """The address of a service that lets connect and then says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/lineage"


@contextmanager
def failing_service() -> Iterator[str]:
    """The address of a service that takes no event now."""
    with Sink() as server:
        server.answers = [500]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.url
        server.shutdown()


@pytest.mark.parametrize("dead", [closed_port, silent_port, failing_service])
def test_a_dead_sink_fails_no_run_and_each_event_is_told_once_it_lives(
    tmp_path: Path, dead: Callable[[], AbstractContextManager[str]]
) -> None:
    photo = save_product(tmp_path / "a.png", 40, 32)
    with dead() as url:
        runs = [run(photo, lineage_url=url) for _ in range(2)]
    assert [each.exit_status for each in runs] == [0, 0]
    ledger = open_ledger(read_settings().ledger)
    assert waiting(ledger) == [each.run_id for each in runs for _ in ("START", "COMPLETE")]
    with Sink() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        deadline = time.monotonic() + 30
        while waiting(ledger) and time.monotonic() < deadline:  # the last run's own attempt may not be over yet
            drain(ledger, open_storage(read_settings().storage_root, "default"), read_settings(lineage_url=server.url))
        server.shutdown()
    heard = [(event["run"]["runId"], event["eventType"]) for _, event in server.taken]
    assert heard == [(each.run_id, kind) for each in runs for kind in ("START", "COMPLETE")]
    assert waiting(ledger) == []


def test_what_a_dead_sink_did_not_hear_the_next_run_tells(tmp_path: Path) -> None:
    photo = save_product(tmp_path / "a.png", 40, 32)
    with closed_port() as dead:
        assert run(photo, lineage_url=dead).exit_status == 0
    assert run(photo).exit_status == 0
    assert [event["eventType"] for event in told()] == ["START", "COMPLETE"] * 2


def expected(name: str, *, success: bool | None, level: str = "stop") -> dict[str, Any]:
    """One expectation as a gate's row holds it; without success it does not concern the picture."""
    facts = {"expectation": name, "measure": "coverage", "observed": 0.25, "bound": {"min": 0.5}, "level": level}
    return facts | {"success": success, "skipped": success is None}


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_an_end_tells_what_gates_said_and_what_was_charged(
    request: pytest.FixtureRequest, tmp_path: Path, database: str
) -> None:
    """Also of a run that came to no end of its own: here one that crashed after it had paid."""
    ledger = open_ledger(new_ledger_url(request, database, tmp_path))
    results = [expected("seen", success=True), expected("large", success=False, level="warn")]
    gate = GateRecord(
        "run-1", "shoe", "g", "spend", "ab" * 32, "warn", False, {}, [*results, expected("x", success=None)], NOW
    )
    clock = Clock()
    with ledger.spending("anna", clock=clock) as session:
        bought = session.sent(yours(session.claim(wish("shoe"))))
        session.claim(wish("boot"))  # never sent
        other = session.sent(yours(session.claim(wish("hat", run_id="run-2"))))
        session.settle(other, charged_micro_usd=1, reference=None, response=ANSWER)
    clock.advance(seconds=2)
    with ledger.spending("anna", clock=clock) as session:
        session.settle(bought, charged_micro_usd=PRICE + 1, reference="r-7", response=ANSWER)
    with ledger.session("anna") as session:
        session.start_run(a_run("run-1"))
        session.save_items("run-1", [an_item()])
        session.record_gate(gate)
        session.finish_run("run-1", "crashed", {})
    with ledger.session("anna") as session:
        tell_end(session, "run-1", told_of(ledger, "anna", "run-1"))
    with ledger.session("anna", read_only=True) as session:
        (left,) = session.waiting_events(10)
    event = json.loads(render(left.event, "anna"))
    ledger.close()
    assert event["eventType"] == "FAIL"
    (read,) = event["inputs"]
    checks = read["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert [(each["assertion"], each["success"], each["severity"]) for each in checks] == [
        ("spend.seen", True, "error"),
        ("spend.large", False, "warn"),
    ]
    assert checks[0].items() >= {"column": "coverage", "expected": '{"min":0.5}', "actual": "0.25"}.items()
    (row,) = event["run"]["facets"]["stillmotion_cost"]["charges"]
    assert row == {
        "BilledCost": "0.040001",
        "BillingCurrency": "USD",
        "ChargeCategory": "Usage",
        "ChargePeriodStart": "2026-05-04T12:00:00+00:00",
        "ChargePeriodEnd": "2026-05-04T12:00:02+00:00",
        "ServiceName": "studio",
        "SkuId": "1",
        "ResourceId": "r-7",
        "x_Item": "shoe",
        "x_PurchaseKey": key_of("shoe"),
        "x_PriceList": "2026-05",
    }
