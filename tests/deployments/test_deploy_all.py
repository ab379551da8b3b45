"""``prefect deploy --all`` with a process worker on a full Prefect server, all in processes of their own."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.deployments.served import ROOT, deployment, ended, eventually, trigger
from tests.photographs import save_product

pytestmark = pytest.mark.slow

PORT = 42557
ADDRESS = f"http://127.0.0.1:{PORT}/api"


@contextlib.contextmanager
def _running(folder: Path, *command: str, environment: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    with (folder / f"{command[0]}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", *command], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
            process.wait()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "PREFECT_HOME": str(tmp_path / "home"),
        "PREFECT_API_URL": ADDRESS,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "DO_NOT_TRACK": "1",
        "STILLMOTION_STORAGE_ROOT": str(tmp_path / "store"),
    }


@pytest.fixture
def client(tmp_path: Path, environment: dict[str, str]) -> Iterator[httpx.Client]:
    with (
        _running(tmp_path, "server", "start", "--port", str(PORT), environment=environment),
        httpx.Client(base_url=ADDRESS, timeout=60, trust_env=False) as client,
    ):
        eventually(lambda: _answers(client), timeout_s=240)
        yield client


def _answers(client: httpx.Client) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return client.get("/health").status_code == 200
    return False


def _limits(environment: dict[str, str], *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "deployments.cli", "limits", *options],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_deployments_are_registered_and_a_worker_runs_them(
    client: httpx.Client, environment: dict[str, str], tmp_path: Path
) -> None:
    made = _limits(environment)
    assert "deployment product/product: 4 declared, not registered" in made.stdout, made.stderr
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    checked = _limits(environment, "--check")
    assert (checked.returncode, checked.stdout) == (0, "all limits are as declared\n"), checked.stderr
    _nightly_comes_second(client)
    with _running(tmp_path, "worker", "start", "--pool", "stillmotion", "--type", "process", environment=environment):
        photo = save_product(tmp_path / "cup.png")
        order = {"photos": [str(photo)], "recipe": "thumbnails", "out": str(tmp_path / "out")}
        run = trigger(client, "product/product", order)
        log = (tmp_path / "worker.log").read_text
        assert ended(client, run["id"], timeout_s=400)["state_type"] == "COMPLETED", log()
    assert list((tmp_path / "out").glob("report.html"))


def _nightly_comes_second(client: httpx.Client) -> None:
    catalogue = deployment(client, "catalogue/catalogue")
    assert (catalogue["work_pool_name"], catalogue["work_queue_name"]) == ("stillmotion", "nightly")
    assert [(each["schedule"]["cron"], each["active"]) for each in catalogue["schedules"]] == [("30 2 * * *", False)]
    upkeep = deployment(client, "upkeep/upkeep")
    assert [(each["schedule"]["cron"], each["active"]) for each in upkeep["schedules"]] == [("15 * * * *", True)]
    queues = [client.get(f"/work_pools/stillmotion/queues/{name}").json() for name in ("by-hand", "nightly")]
    assert [(queue["priority"], queue["concurrency_limit"]) for queue in queues] == [(1, None), (2, 2)]
