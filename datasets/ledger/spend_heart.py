"""Signs of life for a purchase while its call is on the way."""

from types import TracebackType
from typing import TYPE_CHECKING

from datasets.ledger.leases import BEATS_PER_PERIOD
from datasets.ledger.purchases import Purchase

if TYPE_CHECKING:
    from datasets.ledger.engine import Ledger


class PurchaseHeart:
    """While the block runs, the purchase stays the caller's. ``lost`` turns true if it is somebody else's by now.

    Args:
        ledger: Where the purchase is kept.
        tenant: Whose purchase it is.
        purchase: As ``claim`` gave it.
        lease_s: How long it stays the caller's after the last sign of life, as given to ``claim``.
    """

    def __init__(self, ledger: "Ledger", tenant: str, purchase: Purchase, lease_s: float = 60.0) -> None:
        self._ledger = ledger
        self._tenant = tenant
        self._purchase = purchase
        self._lease_s = lease_s
        self.lost = False
        self._over = False

    @property
    def every_s(self) -> float:
        """Seconds between two beats."""
        return self._lease_s / BEATS_PER_PERIOD

    def beat(self) -> None:
        """Push the end of the lease further away."""
        with self._ledger.spending(self._tenant) as session:
            kept = session.renew(self._purchase, lease_s=self._lease_s)
        if not kept and not self._over:
            self.lost = True
            self._ledger.heart.remove(self)

    def __enter__(self) -> "PurchaseHeart":
        self._ledger.heart.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        self._ledger.heart.remove(self)
