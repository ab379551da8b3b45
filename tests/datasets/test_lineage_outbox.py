"""Events about runs: nothing is lost, whatever the sink does."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from datasets.errors import SettingsError
from datasets.ledger import Ledger
from datasets.lineage.events import DatasetFacts, RunEventFacts, cost_row, render
from datasets.lineage.outbox import Drained, drain, draining
from datasets.settings import Settings, read_settings
from datasets.storage import Storage, open_storage
from tests.datasets.ledger_rows import NOW, a_run, new_ledger

RUN = "0b9f3b52-0df5-4a55-9a2b-0d6a0b5e3c11"
CHECK = {"assertion": "min_side", "success": False, "column": "width", "expected": "64", "actual": "12"}


class Service(ThreadingHTTPServer):
    """Takes events, or answers as it is told: a status per request, the last one for all to come."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.taken: list[tuple[str, dict[str, Any]]] = []
        self.answers = [201]
        self.delay_s = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/api/v1/lineage"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        service = self.server
        assert isinstance(service, Service)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(service.delay_s)
        status = service.answers.pop(0) if len(service.answers) > 1 else service.answers[0]
        if status < 300:
            service.taken.append((self.headers["Idempotency-Key"], body))
        self.send_response(status)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = new_ledger(tmp_path / "ledger.db")
    yield opened
    opened.close()


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path / "store"), "default")


def settings_for(url: str = "") -> Settings:
    return read_settings(lineage_url=url)


def facts(number: int = 0, **more: Any) -> RunEventFacts:
    values: dict[str, Any] = {"kind": "START", "run_id": f"run-{number}", "flow": "product", "recipe": "packshot"}
    return RunEventFacts(at=NOW + timedelta(seconds=number), **(values | more))


def post(ledger: Ledger, *events: RunEventFacts) -> None:
    with ledger.session("default") as session:
        session.post_events([event.row() for event in events])


def waiting(ledger: Ledger) -> list[str]:
    with ledger.session("default", read_only=True) as session:
        return [event.run_id for event in session.waiting_events(1000)]


