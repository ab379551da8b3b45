"""Vaults for tests: on the run's real Prefect server, each with a tenant of its own, and processes that use them."""

import os
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

from datasets.ledger import Ledger, open_ledger
from datasets.vault import Vault
from datasets.vault_keys import MasterKey
from tests.datasets.ledger_rows import new_ledger

KEY = MasterKey(bytes(range(32)))
OTHER_KEY = MasterKey(bytes(range(1, 33)))


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 5, 4, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **span: float) -> None:
        self.now += timedelta(**span)


def new_tenant() -> str:
    return f"t{uuid.uuid4().hex[:12]}"


def new_value() -> str:
    return f"value-{uuid.uuid4().hex}"


def new_vault(folder: Path, *, tenant: str | None = None, key: MasterKey = KEY, clock: Any = None) -> Vault:
    """A vault with a new ledger in a folder, or the one that is there."""
    path = folder / "ledger.db"
    ledger: Ledger = open_ledger(f"sqlite:///{path}") if path.exists() else new_ledger(path)
    given = {} if clock is None else {"clock": clock}
    return Vault(tenant or new_tenant(), ledger, reader="run-1", key=key, **given)


def server_environment() -> dict[str, str]:
    """What a process needs to find the run's Prefect server; the tests' forkserver may be older than it."""
    return {name: value for name, value in os.environ.items() if name.startswith("PREFECT_")}


def work(
    task: Callable[[Vault], list[Any]], tenant: str, folder: str, environment: dict[str, str], results: "Queue[Any]"
) -> None:
    """In a process of its own: do the task with a vault, hand the result back."""
    os.environ.update(environment)
    results.put(task(new_vault(Path(folder), tenant=tenant)))


def rotate_some(vault: Vault) -> list[tuple[int, str]]:
    """Two rotations, each version with its value."""
    made = []
    for _ in range(2):
        value = new_value()
        made.append((vault.rotate("api", value), value))
    return made


def read_for_a_while(vault: Vault) -> list[tuple[int, str]]:
    """Current versions as they come, and the one held from the beginning again and again."""
    held = vault.get("api", purpose="first")
    seen = [(held.version, held.reveal())]
    for _ in range(6):
        both = vault.get("api", purpose="load"), vault.get("api", version=held.version, purpose="held")
        seen += [(secret.version, secret.reveal()) for secret in both]
    return seen
