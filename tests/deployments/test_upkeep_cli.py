"""``stillmotion upkeep``: exit statuses, documents, what a person reads."""

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from datasets.errors import UsageError
from datasets.settings import read_settings
from datasets.vault import open_vault
from deployments.cli.upkeep import upkeep
from flows.opening import open_books
from flows.upkeep_order import UpkeepPart
from tests.datasets.vaults import new_tenant, new_value
from tests.flows.bought import PRICE, RULES, Shop, described
from tests.services.paid_service import serve

pytestmark = pytest.mark.usefixtures("prefect_api")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setenv("STILLMOTION_TENANT", new_tenant())
    monkeypatch.setenv("STILLMOTION_MASTER_KEY_FILE", str(tmp_path / "keys" / "master.key"))
    with serve(tmp_path / "service", RULES) as service:
        monkeypatch.setenv("STILLMOTION_PLACE_SERVICE", str(described(tmp_path, service)))
        storage, ledger = open_books(read_settings())
        yield Shop(ledger, storage, service)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(upkeep, arguments, standalone_mode=False)


def document(status: int, *arguments: str) -> Any:
    done = run(*arguments, "--json")
    assert (done.exception, done.return_value) == (None, status)
    return json.loads(done.stdout)


def export(shop: Shop, name: str = "usage.csv") -> str:
    Path(name).write_bytes(httpx.get(f"{shop.service.url}/{name}", trust_env=False).content)
    return name


@pytest.mark.parametrize("name", ["usage.csv", "usage.json"])
def test_books_that_agree_end_in_0_and_others_in_3(shop: Shop, name: str) -> None:
    shop.buy("cup")
    agreed = document(0, "reconcile", export(shop, name))
    assert (agreed["status"], agreed["service"], agreed["lines"], agreed["differences"]) == (
        "agreed",
        "paid-test",
        1,
        [],
    )
    lost = shop.buy("lost", "reset_after")
    found = document(3, "reconcile", export(shop, name))
    (one,) = found["differences"]
    assert (one["kind"], one["item"], one["here_micro_usd"], one["there_micro_usd"], one["there_usd"]) == (
        "unknown_resolved", "lost", None, PRICE, 0.039)  # fmt: skip
    assert (one["key"], one["reference"], shop.now(lost).state) == (lost.idempotency_key, "work-000002", "unknown")
    applied = document(0, "reconcile", name, "--apply")
    assert (applied["differences"][0]["is_applied"], applied["answers"][0]["became"]) == (True, "answer_found")
    settled = shop.now(lost)
    assert (settled.state, settled.charged_micro_usd, settled.response is not None) == ("settled", PRICE, True)
    assert document(0, "reconcile", name)["differences"] == []


