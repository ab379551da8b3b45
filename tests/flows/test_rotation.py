"""A paid service's key is changed again and again while others buy: nothing fails, and every read is on record."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from datasets.settings import read_settings
from datasets.vault import Vault, open_vault
from tests.datasets.vaults import new_tenant, new_value
from tests.flows.house import ROOT
from tests.flows.test_canaries import described
from tests.services.paid_process import serve_apart
from tests.services.paid_service import Rules, Service

ROTATIONS = 3
BUYERS = (("anna", "ben"), ("carla", "david"))  # of two processes, each name a thread
PATIENCE_S = 120.0
GRACE = timedelta(seconds=60)


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
        if set(latest) == {name for names in BUYERS for name in names} and set(latest.values()) == {version}:
            return
        time.sleep(0.05)
    raise AssertionError(f"version {version} is not in use after {PATIENCE_S:g} s")


def start_buyers(folder: Path, *names: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.flows.buyers", str(folder), *names]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True)


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
        vault, first = open_vault(read_settings(), reader="operator"), new_value()
        vault.put("paid-key", first)
        service.accept(first)
        processes = [start_buyers(tmp_path, *names) for names in BUYERS]
        wait_until_in_use(vault, 1)
        rotate_under_load(vault, service, first)
        (tmp_path / "enough").touch()
        states = [state for process in processes for state in json.loads(process.communicate(timeout=PATIENCE_S)[0])]
        assert [process.returncode for process in processes] == [0, 0]
        assert Counter(states) == {"settled": len(states)}
        assert service.charges == service.requests == len(states)
    on_record = vault.reads(name="paid-key")
    assert {read.outcome for read in on_record} == {"read"}
    assert len(on_record) == len(states)  # one try each, and no try failed
    assert {read.version for read in on_record} == set(range(1, 2 + ROTATIONS))