@contextmanager
def closed_port() -> Iterator[str]:
    """The address of a port that nobody listens on, kept from others meanwhile."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{kept.getsockname()[1]}/lineage"


def test_an_event_says_what_openlineage_expects() -> None:
    charge = cost_row("paint.example", 12_345_678, NOW, NOW + timedelta(seconds=2), sku="inpaint")
    event = facts(
        kind="COMPLETE",
        run_id=RUN,
        inputs=[DatasetFacts("cup.jpg", "ab" * 32, assertions=[CHECK])],
        outputs=[DatasetFacts("cup-packshot.jpg", "cd" * 32, 1234)],
        charges=[charge],
    )
    told = json.loads(render(event.row().event, "acme"))
    assert (told["eventType"], told["eventTime"]) == ("COMPLETE", "2026-05-04T12:00:00.123456+00:00")
    assert told["schemaURL"].endswith("#/$defs/RunEvent")
    assert told["run"]["runId"] == RUN
    assert told["job"] == {"facets": {}, "namespace": "stillmotion/acme", "name": "product.packshot"}
    (read,), (written,) = told["inputs"], told["outputs"]
    assert (read["name"], read["facets"]["version"]["datasetVersion"]) == ("sources/cup.jpg", "ab" * 32)
    (check,) = read["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert check.items() >= CHECK.items()
    assert (written["name"], written["outputFacets"]["outputStatistics"]["size"]) == ("outputs/cup-packshot.jpg", 1234)
    (row,) = told["run"]["facets"]["stillmotion_cost"]["charges"]
    assert row == {
        "BilledCost": "12.345678",
        "BillingCurrency": "USD",
        "ChargeCategory": "Usage",
        "ChargePeriodStart": "2026-05-04T12:00:00.123456+00:00",
        "ChargePeriodEnd": "2026-05-04T12:00:02.123456+00:00",
        "ServiceName": "paint.example",
        "SkuId": "inpaint",
    }


def test_the_same_facts_are_the_same_event() -> None:
    assert facts(1).row() == facts(1).row()
    ids = {facts(number, kind=kind).row().event_id for number in range(3) for kind in ("START", "FAIL")}
    assert len(ids) == 6
    assert render(facts(1).row().event, "acme") == render(facts(1).row().event, "acme")


def test_events_are_left_with_the_facts_or_not_at_all(ledger: Ledger) -> None:
    def begin() -> None:
        with ledger.session("default") as session:
            session.start_run(a_run("run-1"))
            session.post_events([facts(1).row()])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        begin()
    assert waiting(ledger) == []


def test_the_file_holds_every_event_once_in_order(ledger: Ledger, storage: Storage) -> None:
    post(ledger, *(facts(number) for number in range(70)))  # more than one batch
    assert drain(ledger, storage, settings_for()) == Drained(delivered=70)
    assert drain(ledger, storage, settings_for()) == Drained()
    post(ledger, facts(1))  # told already
    assert drain(ledger, storage, settings_for()) == Drained()
    assert told_in(storage) == [f"run-{number}" for number in range(70)]


def told_in(storage: Storage) -> list[str]:
    lines = storage.read_bytes("events/openlineage.ndjson").decode().splitlines()
    return [json.loads(line)["run"]["facets"]["stillmotion_event"]["runId"] for line in lines]


def test_a_torn_line_does_not_spoil_the_next(ledger: Ledger, storage: Storage) -> None:
    storage.write_bytes("events/openlineage.ndjson", b'{"eventType": "STA')
    post(ledger, facts(1))
    drain(ledger, storage, settings_for())
    lines = storage.read_bytes("events/openlineage.ndjson").decode().splitlines()
    assert len(lines) == 2
    assert json.loads(lines[1])["eventType"] == "START"


def test_an_object_store_gets_an_object_for_each_event(ledger: Ledger) -> None:
    storage = open_storage("memory://lineage", "default")
    post(ledger, facts(1), facts(2))
    assert drain(ledger, storage, settings_for()).delivered == 2
    names = storage.list_names("events/openlineage")
    assert sorted(names) == sorted(f"{facts(number).row().event_id}.json" for number in (1, 2))


def test_a_dead_sink_loses_nothing_and_what_waited_goes_out_later(
    ledger: Ledger, storage: Storage, service: Service
) -> None:
    post(ledger, *(facts(number) for number in range(5)))
    with closed_port() as dead:
        told = drain(ledger, storage, settings_for(dead))
    assert (told.delivered, told.error is not None) == (0, True)
    assert waiting(ledger) == [f"run-{number}" for number in range(5)]
    assert drain(ledger, storage, settings_for(service.url)) == Drained(delivered=5)
    assert [event["run"]["facets"]["stillmotion_event"]["runId"] for _, event in service.taken] == [
        f"run-{number}" for number in range(5)
    ]
    assert [key for key, _ in service.taken] == [facts(number).row().event_id for number in range(5)]


def test_a_service_that_fails_for_a_while_gets_each_event_in_the_end(
    ledger: Ledger, storage: Storage, service: Service
) -> None:
    post(ledger, *(facts(number) for number in range(4)))
    service.answers = [201, 503, 201, 429, 302, 201]
    outcomes = [drain(ledger, storage, settings_for(service.url)).delivered for _ in range(4)]
    assert outcomes == [1, 1, 0, 2]
    assert waiting(ledger) == []
    assert len({key for key, _ in service.taken}) == len(service.taken) == 4


def test_one_event_that_is_refused_does_not_keep_the_others(ledger: Ledger, storage: Storage, service: Service) -> None:
    broken = facts(9, inputs=[DatasetFacts("a", assertions=[{"no": "such field"}])])
    post(ledger, facts(0), broken, facts(1), facts(2))
    service.answers = [201, 422, 201]
    assert drain(ledger, storage, settings_for(service.url)) == Drained(delivered=2, refused=2)
    assert waiting(ledger) == ["run-9", "run-1"]


def test_a_slow_service_costs_no_more_than_the_deadline(ledger: Ledger, storage: Storage, service: Service) -> None:
    post(ledger, *(facts(number) for number in range(50)))
    service.delay_s = 0.1
    begun = time.monotonic()
    told = drain(ledger, storage, settings_for(service.url), deadline_s=0.35)
    assert time.monotonic() - begun < 1.5
    assert 1 <= told.delivered < 10
    assert len(waiting(ledger)) == 50 - told.delivered


def test_two_that_tell_at_once_tell_everything(ledger: Ledger, storage: Storage, service: Service) -> None:
    post(ledger, *(facts(number) for number in range(20)))
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: drain(ledger, storage, settings_for(service.url)), range(2)))
    assert len({key for key, _ in service.taken}) == len(service.taken) == 20


def test_beside_work_a_dead_sink_is_no_matter(ledger: Ledger, storage: Storage) -> None:
    post(ledger, facts(1))
    with closed_port() as dead, draining(ledger, storage, settings_for(dead)):
        pass
    assert waiting(ledger) == ["run-1"]


def test_another_tenants_events_stay_where_they_are(ledger: Ledger, storage: Storage) -> None:
    with ledger.session("acme") as session:
        session.post_events([facts(1).row()])
    assert drain(ledger, storage, settings_for()) == Drained()
    with ledger.session("acme", read_only=True) as session:
        assert len(session.waiting_events(10)) == 1


def test_only_http_addresses_are_taken() -> None:
    with pytest.raises(SettingsError, match="LINEAGE_URL"):
        settings_for("ftp://example.org")


def test_times_are_utc() -> None:
    assert json.loads(facts(0).row().event)["at"] == datetime(2026, 5, 4, 12, 0, 0, 123456, tzinfo=UTC).isoformat()
