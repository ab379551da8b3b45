"""Claiming a purchase: of all who want the same thing, one goes on with it, and takes over from one that died."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from datasets.ledger.budgets import hold, scopes_of
from datasets.ledger.leases import is_gone
from datasets.ledger.looks import Look, find_twin, keep_look
from datasets.ledger.purchases import (
    Bought,
    Busy,
    Claim,
    Held,
    OverBudget,
    Purchase,
    Twin,
    Wanted,
    Yours,
    idempotency_key,
)
from datasets.ledger.spend_rows import UNHELD, PurchaseRows, day_of
from datasets.ledger.spend_tables import purchases
from datasets.ledger.upserts import insert_new

NEVER_SENT = "never_sent"
SENDER_LOST = "sender_lost"
# A new attempt begins with nothing of the one before.
FORGOTTEN = (
    "sent_at",
    "resent_at",
    "unknown_at",
    "looked_up_at",
    "failed_free_at",
    "void_at",
    "charged_micro_usd",
    "provider_reference",
    "error_code",
    "error_facts",
)


@dataclass(frozen=True)
class Claimant:
    """Who claims, and for how long if not heard of."""

    holder: str
    lease_s: float


def claim(rows: PurchaseRows, wanted: Wanted, claimant: Claimant, look: Look | None = None) -> Claim:
    """Find out where a purchase stands, and take it if nobody else may go on with it."""
    found = rows.find(wanted.purchase_key, lock=True)
    if found is None:
        begun = _begin(rows, wanted, claimant, look)
        if begun is not None:
            return begun
        found = rows.locked(wanted.purchase_key)  # somebody else's intent came first
    if found.state == "settled":
        return Bought(found)
    if found.state in ("failed_free", "void"):
        return _begin_again(rows, found, wanted, claimant, look)
    if is_at_work(found, rows.now):
        return Busy(found)
    if found.state == "intent":
        return _take_over_intent(rows, found, wanted, claimant, look)
    return _take_over_sent(rows, found, wanted, claimant)


def is_at_work(purchase: Purchase, now: datetime) -> bool:
    """Whether a process that lives, as far as is known here, goes on with it."""
    holder, end = purchase.holder, purchase.lease_expires_at
    return holder is not None and end is not None and end > now and not is_gone(holder)


def lose_sender(rows: PurchaseRows, sent: Purchase) -> Purchase:
    """A sending whose process is gone: nobody knows what came of it."""
    return rows.move(sent, "unknown", error_code=SENDER_LOST, **UNHELD)


def _begin(
    rows: PurchaseRows, wanted: Wanted, claimant: Claimant, look: Look | None
) -> Yours | OverBudget | Twin | None:
    """Write the first intent; None if the row is there by now.

    Whoever holds money of a month holds the row of its budget, so of two twins one is the first, in every database.
    """
    twin = find_twin(rows, look, wanted.purchase_key) if look else None
    if twin is not None:  # no money is needed to know it
        return Twin(twin)
    scopes = scopes_of(wanted.run_id, rows.now)
    with rows.connection.begin_nested() as point:
        values = _intent(rows, wanted, claimant, attempt=1, scopes=scopes)
        if insert_new(rows.connection, purchases, [{"tenant_id": rows.tenant, "state": "intent", **values}]) == 0:
            return None
        refusal = hold(rows.connection, rows.tenant, scopes, wanted.price_micro_usd, rows.now)
        if refusal is not None:
            point.rollback()
            return refusal
        twin = find_twin(rows, look, wanted.purchase_key) if look else None  # of one that was quicker
        if twin is not None:
            point.rollback()
            return Twin(twin)
        if look is not None:
            keep_look(rows, look, wanted.purchase_key)
    return Yours(rows.locked(wanted.purchase_key))


def _begin_again(
    rows: PurchaseRows, found: Purchase, wanted: Wanted, claimant: Claimant, look: Look | None
) -> Yours | OverBudget | Twin:
    """Write a further intent. A twin may have been bought since the last one failed."""
    scopes = scopes_of(wanted.run_id, rows.now)
    with rows.connection.begin_nested() as point:
        refusal = hold(rows.connection, rows.tenant, scopes, wanted.price_micro_usd, rows.now)
        if refusal is not None:
            return refusal
        twin = find_twin(rows, look, wanted.purchase_key) if look else None
        if twin is not None:
            point.rollback()
            return Twin(twin)
        if look is not None:
            keep_look(rows, look, wanted.purchase_key)
        values = _intent(rows, wanted, claimant, attempt=found.attempt + 1, scopes=scopes)
        return Yours(rows.move(found, "intent", **dict.fromkeys(FORGOTTEN), **values))


def _take_over_intent(
    rows: PurchaseRows, found: Purchase, wanted: Wanted, claimant: Claimant, look: Look | None
) -> Yours | OverBudget | Twin:
    """Nothing was sent, so the money goes from the budgets of the dead run to those of this one."""
    freed = rows.free(found, "failed_free", error_code=NEVER_SENT, error_facts={})
    return _begin_again(rows, freed, wanted, claimant, look)


def _take_over_sent(rows: PurchaseRows, found: Purchase, wanted: Wanted, claimant: Claimant) -> Yours | Held:
    """The money stays with the budgets of the run that sent it."""
    unknown = lose_sender(rows, found) if found.state == "sent" else found
    may_resend = wanted.policy == "resend_once" and unknown.sendings == 1
    if not (wanted.can_resolve or may_resend):
        return Held(unknown)
    return Yours(rows.change(unknown, policy=wanted.policy, **_lease(rows, wanted.run_id, claimant)))


def _lease(rows: PurchaseRows, run_id: str, claimant: Claimant) -> dict[str, Any]:
    return {
        "holder": claimant.holder,
        "holder_run_id": run_id,
        "lease_expires_at": rows.now + timedelta(seconds=claimant.lease_s),
    }


def _intent(
    rows: PurchaseRows, wanted: Wanted, claimant: Claimant, *, attempt: int, scopes: list[str]
) -> dict[str, Any]:
    key = wanted.purchase_key
    return {
        "purchase_key": key,
        "run_id": wanted.run_id,
        "item": wanted.item,
        "stage": wanted.stage,
        "adapter": wanted.adapter,
        "adapter_version": wanted.adapter_version,
        "price_micro_usd": wanted.price_micro_usd,
        "price_list": wanted.price_list,
        "held_micro_usd": wanted.price_micro_usd,
        "scopes": scopes,
        "policy": wanted.policy,
        "guard": wanted.guard,
        "attempt": attempt,
        "sendings": 0,
        "idempotency_key": idempotency_key(key, attempt),
        "intent_at": rows.now,
        "day": day_of(rows.now),
        **_lease(rows, wanted.run_id, claimant),
    }
