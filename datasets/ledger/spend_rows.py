"""One purchase's row: read under a lock, changed from one state to the next only as it was seen."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, select, update

from datasets.errors import NotFoundError
from datasets.ledger.budgets import post
from datasets.ledger.purchases import NAMES, Purchase, PurchaseStateError, State, purchase_of
from datasets.ledger.spend_tables import purchases

# `intent` may fail free: it was never sent. `unknown` may be sent again: under the key that the service honours, or
# once by the tenant's policy. What cost nothing may be wanted again.
FOLLOWS: dict[State, tuple[State, ...]] = {
    "intent": ("sent", "failed_free"),
    "sent": ("settled", "failed_free", "unknown"),
    "unknown": ("sent", "settled", "void"),
    "settled": (),
    "failed_free": ("intent",),
    "void": ("intent",),
}
COLUMNS = [purchases.c[name] for name in NAMES]
UNHELD: dict[str, Any] = {"holder": None, "holder_run_id": None, "lease_expires_at": None}


class PurchaseRows:
    """The purchases of one tenant, in one transaction, at one moment."""

    def __init__(self, connection: Connection, tenant: str, now: datetime) -> None:
        self.connection = connection
        self.tenant = tenant
        self.now = now

    def find(self, key: str, *, lock: bool = False) -> Purchase | None:
        """A purchase; locked, no other transaction changes it before this one ends."""
        query = select(*COLUMNS).where(*self.own(purchase_key=key))
        row = self.connection.execute(query.with_for_update() if lock else query).first()
        return None if row is None else purchase_of(row)

    def locked(self, key: str) -> Purchase:
        """A purchase that must be there.

        Raises:
            NotFoundError: It is not.
        """
        found = self.find(key, lock=True)
        if found is None:
            raise NotFoundError(f"the ledger has no purchase {key!r}; `stillmotion spend` lists them", purchase=key)
        return found

    def move(self, seen: Purchase, state: State, **values: object) -> Purchase:
        """Go to another state.

        Raises:
            PurchaseStateError: That one does not follow, or the purchase is not as it was seen any more.
        """
        if state not in FOLLOWS[seen.state]:
            raise wrong_state(seen, state)
        return self.change(seen, state=state, **{f"{state}_at": self.now, **values})

    def change(self, seen: Purchase, **values: object) -> Purchase:
        """Write values into the row as it was seen: of several who saw it so, one succeeds."""
        as_seen = self.own(
            purchase_key=seen.purchase_key,
            state=seen.state,
            attempt=seen.attempt,
            sendings=seen.sendings,
            holder=seen.holder,
        )
        changed = self.connection.execute(update(purchases).where(*as_seen).values(values).returning(*COLUMNS)).first()
        if changed is None:
            raise wrong_state(self.locked(seen.purchase_key), str(values.get("state", seen.state)))
        return purchase_of(changed)

    def move_money(self, purchase: Purchase, *, released: int, spent: int) -> None:
        """Change the budgets that the purchase is under."""
        post(self.connection, self.tenant, purchase.scopes, released=released, spent=spent, now=self.now)

    def free(self, seen: Purchase, state: State, **values: object) -> Purchase:
        """Go to a state in which it is proven that nothing was charged: all that was held is released."""
        freed = self.move(seen, state, held_micro_usd=0, **UNHELD, **values)
        self.move_money(seen, released=seen.held_micro_usd, spent=0)
        return freed

    def own(self, **values: object) -> list[ColumnElement[bool]]:
        """The tenant's rows with these values."""
        # `== None` becomes IS NULL
        return [purchases.c.tenant_id == self.tenant, *(purchases.c[name] == value for name, value in values.items())]


def wrong_state(found: Purchase, wanted: str) -> PurchaseStateError:
    return PurchaseStateError(
        f"the purchase {found.purchase_key[:12]} is {found.state!r}, attempt {found.attempt}, sending "
        f"{found.sendings}; it cannot become {wanted!r} now; claim it again to see where it stands",
        purchase=found.purchase_key,
        state=found.state,
        wanted=wanted,
    )


def day_of(moment: datetime) -> str:
    """The UTC day, as ``2026-05-04``."""
    return f"{moment.astimezone(UTC):%Y-%m-%d}"
