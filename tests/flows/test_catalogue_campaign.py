"""A whole catalogue as a shop has it, through the real command: first run, kills, rerun, a night's changes, memory.

``CATALOGUE_ROWS`` says how many rows. How long the runs took is printed beside the goals, which are those of 10,000
rows on two cores of their own.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from datasets.ledger import open_ledger
from tests.flows.catalogue_shop import Shop
from tests.services.picture_server import serve_apart

pytestmark = [pytest.mark.usefixtures("prefect_api"), pytest.mark.slow]

ROOT = Path(__file__).parents[2]
ROWS = int(os.environ.get("CATALOGUE_ROWS", "400"))
FIRST_S, AGAIN_S = 900.0, 60.0  # for 10,000 rows
CHANGED, GONE, NEW = 37, 12, 5
BROKEN = 50  # one in so many pictures ends in the middle
MEMORY = 1.10


@pytest.fixture
def pictures(tmp_path: Path) -> Iterator[tuple[Shop, str]]:
    """A shop whose picture server is a process of its own; the server's address."""
    shop = Shop(tmp_path / "shop")
    shop.add(ROWS)
    for number in range(BROKEN - 1, ROWS, BROKEN):
        shop.break_picture(number)
    shop.products |= {f"TWIN-{number}": f"p{number:05}.jpg" for number in range(0, ROWS, 40)}
    with serve_apart(shop.served) as address:
        shop.base = f"http://{address}"
        yield shop, address


def command(shop: Shop, address: str, store: Path) -> "subprocess.Popen[str]":
    """``stillmotion catalogue`` in a session of its own."""
    words = ["catalogue", str(shop.table), "--recipe", "thumbnails", "--out", str(store.parent / f"{store.name}-out")]
    environment = {"STILLMOTION_FETCH_ALLOW": address, "STILLMOTION_STORAGE_ROOT": str(store)}
    return subprocess.Popen(
        [sys.executable, "-m", "deployments.cli", *words, "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip


def finished(running: "subprocess.Popen[str]") -> tuple[dict[str, Any], float, float]:
    """What a run came to, its seconds and its peak memory in MiB."""
    begun, peak = time.monotonic(), 0.0
    status = Path(f"/proc/{running.pid}/status")
    assert running.stdout is not None
    while running.poll() is None and not _ready(running):
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        peak = max(peak, float(lines.get("VmHWM", "0 kB").split()[0]) / 1024)
        time.sleep(0.1)
    out, _ = running.communicate(timeout=60)
    return json.loads(out), time.monotonic() - begun, peak


def _ready(running: "subprocess.Popen[str]") -> bool:
    """Whether the document is being written: a pipe that nobody reads would hold it up."""
    import select

    assert running.stdout is not None
    return bool(select.select([running.stdout], [], [], 0)[0])


def counts(address: str) -> dict[str, int]:
    with urllib.request.urlopen(f"http://{address}/counts") as reply:
        return {str(status): int(count) for status, count in json.load(reply).items()}


def told(what: str, rows: int, seconds: float, more: str) -> None:
    print(f"\n{what}: {rows} rows in {seconds:.1f} s ({more})")  # noqa: T201 - to be read


def test_a_catalogue_night_after_night(pictures: tuple[Shop, str], tmp_path: Path) -> None:
    shop, address = pictures
    broken, products = len(range(BROKEN - 1, ROWS, BROKEN)), len(shop.products)
    twins = sum(number % BROKEN == BROKEN - 1 for number in range(0, ROWS, 40))
    shop.write()
    store, out = tmp_path / "store", tmp_path / "store-out" / "pictures"
    for kill in range(3):
        running = command(shop, address, store)
        while len(list(out.glob("*.webp"))) < (kill + 1) * 3 * ROWS // 5:
            assert running.poll() is None
            time.sleep(0.05)
        os.killpg(running.pid, signal.SIGKILL)
        running.wait(timeout=60)
    first, seconds, _ = finished(command(shop, address, store))
    assert first["counts"] == {"delivered": products - broken - twins, "failed": broken + twins}
    told("the rest of the first run", products, seconds, f"the whole of 10,000 may take {FIRST_S:.0f}")
    made = _computed(store)
    assert len(made) == len(set(made))  # nothing was done twice

    before = counts(address)
    again, seconds, _ = finished(command(shop, address, store))
    after = counts(address)
    assert again["changes"] == {"unchanged": products - broken - twins, "failed": broken + twins}
    assert (again["executed"], again["worked"]) == ({}, 0)
    assert after["304"] - before.get("304", 0) == products
    assert after["200"] == before["200"]
    told("nothing changed", products, seconds, f"10,000 may take {AGAIN_S:.0f}")

    good = [number for number in range(1, ROWS) if number % 40 and number % BROKEN != BROKEN - 1]
    for number in good[:CHANGED]:
        shop.put(number, version=1)
    for number in good[CHANGED : CHANGED + GONE]:
        del shop.products[f"P-{number:05}"]
    shop.add(NEW, first=ROWS)
    shop.write()
    third, _, _ = finished(command(shop, address, store))
    assert third["redone"] == CHANGED + NEW
    assert (third["changes"]["changed"], third["changes"]["added"], third["changes"]["retired"]) == (CHANGED, NEW, GONE)
    assert pl.read_parquet(third["manifest"]).filter(pl.col("change") == "retired")["sku"].n_unique() == GONE


def test_memory_does_not_grow_with_the_table(pictures: tuple[Shop, str], tmp_path: Path) -> None:
    shop, address = pictures
    everything = dict(shop.products)
    shop.products = dict(list(everything.items())[: max(100, ROWS // 10)])
    shop.write()
    finished(command(shop, address, tmp_path / "warm"))  # the server is up, files are in the cache
    few, _, small = finished(command(shop, address, tmp_path / "few"))
    shop.products = everything
    shop.write()
    all_of_them, seconds, large = finished(command(shop, address, tmp_path / "all"))
    told("first run", len(everything), seconds, f"10,000 may take {FIRST_S:.0f}; {small:.0f} and {large:.0f} MiB")
    assert few["rows"] < all_of_them["rows"]
    assert large <= MEMORY * small
    shutil.rmtree(tmp_path / "all")


def _computed(store: Path) -> list[str]:
    """Fingerprints of what was computed to its end, in all runs."""
    ledger = open_ledger(f"sqlite:///{store / 'ledger.db'}")
    with ledger.session("default") as session:
        every = [stage for run in session.runs(limit=100) for stage in session.stages(run.run_id)]
    return [stage.fingerprint for stage in every if not stage.cached and stage.error_code is None]
