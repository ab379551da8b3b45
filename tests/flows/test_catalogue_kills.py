"""Killed in the middle, a catalogue run goes on under the same order: nothing is done twice and nothing is lost."""

import os
import signal
import time
from pathlib import Path

import polars as pl
import pytest

from datasets.ledger import open_ledger
from datasets.settings import read_settings
from tests.flows.catalogue_process import result, start
from tests.flows.catalogue_shop import Shop
from tests.services.picture_server import serve

ROWS = 60


def wait_for_pictures(folder: Path, count: int) -> None:
    give_up = time.monotonic() + 240
    while len(list((folder / "pictures").glob("*.webp"))) < count:
        assert time.monotonic() < give_up
        time.sleep(0.02)


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows are compared with the last whole run: all of them are new, however often it was begun."""
    shop = Shop(tmp_path / "shop")
    shop.add(ROWS)
    with serve(shop.served) as server:
        shop.base = f"http://{server.address}"
        shop.write()
        monkeypatch.setenv("STILLMOTION_FETCH_ALLOW", server.address)
        order = {"table": str(shop.table), "recipe": "thumbnails", "out": str(tmp_path / "out"), "batch_size": 8}
        for kill in range(2):
            running = start(order, tmp_path / "orders")
            wait_for_pictures(tmp_path / "out", 30 + 60 * kill)
            os.killpg(running.pid, signal.SIGKILL)
            running.communicate(timeout=60)
        done = result(start(order, tmp_path / "orders"))
    assert done["changes"] == {"added": ROWS}
    assert done["counts"] == {"delivered": ROWS}
    manifest = pl.read_parquet(done["manifest"])
    assert manifest.height == 3 * ROWS
    assert manifest["sku"].n_unique() == ROWS
    assert not [path for path in tmp_path.rglob("*") if ".part" in path.name]
    ledger = open_ledger(read_settings().ledger)
    with ledger.session("default") as session:
        runs = session.runs()
        assert [run.status for run in runs] == ["delivered", "crashed", "crashed"]
        made = [stage.fingerprint for run in runs for stage in session.stages(run.run_id) if not stage.cached]
        edges = [session.inputs_of(fingerprint) for fingerprint in set(manifest["fingerprint"])]
    assert len(made) == len(set(made)) <= 2 * ROWS
    assert all(edges)  # also of what a killed run had made and had not come to write down
