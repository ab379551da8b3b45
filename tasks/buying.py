"""Buying from a paid service: once, within the budgets, with every outcome known or written down as unknown.

A purchase is claimed in the ledger, sent, and settled with the answer in the storage. Whoever finds one that a dead
process had sent asks the service, or sends it again under the key that the service honours, and never as if it were
new.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta

from datasets.assets import asset_path, get_asset, put_asset
from datasets.errors import NotFoundError
from datasets.ledger import (
    Bought,
    Busy,
    Charged,
    Held,
    Ledger,
    Look,
    NotCharged,
    OverBudget,
    Purchase,
    PurchaseHeart,
    PurchaseLostError,
    PurchaseStateError,
    Response,
    Twin,
    Undecided,
    Wanted,
    Yours,
)
from datasets.ledger.claims import SENDER_LOST
from datasets.ledger.spend import SpendSession
from datasets.storage import Storage
from model_blocks.adapters import looking_up, outcomes
from model_blocks.adapters.adapter import PaidAdapter
from model_blocks.adapters.calling import Attempt, call
from model_blocks.adapters.images import image_format
from model_blocks.adapters.outcomes import PaidRequest
from model_blocks.adapters.waiting import Clock, Retries
from tasks.buying_ends import answer_lost, away, held, over_budget, refused, twin, unusable
from tasks.circuit import SharedCircuit
from tasks.pacing import Pace

LOOK_S = 0.2  # how often a waiting item looks whether the run is being stopped
BUSY_S = 0.5  # between two looks at a purchase that another process is making
PAUSE_S = 5.0  # before a service that failed is asked again, where it does not say itself when
ONE_TRY = Retries(attempts=1)  # what was charged perhaps is sent again once, and not more often


@dataclass(frozen=True)
class Terms:
    """What a run does about a service that does not answer.

    Attributes:
        patience_s: How long an item waits for a service that is away, or for the answer to what became of a request.
        lease_s: How long a purchase stays a silent process's.
    """

    patience_s: float = 900.0
    lease_s: float = 60.0


@dataclass(frozen=True)
class PaidService:
    """A service as a run uses it."""

    adapter: PaidAdapter
    circuit: SharedCircuit
    pace: Pace
    terms: Terms
    clock: Clock


@dataclass(frozen=True)
class _Again:
    """Claim it again, not before ``until``. ``charged``: a request may have been charged."""

    until: datetime | None
    why: str
    charged: bool


@dataclass(frozen=True)
class Buyer:
    """One item's way to one purchase.

    Attributes:
        refuse_if_stopping: Raises when the run is being stopped; asked before every step.
    """

    ledger: Ledger
    storage: Storage
    service: PaidService
    wanted: Wanted
    request: PaidRequest
    look: Look | None
    refuse_if_stopping: Callable[[], None]

    def buy(self) -> Purchase:
        """The purchase, settled, its answer in the storage.

        Raises:
            DeferredError: A budget has not enough left.
            ServiceAwayError: The service is away for longer than the terms say; nothing was charged.
            HeldError: It may have been charged, and cannot be found out now.
            StoppedError: A picture that shows the same is bought already.
            ServiceRefusedError: The service refuses it for good; nothing was charged.
            PaidUnusableError, PaidAnswerLostError: It is paid for, and there is no picture.
        """
        end = self.service.clock.monotonic() + self.service.terms.patience_s
        while True:
            self.refuse_if_stopping()
            with self.service.pace.turn(self.refuse_if_stopping):
                found = self._turn()
            if isinstance(found, Purchase):
                return self._with_answer(found)
            self._wait(found, end)

    # one turn

    def _turn(self) -> Purchase | _Again:
        with self._spending() as session:
            claim = session.claim(self.wanted, lease_s=self.service.terms.lease_s, look=self.look)
        match claim:
            case Bought(purchase):
                return purchase
            case Busy():
                return _Again(self._in(BUSY_S), "another process is buying it", charged=False)
            case Held(purchase):
                raise held(
                    self._name, purchase, "an earlier request may have been charged, and nobody can ask the service"
                )
            case OverBudget():
                raise over_budget(claim)
            case Twin(purchase):
                raise twin(purchase)
            case Yours(purchase):
                return self._go_on(purchase)

    def _go_on(self, purchase: Purchase) -> Purchase | _Again:
        try:
            with PurchaseHeart(self.ledger, self.storage.tenant, purchase, self.service.terms.lease_s):
                return self._send(purchase) if purchase.state == "intent" else self._find_out(purchase)
        except (PurchaseLostError, PurchaseStateError):
            return _Again(self._in(BUSY_S), "another process went on with it", charged=True)

    def _send(self, purchase: Purchase) -> Purchase | _Again:
        """Send what was never sent."""
        return self._call(purchase, lambda session, seen: session.sent(seen), key_age_s=None, retries=None)

    def _find_out(self, purchase: Purchase) -> Purchase | _Again:
        """What became of a request whose outcome nobody here knows."""
        declaration = self.service.adapter.declaration
        if declaration.can_look_up:
            return self._look_up(purchase)
        first = purchase.sent_at or purchase.intent_at
        age_s = (self.service.clock.now() - first).total_seconds()
        if declaration.key_holds(age_s) and not (purchase.error_facts or {}).get("needs_new_key"):
            return self._call(purchase, _resend_safely, key_age_s=age_s, retries=None)
        if purchase.policy == "resend_once" and purchase.sendings == 1:
            return self._call(purchase, _resend, key_age_s=None, retries=ONE_TRY)
        self._let_go(purchase)
        raise held(self._name, purchase, "an earlier request may have been charged, and the service cannot be asked")

    def _look_up(self, purchase: Purchase) -> Purchase | _Again:
        ended = None if purchase.error_code == SENDER_LOST else purchase.unknown_at
        sent = purchase.resent_at or purchase.sent_at or purchase.intent_at
        found = looking_up.look_up(
            self.service.adapter,
            purchase.idempotency_key,
            sent_at=sent,
            ended_at=ended,
            units=self.request.units,
            clock=self.service.clock,
        )
        with self._spending() as session:
            match found:
                case outcomes.Charged(paid):
                    outcome = Charged(paid.charged_micro_usd, paid.reference, self._kept(paid))
                    return session.resolve(purchase.purchase_key, outcome)
                case outcomes.NotCharged(proof):
                    session.resolve(purchase.purchase_key, NotCharged({"proof": proof}))
                    return _Again(None, proof, charged=False)
                case outcomes.Undecided(reason, until):
                    session.resolve(purchase.purchase_key, Undecided({"reason": reason}))
        self._let_go(purchase)
        return _Again(until or self._in(PAUSE_S), reason, charged=True)

    def _call(
        self,
        purchase: Purchase,
        mark: Callable[[SpendSession, Purchase], Purchase | OverBudget],
        *,
        key_age_s: float | None,
        retries: Retries | None,
    ) -> Purchase | _Again:
        """One call with its tries, and what its outcome means for the purchase."""
        current = purchase

        def before_send(attempt: Attempt) -> None:
            nonlocal current
            self.refuse_if_stopping()
            if attempt.number > 1:
                return
            with self._spending() as session:
                marked = mark(session, current)
            if isinstance(marked, OverBudget):
                raise over_budget(marked)
            current = marked

        try:
            outcome = call(
                self.service.adapter,
                self.request,
                idempotency_key=purchase.idempotency_key,
                before_send=before_send,
                breaker=self.service.circuit,
                key_age_s=key_age_s,
                retries=retries,
                clock=self.service.clock,
            )
        except BaseException:
            if current is purchase:
                self._not_sent(purchase, "not_sent", "the call was not made")
            raise
        return self._mean(current, outcome)

    def _mean(self, purchase: Purchase, outcome: outcomes.Outcome) -> Purchase | _Again:
        match outcome:
            case outcomes.Settled():
                self.service.pace.answered()
                return self._settle(purchase, outcome)
            case outcomes.Deferred(until):
                self.service.pace.unwell()
                charged = self._not_sent(purchase, "circuit_open", "the service is left alone for a while")
                return _Again(until, "the service did not answer before and is left alone", charged=charged)
            case outcomes.FailedFree():
                return self._free(purchase, outcome)
            case outcomes.Unknown():
                return self._unknown(purchase, outcome)

    def _settle(self, purchase: Purchase, outcome: outcomes.Settled) -> Purchase:
        response = self._kept(outcome)
        with self._spending() as session:
            return session.settle(
                purchase,
                charged_micro_usd=outcome.charged_micro_usd,
                reference=outcome.reference,
                response=response,
            )

    def _free(self, purchase: Purchase, outcome: outcomes.FailedFree) -> _Again:
        self.service.pace.unwell()
        facts = {"proof": outcome.proof, "attempts": outcome.attempts}
        with self._spending() as session:
            freed = session.failed_free(purchase, outcome.code, facts)
        doubtful = freed.state == "unknown"  # of an earlier sending
        if doubtful:
            self._let_go(freed)
        elif not outcome.transient:
            raise refused(self._name, outcome.code, outcome.proof)
        return _Again(self._in(outcome.retry_after_s or PAUSE_S), outcome.proof, charged=doubtful)

    def _unknown(self, purchase: Purchase, outcome: outcomes.Unknown) -> _Again:
        self.service.pace.unwell()
        facts = {"detail": outcome.detail, "needs_new_key": outcome.needs_new_key, "attempts": outcome.attempts}
        with self._spending() as session:
            doubtful = session.unknown(purchase, outcome.reason, facts)
        self._let_go(doubtful)
        declaration = self.service.adapter.declaration
        wait_s = outcome.retry_after_s or (0.0 if declaration.can_look_up else PAUSE_S)
        return _Again(self._in(wait_s), outcome.detail, charged=True)

    def _not_sent(self, purchase: Purchase, code: str, proof: str) -> bool:
        """Nothing left this time. Whether an earlier request may have been charged."""
        with self._spending() as session:
            if purchase.state == "intent":
                session.failed_free(purchase, code, {"proof": proof})
                return False
            session.let_go(purchase)
            return True

    # shared by the above

    @property
    def _name(self) -> str:
        return self.service.adapter.declaration.name

    def _spending(self) -> AbstractContextManager[SpendSession]:
        return self.ledger.spending(self.storage.tenant, clock=self.service.clock.now)

    def _let_go(self, purchase: Purchase) -> None:
        with self._spending() as session:
            session.let_go(purchase)

    def _kept(self, paid: outcomes.Settled) -> Response:
        """The answer's bytes, in the storage before anything else is said of them."""
        digest = put_asset(self.storage, paid.content)
        return Response(digest, paid.media_type, asset_path(digest))

    def _in(self, seconds: float) -> datetime:
        return self.service.clock.now() + timedelta(seconds=seconds)

    def _wait(self, again: _Again, end: float) -> None:
        """Wait until it may be tried again, but not for longer than the terms say."""
        clock = self.service.clock
        left_s = (again.until - clock.now()).total_seconds() if again.until else 0.0
        if clock.monotonic() + left_s > end:
            raise away(self._name, again.until, again.why, charged=again.charged)
        then = clock.monotonic() + left_s
        while (rest := then - clock.monotonic()) > 0:
            self.refuse_if_stopping()
            clock.sleep(min(rest, LOOK_S))

    def _with_answer(self, purchase: Purchase) -> Purchase:
        """A settled purchase whose answer is a picture that is there."""
        response = purchase.response
        try:
            content = get_asset(self.storage, response.digest) if response else None
        except NotFoundError:
            content = None
        if content is None:
            raise answer_lost(self._name, purchase)
        if image_format(content) is None:
            raise unusable(self._name, purchase)
        return purchase


def _resend_safely(session: SpendSession, purchase: Purchase) -> Purchase | OverBudget:
    return session.resend(purchase, safe=True)


def _resend(session: SpendSession, purchase: Purchase) -> Purchase | OverBudget:
    return session.resend(purchase, safe=False)
