"""Interrupted from the keyboard or by a supervisor, a command ends soon, says how to go on, and goes on."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from datasets.ledger import open_ledger
from tests.flows.commands import delivered, product_command, wait_for_line
from tests.photographs import save_product

PATIENCE_S = 5.0
PHOTOS = 4


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_ends_soon_and_goes_on_later(
    tmp_path: Path, workers: int, number: signal.Signals
) -> None:
    photos = [save_product(tmp_path / "in" / f"{n}.png", 500, 400, n) for n in range(PHOTOS)]
    running = product_command(photos, tmp_path / "out", "--workers", str(workers))
    wait_for_line(running, "intake")
    time.sleep(0.5)  # a cutout of these takes longer
    children = psutil.Process(running.pid).children(recursive=True)
    begun = time.monotonic()
    # A terminal's Ctrl-C reaches the workers as well, a supervisor's signal the command alone.
    os.killpg(running.pid, number) if number == signal.SIGINT else os.kill(running.pid, number)
    _, said = running.communicate(timeout=60)
    assert time.monotonic() - begun < PATIENCE_S
    assert running.returncode == 130
    assert "interrupted; the same command goes on where this one stopped" in said
    assert "Traceback" not in said
    assert "distributed" not in said
    psutil.wait_procs(children, timeout=5)
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    ledger = open_ledger(f"sqlite:///{tmp_path / 'store' / 'ledger.db'}")
    with ledger.session("default") as session:
        run = session.find_run("latest")
        assert run.status == "interrupted"
        assert not session.errors(run.run_id)
    again = product_command(photos, tmp_path / "out", "--workers", str(workers))
    _, said = again.communicate(timeout=120)
    assert again.returncode == 0, said
    assert "intake from the cache" in said
    assert len(delivered(tmp_path / "out")) >= PHOTOS
