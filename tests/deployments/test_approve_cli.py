"""``stillmotion approve``: a paused command says how to go on, and the same command does once it is allowed."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.flows.commands import product_command
from tests.flows.hero_runs import hero_service, stages
from tests.product_photographs import product_photo
from tests.services.paid_service import Service

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_api")]


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    with hero_service(tmp_path / "service", monkeypatch) as running:
        yield running


def _stillmotion(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "deployments.cli", *command], capture_output=True, text=True, check=False
    )


def test_a_paused_command_says_how_to_approve_and_goes_on_once_it_is(service: Service, tmp_path: Path) -> None:
    Image.fromarray(product_photo("mug", 320)).save(tmp_path / "mug.png")
    (tmp_path / "recipe.json").write_text(json.dumps(stages()))
    options = ("--recipe", str(tmp_path / "recipe.json"), "--approve", "spend")

    def run() -> tuple[int | None, str]:
        running = product_command([tmp_path / "mug.png"], tmp_path / "out", *options)
        said, _ = running.communicate(timeout=300)
        return running.returncode, said

    status, said = run()
    assert (status, service.requests) == (3, 0), said
    (line,) = [
        line for line in said.splitlines() if line.startswith("  stillmotion approve") and "--reject" not in line
    ]
    run_id = line.split()[2]
    assert "1 purchase of 0.039 USD at most; nothing was spent on them yet" in said
    listed = json.loads(_stillmotion("runs", "--json").stdout)
    assert [(each["run_id"][:8], each["status"]) for each in listed] == [(run_id, "paused")]
    refused = _stillmotion("approve", "ffffffff")
    assert (refused.returncode, "has no run 'ffffffff'" in refused.stderr) == (1, True)
    approved = _stillmotion("approve", run_id, "--json")
    document = json.loads(approved.stdout)
    assert (approved.returncode, document["decision"], document["goes_on"]) == (0, "approved", "command")
    assert document["command"].startswith("stillmotion product ")
    status, said = run()
    assert (status, service.charges) == (0, 1), said
    (last,) = json.loads(_stillmotion("runs", "--json").stdout)
    assert (last["run_id"][:8], last["status"]) == (run_id, "delivered")
