"""A photograph that takes its worker down with it fails alone, and a worker that is killed costs no photograph."""

import hashlib
import json
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.flows.commands import ROOT, delivered, product_command, wait_for_line
from tests.photographs import save_product

pytestmark = [pytest.mark.usefixtures("prefect_api"), pytest.mark.slow]

# Python imports this before anything else; a library that crashes on certain bytes could not be told apart from it.
CRASHES_ON_POISON = """
import multiprocessing, os, sys

def crash(event, arguments):
    if event == "open" and "DIGEST" in str(arguments[0]) and multiprocessing.parent_process() is not None:
        os.abort()

sys.addaudithook(crash)
"""


def test_a_photograph_that_crashes_its_worker_fails_alone(tmp_path: Path) -> None:
    names = ["a", "b", "poison", "c", "d", "e"]
    photos = [save_product(tmp_path / "in" / f"{name}.png", 200, 160, n) for n, name in enumerate(names)]
    poison = hashlib.sha256(photos[names.index("poison")].read_bytes()).hexdigest()
    (tmp_path / "sitecustomize.py").write_text(CRASHES_ON_POISON.replace("DIGEST", poison))
    running = product_command(
        photos, tmp_path / "out", "--recipe", "cutout", "--workers", "2", "--json",
        environment={"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
    )  # fmt: skip
    out, said = running.communicate(timeout=300)
    items = {item["item"]: item for item in json.loads(out)["items"]}
    assert running.returncode == 1, said
    assert {name: item["status"] for name, item in items.items()} == {
        name: "failed" if name == "poison" else "delivered" for name in names
    }
    assert [reason["code"] for reason in items["poison"]["reasons"]] == ["worker_lost"]
    assert "Traceback" not in said


def test_killed_workers_cost_no_photograph(tmp_path: Path) -> None:
    photos = [save_product(tmp_path / "in" / f"{n}.png", 300, 240, n) for n in range(8)]
    whole = product_command(photos, tmp_path / "whole", environment={"STILLMOTION_STORAGE_ROOT": "store-whole"})
    _, said = whole.communicate(timeout=300)
    assert whole.returncode == 0, said
    running = product_command(photos, tmp_path / "out", "--workers", "2", "--json")
    for _ in range(2):
        wait_for_line(running, "intake")
        time.sleep(0.3)
        os.kill(_a_worker(running.pid), signal.SIGKILL)
    out, said = running.communicate(timeout=300)
    assert running.returncode == 0, said
    assert delivered(tmp_path / "out") == delivered(tmp_path / "whole")
    assert len(json.loads(out)["items"]) == 8


def _a_worker(pid: int) -> int:
    for child in psutil.Process(pid).children(recursive=True):
        if any("spawn_main" in part for part in child.cmdline()):
            return child.pid
    raise AssertionError("the command has no workers")