def test_without_a_look_up_the_lost_answer_has_a_remedy(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STILLMOTION_PLACE_SERVICE")
    lost = shop.buy("lost", "reset_after")
    done = run("reconcile", export(shop), "--apply")
    assert (done.exception, done.return_value) == (None, 0)
    assert "'variation'" in done.stdout
    assert (shop.now(lost).state, shop.now(lost).response) == ("settled", None)


def test_columns_may_be_called_otherwise(shop: Shop) -> None:
    shop.buy("cup")
    rows = httpx.get(f"{shop.service.url}/usage.json", trust_env=False).json()
    with Path("theirs.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("Request", "Cost", "When"))
        writer.writerows((row["request_key"], f"{row['micro_usd'] / 10_000:.1f}", row["time"]) for row in rows)
    maps = ("--map", "key=Request", "--map", "amount=Cost", "--map", "time=When")
    assert document(0, "reconcile", "theirs.csv", *maps, "--unit", "cents")["lines"] == 1
    (one,) = document(3, "reconcile", "theirs.csv", *maps, "--unit", "usd")["differences"]
    assert (one["kind"], one["there_micro_usd"]) == ("other_amount", 3_900_000)
    for wrong in (maps, ("--map", "key"), ("--map", "price=Cost"), ("--map", "key=None", *maps[2:])):
        assert isinstance(run("reconcile", "theirs.csv", *wrong).exception, UsageError)


def test_a_bad_row_is_named_and_nothing_is_applied(shop: Shop) -> None:
    lost = shop.buy("lost", "reset_after")
    Path("bad.csv").write_text(Path(export(shop)).read_text() + "2026-05-04,k,image,r,1,lots\n")
    done = run("reconcile", "bad.csv", "--apply")
    assert isinstance(done.exception, UsageError)
    assert "row 3: micro_usd is no number: 'lots'" in str(done.exception)
    assert shop.now(lost).state == "unknown"


def test_only_a_complete_list_frees_what_it_does_not_name(shop: Shop) -> None:
    never = shop.buy("never", "reset_before", earlier=timedelta(hours=3))
    now = datetime.now(UTC)
    Path("none.csv").write_text("reference,request_key,micro_usd,time\n")
    found = document(0, "reconcile", "none.csv", "--apply")
    assert ("--complete-until" in found["still_unknown"][0]["words"], shop.now(never).state) == (True, "unknown")
    since = ("--complete-since", (now - timedelta(hours=9)).isoformat())
    document(0, "reconcile", "none.csv", *since, "--complete-until", now.isoformat())
    assert shop.now(never).state == "unknown"
    document(0, "reconcile", "none.csv", "--apply", *since, "--complete-until", now.isoformat())
    assert shop.now(never).state == "void"
    for wrong in ("tomorrow", (now + timedelta(hours=1)).isoformat()):
        assert isinstance(run("reconcile", "none.csv", "--complete-until", wrong).exception, UsageError)


def test_look_up_says_what_became_of_each(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert document(0, "look-up") == {"purchases": [], "open": 0}
    lost, never = shop.buy("lost", "reset_after"), shop.buy("never", "reset_before")
    monkeypatch.setenv("STILLMOTION_PLACE_SERVICE", str(described(tmp_path, shop.service, settle_time_s=3600.0)))
    found = document(3, "look-up")
    assert [(one["item"], one["became"], one["charged_micro_usd"]) for one in found["purchases"]] == [
        ("lost", "charged", PRICE),
        ("never", "undecided", None),
    ]
    assert (shop.now(lost).state, shop.now(never).state) == ("settled", "unknown")
    monkeypatch.setenv("STILLMOTION_PLACE_SERVICE", str(described(tmp_path, shop.service)))
    assert "never: not charged:" in run("look-up").stdout
    monkeypatch.delenv("STILLMOTION_PLACE_SERVICE")
    shop.buy("again", "reset_after")
    assert document(3, "look-up")["open"] == 1


def test_the_one_to_schedule_in_a_process_of_its_own(shop: Shop) -> None:
    lost = shop.buy("lost", "reset_after")
    vault = open_vault(read_settings(), reader="test")
    vault.put("short", new_value(), rotate_every=timedelta(seconds=1))
    time.sleep(1.0)
    done = subprocess.run(
        [sys.executable, "-m", "deployments.cli", "upkeep", "run", "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    parts = {part["part"]: part for part in json.loads(done.stdout)["parts"]}
    assert list(parts) == [part for part in UpkeepPart if part is not UpkeepPart.RETENTION]
    assert [one["became"] for one in parts["look-up"]["purchases"]] == ["charged"]
    assert [one["name"] for one in parts["due"]["warnings"]] == ["short"]
    assert shop.now(lost).state == "settled"
    assert document(3, "due")["warnings"][0]["code"] == "secret_rotation_due"


def test_a_sink_that_is_away_fails_its_part_alone(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets.lineage.events import RunEventFacts
    from tests.datasets.test_lineage_outbox import RUN, closed_port

    with shop.ledger.session(shop.tenant) as session:
        session.post_events([RunEventFacts("START", RUN, "product", "hero", datetime.now(UTC)).row()])
    with closed_port() as away:
        monkeypatch.setenv("STILLMOTION_LINEAGE_URL", away)
        found = document(1, "run")
        assert [part["part"] for part in found["parts"] if part["status"] == "failed"] == ["drain"]
        assert document(1, "drain")["status"] == "failed"
    monkeypatch.delenv("STILLMOTION_LINEAGE_URL")
    assert document(0, "drain")["delivered"] == 1
