"""A paid service's key is changed again and again while others buy: nothing fails, and every read is on record."""

import json
import os
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import pytest

from datasets.ledger import Wanted, open_ledger
from datasets.settings import Settings
from datasets.storage import open_storage
from datasets.vault import Vault, open_vault
from flows.services import open_service
from model_blocks.adapters.outcomes import PaidRequest
from tasks.buying import Buyer
from tests.datasets.ledger_rows import PROCESSES, join_all, start
from tests.datasets.vaults import new_tenant, new_value, server_environment
from tests.flows.test_canaries import described
from tests.model_blocks.paid_calls import picture
from tests.services.paid_process import serve_apart
from tests.services.paid_service import Rules, Service

ROTATIONS = 3
THREADS = 2
PATIENCE_S = 120.0
GRACE = timedelta(seconds=60)


def buy_until_told(environment: Mapping[str, str], folder: str, process: int, results: "Queue[Any]") -> None:
    """In a process of its own: each thread buys, one thing after another, until the file ``enough`` is there."""
    os.environ.update(environment)
    with ThreadPoolExecutor(THREADS) as threads:
        names = [f"buyer-{process}-{thread}" for thread in range(THREADS)]
        states = threads.map(_buy_all, names, [folder] * THREADS)
        results.put([state for of_thread in states for state in of_thread])


def _buy_all(name: str, folder: str) -> list[str]:
    settings = Settings()
    ledger = open_ledger(settings.ledger)
    storage = open_storage(settings.storage_root, settings.tenant)
    service = open_service(settings, ledger, name)
    states = []
    while not Path(folder, "enough").exists():
        number = len(states)
        declaration = service.adapter.declaration
        wanted = Wanted(
            purchase_key=f"{name}-{number}",
            run_id=name,
            item=f"item-{number}",
            stage="place",
            adapter=declaration.name,
            adapter_version=declaration.version,
            price_micro_usd=declaration.price_of(1),
            price_list=declaration.price_list,
            policy="hold",
            can_resolve=True,
        )
        request = PaidRequest(f"{name} {number}", image=picture())
        purchase = Buyer(ledger, storage, service, wanted, request, None, lambda: None).buy()
        states.append(purchase.state)
    return states


def rotate_under_load(vault: Vault, service: Service, first: str) -> None:
    """As an operator does it: the service learns the new key, the vault gives it out, the old one is shut out."""
    old = first
    for version in range(2, 2 + ROTATIONS):
        new = new_value()
        service.accept(old, new)
        assert vault.rotate("paid-key", new, grace=GRACE) == version
        wait_until_in_use(vault, version)
        service.accept(new)
        old = new


def wait_until_in_use(vault: Vault, version: int) -> None:
    """Until every buyer has read this version: one that holds the old key is not on its way any more."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        latest = {read.reader: read.version for read in reversed(vault.reads())}
        if len(latest) == 2 * THREADS and set(latest.values()) == {version}:
            return
        time.sleep(0.05)
    raise AssertionError(f"version {version} is not in use after {PATIENCE_S:g} s")


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_no_purchase_fails_while_keys_are_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = Rules(keys=True, look_up=True)
    with serve_apart(tmp_path / "books", rules) as service:
        file = tmp_path / "service.json"
        file.write_text(json.dumps(described(service, deadline_s=60.0)))
        ours = {
            "STILLMOTION_PLACE_SERVICE": str(file),
            "STILLMOTION_TENANT": new_tenant(),
            "STILLMOTION_STORAGE_ROOT": str(tmp_path / "store"),
            "STILLMOTION_MASTER_KEY_FILE": str(tmp_path / "master.key"),
        }
        for name, value in ours.items():
            monkeypatch.setenv(name, value)
        vault, first = open_vault(Settings(), reader="operator"), new_value()
        vault.put("paid-key", first)
        service.accept(first)
        results: Any = PROCESSES.Queue()
        given = server_environment() | ours
        processes = [start(buy_until_told, given, str(tmp_path), number, results) for number in range(2)]
        wait_until_in_use(vault, 1)
        rotate_under_load(vault, service, first)
        (tmp_path / "enough").touch()
        states = [state for _ in processes for state in results.get(timeout=PATIENCE_S)]
        assert join_all(processes) == [0, 0]
        assert Counter(states) == {"settled": len(states)}
        assert service.charges == service.requests == len(states)
    on_record = vault.reads(name="paid-key")
    assert {read.outcome for read in on_record} == {"read"}
    assert len(on_record) == len(states)  # one try each, and no try failed
    assert {read.version for read in on_record} == set(range(1, 2 + ROTATIONS))
