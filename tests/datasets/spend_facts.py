"""Wishes, answers and clocks for the tests of spend."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import update

from datasets.ledger import Claim, Ledger, Purchase, Response, Wanted, Yours, purchase_key
from datasets.ledger.processes import host_name
from datasets.ledger.spend_tables import purchases
from datasets.ledger.transactions import transaction

PRICE = 40_000  # micro-USD
ANSWER = Response("cd" * 32, "image/png", "responses/cd/cdcd.png")
NOBODY = 2**22 + 1  # above Linux's largest process number


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self, now: datetime = datetime(2026, 5, 4, 12, tzinfo=UTC)) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **period: float) -> None:
        self.now += timedelta(**period)


def key_of(name: str, tenant: str = "anna") -> str:
    """The key of something that is bought, for a name."""
    return purchase_key(
        tenant, "restyle", "studio", "1", {"strength": 0.5}, [hashlib.sha256(name.encode()).hexdigest()]
    )


def wish(name: str = "shoe", run_id: str = "run-1", **facts: Any) -> Wanted:
    values: dict[str, Any] = {
        "purchase_key": key_of(name),
        "run_id": run_id,
        "item": name,
        "stage": "restyle",
        "adapter": "studio",
        "adapter_version": "1",
        "price_micro_usd": PRICE,
        "price_list": "2026-05",
    }
    return Wanted(**(values | facts))


def yours(claim: Claim) -> Purchase:
    assert isinstance(claim, Yours), claim
    return claim.purchase


def die(ledger: Ledger, tenant: str = "anna", key: str | None = None) -> None:
    """Let the holder of a purchase, or of all, be a process that is gone."""
    holder = f"{host_name()}|{NOBODY}|1000.00|gone"
    with transaction(ledger.engine, tenant) as connection:
        change = update(purchases).where(purchases.c.holder.is_not(None)).values(holder=holder)
        connection.execute(change if key is None else change.where(purchases.c.purchase_key == key))
