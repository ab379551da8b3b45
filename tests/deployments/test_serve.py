"""``stillmotion serve`` as its users meet it: real server, runner and cluster, started, used, hurt, and ended."""

import os
import signal
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
import pytest

from tests.deployments.served import (
    Served,
    deployment,
    ended,
    eventually,
    first_stage,
    moment,
    serving,
    trigger,
)
from tests.photographs import save_product

pytestmark = pytest.mark.slow

ACCEPTED_S, STARTED_S = 0.3, 6.0  # most that a trigger may take, and its first stage
TRIES = 4  # of which the best counts: what else the machine does only adds


def _order(photos: list[Path], out: Path) -> dict[str, object]:
    return {"photos": [str(photo) for photo in photos], "recipe": "thumbnails", "out": str(out)}


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    return _photographs(tmp_path / "photos", 2)


def _photographs(folder: Path, count: int) -> list[Path]:
    return [save_product(folder / f"{number}.png", hue=number) for number in range(count)]


def test_runs_start_at_once_once_and_by_themselves(tmp_path: Path, photos: list[Path]) -> None:
    with serving(tmp_path / "served", "--port", "42517") as served, served.client() as client:
        _starts_at_once(client, photos, tmp_path)
        _a_repeated_key_starts_one_run(client, photos, tmp_path)
        _cron_fires_by_itself(client, photos, tmp_path)
        assert served.process.poll() is None


def _starts_at_once(client: httpx.Client, photos: list[Path], out: Path) -> None:
    started = list[float]()
    while len(started) < TRIES and min(started, default=STARTED_S) >= STARTED_S:
        asked = datetime.now(UTC)
        run = trigger(client, "product/product", _order(photos, out / f"out-{len(started)}"))
        assert ended(client, run["id"])["state_type"] == "COMPLETED"
        started.append((first_stage(client, run["id"]) - asked).total_seconds())
    assert min(started) < STARTED_S, started
    assert list((out / "out-0").rglob("*.jpg")) + list((out / "out-0").rglob("*.webp"))


def _a_repeated_key_starts_one_run(client: httpx.Client, photos: list[Path], out: Path) -> None:
    key, order = uuid4().hex, _order(photos, out / "once")
    where = deployment(client, "product/product")["id"]
    accepted, runs = list[float](), set[str]()
    while len(accepted) < 3 or (len(accepted) < 10 * TRIES and min(accepted) >= ACCEPTED_S):
        asked = time.perf_counter()
        body = {"parameters": {"order": order}, "idempotency_key": key}
        runs.add(client.post(f"/deployments/{where}/create_flow_run", json=body).json()["id"])
        accepted.append(time.perf_counter() - asked)
    assert min(accepted) < ACCEPTED_S, accepted
    assert len(runs) == 1
    assert ended(client, runs.pop())["run_count"] == 1


def _cron_fires_by_itself(client: httpx.Client, photos: list[Path], out: Path) -> None:
    where = deployment(client, "product/product")["id"]
    schedule = {
        "schedule": {"cron": "* * * * *", "timezone": "UTC"},
        "active": True,
        "parameters": {"order": _order(photos, out / "scheduled")},
    }
    made = client.post(f"/deployments/{where}/schedules", json=[schedule]).json()[0]["id"]
    asked = {
        "flow_runs": {"state": {"type": {"any_": ["RUNNING", "COMPLETED"]}}, "deployment_id": {"any_": [where]}},
        "sort": "EXPECTED_START_TIME_DESC",
    }

    def fired() -> dict[str, str] | None:
        runs = client.post("/flow_runs/filter", json=asked).json()
        return next((run for run in runs if run["auto_scheduled"]), None)

    run = eventually(fired, timeout_s=130)
    client.delete(f"/deployments/{where}/schedules/{made}")
    assert moment(run["start_time"]) - moment(run["expected_start_time"]) < timedelta(seconds=15)
    assert ended(client, run["id"])["state_type"] == "COMPLETED"


def test_parts_that_die_come_back_and_one_interrupt_ends_all(tmp_path: Path, photos: list[Path]) -> None:
    with serving(tmp_path / "served", "--port", "42527") as served, served.client() as client:
        _survives(served, client, photos, tmp_path)
        _second_one_is_refused(tmp_path / "served")
        family = served.family()
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(60) == 0, served.lines
        assert served.lines[-1].endswith("ended")
        assert not any("was killed" in line for line in served.lines), served.lines
        gone, alive = psutil.wait_procs(family, timeout=5)
        assert (len(gone) > 3, alive) == (True, [])
    assert (tmp_path / "served" / "home" / "stillmotion-api" / "server.json").stat().st_mode & 0o077 == 0


def _survives(served: Served, client: httpx.Client, photos: list[Path], out: Path) -> None:
    """Each part is killed in turn; then a run goes through all of them."""
    for name in ("server", "dask", "starter", "runner"):
        before = served.parts()[name]
        before.kill()
        served.wait_for(f"the {name} ended with status -9; starting it again", timeout_s=30)
        eventually(partial(_is_another, served, name, before.pid))
    run = trigger(client, "product/product", _order(photos, out / "after"))
    assert ended(client, run["id"], timeout_s=240)["state_type"] == "COMPLETED"


def _is_another(served: Served, name: str, before: int) -> bool:
    part = served.parts().get(name)
    return part is not None and part.pid != before


def _second_one_is_refused(folder: Path) -> None:
    with pytest.raises(AssertionError, match=r"already runs in .* end that one"), serving(folder):
        pass


def test_a_run_goes_on_when_its_runner_dies(tmp_path: Path) -> None:
    photos = _photographs(tmp_path / "photos", 12)
    with serving(tmp_path / "served", "--port", "42537") as served, served.client() as client:
        order = _order(photos, tmp_path / "out") | {"recipe": "packshot"}
        run = trigger(client, "product/product", order)
        eventually(lambda: client.get(f"/flow_runs/{run['id']}").json()["state_type"] == "RUNNING")
        os.kill(served.parts()["runner"].pid, signal.SIGKILL)
        found = ended(client, run["id"], timeout_s=400)
        assert (found["state_type"], found["run_count"]) == ("COMPLETED", 1)
