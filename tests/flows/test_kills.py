"""Killed at any moment, a run goes on under the same command and ends with the same bytes."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.photographs import save_product

ROOT = Path(__file__).parents[2]
PHOTOS, KILLS = 4, 4


def command(folder: Path, store: str, workers: int, photos: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "deployments.cli", "product", *photos, "--recipe", "packshot", "--out", str(folder),
         "--workers", str(workers), "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "STILLMOTION_STORAGE_ROOT": store},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )  # fmt: skip


def digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.suffix != ".html"
    }


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path: Path, workers: int) -> None:
    photos = [str(save_product(tmp_path / "in" / f"{n}.png", 400 + 20 * n, 300, n)) for n in range(PHOTOS)]
    whole = command(tmp_path / "whole", str(tmp_path / "store-whole"), workers, photos)
    assert whole.wait(300) == 0
    moments = random.Random(workers)
    for _ in range(KILLS):
        running = command(tmp_path / "out", str(tmp_path / "store"), workers, photos)
        assert running.stderr is not None
        while "intake" not in (line := running.stderr.readline()):
            assert line or running.poll() is None
        time.sleep(moments.uniform(0, 2.5))
        os.killpg(running.pid, signal.SIGKILL) if workers == 1 else os.kill(running.pid, signal.SIGKILL)
        running.communicate()
    last = command(tmp_path / "out", str(tmp_path / "store"), workers, photos)
    out, err = last.communicate(timeout=300)
    assert last.returncode == 0, err
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")
    assert any(stage["cached"] for stage in json.loads(out)["stages"])
    stray = [path for path in tmp_path.rglob("*") if ".part" in path.name]
    assert stray == []
