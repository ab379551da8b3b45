"""``stillmotion models warm``, ``cool`` and ``status`` on a real ledger."""

import json
import os
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click.testing import CliRunner, Result

from datasets.errors import ModelUnknownError, UsageError
from datasets.ledger import Ledger, open_ledger
from datasets.settings import read_settings
from deployments.cli.model_states import moment
from deployments.cli.models import models
from flows.tending import write_statistics
from model_blocks.shelf import ModelShelf
from model_blocks.shelf_facts import ModelKey

NAME = "embedded-upscaler"
NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(models, arguments, standalone_mode=False)


def status(name: str = NAME, *arguments: str) -> dict[str, Any]:
    (found,) = [row for row in json.loads(run("status", "--json", *arguments).stdout) if row["name"] == name]
    assert isinstance(found, dict)
    return found


def ledger() -> Ledger:
    return open_ledger(read_settings().ledger)


def test_a_model_is_warmed_cooled_turned_off_and_let_be() -> None:
    assert status()["thermal"] == "automatic"
    assert "warm until" in run("warm", NAME, "--until", "2h").stdout
    warm = status()
    left = datetime.fromisoformat(warm["warm_until"]) - datetime.now(UTC)
    assert (warm["state"], warm["thermal"]) == ("running", "warm")
    assert timedelta(hours=1, minutes=59) < left <= timedelta(hours=2)
    for arguments, thermal, state in (
        (("warm", "--hot"), "hot", "running"),
        (("cool",), "cold", "running"),
        (("cool", "--off"), "off", "disabled"),
        (("cool", "--automatic"), "automatic", "running"),
    ):
        assert run(*arguments, NAME).return_value == 0
        assert (status()["thermal"], status()["state"]) == (thermal, state)
    assert json.loads(run("warm", NAME, "--hot", "--json").stdout) == [
        {"name": NAME, "thermal": "hot", "warm_until": None}
    ]


def test_a_wish_is_one_tenants_own() -> None:
    run("warm", NAME, "--hot", "--tenant", "anna")
    assert (status(NAME, "--tenant", "anna")["thermal"], status()["thermal"]) == ("hot", "automatic")


def test_the_list_tells_the_thermal_state() -> None:
    run("warm", NAME, "--hot")
    thermal = {row["name"]: row["thermal"] for row in json.loads(run("list", "--json").stdout)}
    assert (thermal[NAME], thermal["embedded-segmenter"]) == ("hot", "automatic")
    heading, *lines = run("list").stdout.splitlines()
    column = heading.index("thermal")
    (line,) = [line for line in lines if f" {NAME} " in line]
    assert line[column:].startswith("hot ")


def test_the_list_is_shown_when_the_ledger_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLMOTION_LEDGER_URL", "sqlite:////proc/nowhere/ledger.db")
    assert run("list").return_value == 0


def test_status_tells_where_a_model_is_loaded_and_which_processes_live() -> None:
    shelf = ModelShelf()
    shelf.get(ModelKey(NAME, "cpu"), lambda: bytearray(b"x") * (8 << 20))
    told = shelf.statistics(tell=True)
    with ledger().session("default") as session:
        write_statistics(session, told)
        gone = session.model_processes()[0]
        session.record_model_process(gone.host, 2**22 + 1, [])
    found = status()
    (process,) = found["processes"]
    assert (process["pid"], process["alive"], process["loads"], process["device"]) == (os.getpid(), True, 1, "cpu")
    assert found["measured_bytes"] == process["bytes"] >= 8 << 20
    (line,) = [line for line in run("status").stdout.splitlines() if line.startswith(NAME)]
    assert f"{gone.host}:{os.getpid()} (cpu, 1/min)" in line


def test_failures_degrade_and_then_disable() -> None:
    with ledger().session("default") as session:
        session.model_failed(NAME, "out of memory")
    assert (status()["state"], status()["last_reason"]) == ("degraded", "out of memory")
    with ledger().session("default") as session:
        for _ in range(2):
            session.model_failed(NAME, "out of memory")
    assert (status()["state"], status()["circuit"]) == ("disabled", "open")
    assert "failed 3 times: out of memory; tried again after" in run("status").stdout
    with ledger().session("default") as session:
        later = datetime.now(UTC) + timedelta(hours=1)
        session.model_tried(NAME, at=later)
    assert (status()["state"], status()["circuit"]) == ("degraded", "half_open")


def test_a_model_without_its_weights_is_offline() -> None:
    assert status("realesrgan-x4plus")["state"] == "offline"
    (line,) = [line for line in run("status").stdout.splitlines() if line.startswith("realesrgan-x4plus ")]
    assert "weights missing" in line


def test_times_are_durations_or_moments() -> None:
    assert moment(None, NOW) == NOW + timedelta(hours=1)
    assert moment("90m", NOW) == moment("1.5 h", NOW) == NOW + timedelta(minutes=90)
    assert moment("2026-05-04T18:00", NOW) == moment("2026-05-04T20:00+02:00", NOW) == NOW + timedelta(hours=6)
    for wrong in ("soon", "2w", "-1h", "2026-05-04T11:59"):
        with pytest.raises(UsageError):
            moment(wrong, NOW)


def test_bad_usage_is_refused() -> None:
    assert isinstance(run("warm", NAME, "--hot", "--until", "2h").exception, UsageError)
    assert isinstance(run("cool", NAME, "--off", "--automatic").exception, UsageError)
    assert isinstance(run("warm", "nonsense").exception, ModelUnknownError)


def test_services_are_asked_how_they_are(tmp_path: Path) -> None:
    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    def declared(name: str, port: int, health: str) -> str:
        service = f"http://127.0.0.1:{port}"
        facts = {"kind": "http", "name": name, "version": "1", "endpoint": f"{service}/restyle", "loopback": True}
        (tmp_path / f"{name}.json").write_text(json.dumps(facts | {"health": service + health, "tries": 1}))
        return str(tmp_path / f"{name}.json")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Health)
    Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    well, busy = declared("well", port, "/health"), declared("busy", port, "/elsewhere")
    try:
        assert status("well", "--adapter", well)["state"] == "running"
        assert status("busy", "--adapter", busy)["state"] == "degraded"
        assert run("warm", "--adapter", well).stdout == "well: ready\n"
        assert run("warm", "--adapter", "mock").stdout == "mock: ready\n"
    finally:
        server.shutdown()
        server.server_close()
    gone = status("well", "--adapter", well)
    assert gone["state"] == "offline"
    (line,) = [line for line in run("status", "--adapter", well).stdout.splitlines() if line.startswith("well ")]
    assert "cannot be reached" in line
    assert isinstance(run("warm").exception, UsageError)
