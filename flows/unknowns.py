"""Finds out what became of purchases of which nobody knows whether they were charged, and fetches lost answers."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from datasets.assets import asset_path, put_asset
from datasets.ledger import (
    Charged,
    Ledger,
    NotCharged,
    Purchase,
    PurchaseLostError,
    PurchaseStateError,
    Response,
    Undecided,
)
from datasets.ledger.claims import SENDER_LOST, is_at_work
from datasets.ledger.purchases import Outcome
from datasets.storage import Storage
from model_blocks.adapters import looking_up, outcomes
from tasks.buying import PaidService
from tasks.buying_ends import answer_lost

Became = Literal["charged", "answer_found", "answer_lost", "not_charged", "undecided", "at_work", "other_service"]
OPEN: tuple[Became, ...] = ("undecided", "at_work", "other_service")
DEADLINE_S = 30.0  # that one look-up may take


@dataclass(frozen=True)
class LookedUp:
    """What became of one purchase.

    Attributes:
        purchase: As it stands now.
        became: In one word; those of ``OPEN`` are not known yet.
        words: In a sentence, with what to do next.
        until: Before which it makes no sense to ask again.
    """

    purchase: Purchase
    became: Became
    words: str
    until: datetime | None = None


def find_open(ledger: Ledger, tenant: str) -> list[Purchase]:
    """Purchases with an unknown outcome, and those that were paid and whose answer is not there; sweeps first."""
    with ledger.spending(tenant) as session:
        session.sweep()
        return session.list_unknown() + [one for one in session.purchases("settled") if _lacks_answer(one)]


def look_up_all(ledger: Ledger, storage: Storage, service: PaidService, found: Iterable[Purchase]) -> list[LookedUp]:
    """Ask the service about each of these purchases; what it says is in the ledger when this returns.

    Args:
        ledger: The books.
        storage: The tenant's; takes the answers.
        service: Who is asked; purchases of another are left alone.
        found: From ``find_open``.

    Raises:
        SettingsError: The service's key is missing or cannot be used.
    """
    asking = _Asking(ledger, storage, service)
    return [asking.about(purchase) for purchase in found]


def resolve_as_seen(ledger: Ledger, tenant: str, seen: Purchase, outcome: Outcome) -> Purchase | None:
    """Write down what came of a purchase; None if it went on in the meantime, so that the finding is out of date."""
    try:
        with ledger.spending(tenant) as session:
            return _unmoved(seen, session.resolve(seen.purchase_key, outcome))
    except (PurchaseLostError, PurchaseStateError):
        return None


def _unmoved(seen: Purchase, resolved: Purchase) -> Purchase:
    """The purchase, if what was found out is about its last sending; raised within the session, it undoes all."""
    if (resolved.attempt, resolved.sendings) != (seen.attempt, seen.sendings):
        raise PurchaseLostError(f"{seen.purchase_key[:12]} was sent again meanwhile; look again")
    return resolved


def _lacks_answer(purchase: Purchase) -> bool:
    return purchase.state == "settled" and purchase.response is None and purchase.held_micro_usd == 0


@dataclass(frozen=True)
class _Asking:
    ledger: Ledger
    storage: Storage
    service: PaidService

    def about(self, purchase: Purchase) -> LookedUp:
        name = self.service.adapter.declaration.name
        if is_at_work(purchase, self.service.clock.now()):
            return LookedUp(purchase, "at_work", "a process is at it itself")
        if purchase.adapter != name:
            return LookedUp(
                purchase,
                "other_service",
                f"bought from {purchase.adapter}; STILLMOTION_PLACE_SERVICE is {name}: set that one and look up again, "
                "or use `stillmotion upkeep reconcile`",
            )
        if purchase.state == "settled" and purchase.held_micro_usd:
            words = "it was sent twice, and a look-up cannot tell the two apart; use `stillmotion upkeep reconcile`"
            return LookedUp(purchase, "undecided", words)
        finding = self._ask(purchase)
        return self._answer(purchase, finding) if purchase.state == "settled" else self._outcome(purchase, finding)

    def _ask(self, purchase: Purchase) -> outcomes.Finding:
        return looking_up.look_up(
            self.service.adapter,
            purchase.idempotency_key,
            sent_at=purchase.resent_at or purchase.sent_at or purchase.intent_at,
            ended_at=None if purchase.error_code == SENDER_LOST else purchase.unknown_at,
            deadline_s=DEADLINE_S,
            clock=self.service.clock,
        )

    def _outcome(self, purchase: Purchase, finding: outcomes.Finding) -> LookedUp:
        """Of an unknown one."""
        match finding:
            case outcomes.Charged(paid):
                charged = Charged(paid.charged_micro_usd, paid.reference, self._kept(paid))
                words = "it was charged, and its answer is kept: the same command goes on with it"
                return self._written(purchase, charged, LookedUp(purchase, "charged", words))
            case outcomes.NotCharged(proof):
                words = f"it was not charged ({proof}); the same command buys it again"
                free = NotCharged({"proof": proof})
                return self._written(purchase, free, LookedUp(purchase, "not_charged", words))
            case outcomes.Undecided(reason, until):
                undecided = Undecided({"reason": reason})
                return self._written(purchase, undecided, LookedUp(purchase, "undecided", reason, until))

    def _written(self, purchase: Purchase, outcome: Outcome, said: LookedUp) -> LookedUp:
        resolved = resolve_as_seen(self.ledger, self.storage.tenant, purchase, outcome)
        if resolved is None:
            return LookedUp(purchase, "at_work", "another process went on with it meanwhile")
        return LookedUp(resolved, said.became, said.words, said.until)

    def _answer(self, purchase: Purchase, finding: outcomes.Finding) -> LookedUp:
        """Of one that was paid, and whose answer never came."""
        if not isinstance(finding, outcomes.Charged):
            return LookedUp(purchase, "answer_lost", answer_lost(purchase.adapter, purchase).message)
        with self.ledger.spending(self.storage.tenant) as session:
            attached = session.attach_response(purchase.purchase_key, self._kept(finding.settled))
        return LookedUp(attached, "answer_found", "its answer is kept now: the same command goes on with it")

    def _kept(self, paid: outcomes.Settled) -> Response:
        """The answer's bytes, in the storage before the ledger speaks of them."""
        digest = put_asset(self.storage, paid.content)
        return Response(digest, paid.media_type, asset_path(digest))
