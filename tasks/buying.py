"""Buying from a paid service: once, within the budgets, with every outcome known or written down as unknown.

A purchase is claimed in the ledger, sent, and settled with the answer in the storage. Whoever finds one that a dead
process had sent asks the service, or sends it again under the key that the service honours, and never as if it were
new.
"""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

from datasets.errors import PipelineError, StorageUnavailableError
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
from model_blocks.adapters.calling import Attempt, call, failure_kind
from model_blocks.adapters.outcomes import PaidRequest
from model_blocks.adapters.waiting import Clock, Retries
from tasks.buying_answers import insist, kept, with_picture
from tasks.buying_ends import failing_here, held, over_budget, refused, twin
from tasks.buying_waits import PROBE_S, Again, Patience, fails_here, seconds_to
from tasks.circuit import SharedCircuit
from tasks.pacing import Pace

BUSY_S = 0.5  # between two looks at a purchase that another process is making
ONE_TRY = Retries(attempts=1)  # each request stands in the ledger by itself: what was free is known to be
Way = Literal["look_up", "same_key", "resend_once"]


@dataclass(frozen=True)
class Terms:
    """What a run does about a service that does not answer.

    Attributes:
        patience_s: How long an item waits, from its first failure on, for a service that is away, or for the answer to
            what became of a request.
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
            MachineFailingError: Stages fail on this machine, so nothing is bought; nothing was charged.
            HeldError: It may have been charged, and cannot be found out now.
            StoppedError: A picture that shows the same is bought already.
            ServiceRefusedError: The service refuses it for good; nothing was charged.
            PaidUnusableError, PaidAnswerLostError: It is paid for, and there is no picture.
            StorageUnavailableError: Storage or ledger are away.
        """
        service, patience = self.service, Patience(self.service, self.refuse_if_stopping)
        while True:
            self.refuse_if_stopping()
            with service.pace.turn(self.refuse_if_stopping):
                found = self._turn()
            if isinstance(found, Purchase):
                return with_picture(found, service.adapter, self.ledger, self.storage, service.clock)
            patience.wait(found)

    # one turn

    def _turn(self) -> Purchase | Again:
        with self._spending() as session:
            claim = session.claim(self.wanted, lease_s=self.service.terms.lease_s, look=self.look)
        match claim:
            case Bought(purchase):
                return purchase
            case Busy():
                return Again(BUSY_S, "another process is buying it", busy=True)
            case Held(purchase):
                raise self._held(purchase)
            case OverBudget():
                raise over_budget(claim)
            case Twin(purchase):
                raise twin(purchase)
            case Yours(purchase):
                return self._go_on(purchase)

    def _go_on(self, purchase: Purchase) -> Purchase | Again:
        try:
            with PurchaseHeart(self.ledger, self.storage.tenant, purchase, self.service.terms.lease_s):
                return self._send(purchase) if purchase.state == "intent" else self._find_out(purchase)
        except (PurchaseLostError, PurchaseStateError):
            return Again(BUSY_S, "another process went on with it", busy=True)
        except BaseException as error:
            self._abandon(purchase, error)
            raise

    def _abandon(self, claimed: Purchase, error: BaseException) -> None:
        """Hold it no longer. What never left is free, and what may have left is unknown, whatever ended the way."""
        with contextlib.suppress(PipelineError), self._spending() as session:  # if the ledger is why, the lease ends it
            seen = session.find(claimed.purchase_key)
            why = {"detail": f"ended by {type(error).__name__}"}
            if seen is None or (seen.holder, seen.attempt) != (claimed.holder, claimed.attempt):
                return
            if seen.state == "intent":
                session.failed_free(seen, "not_sent", why)
            elif seen.state == "sent":
                session.let_go(session.unknown(seen, "interrupted", why))
            elif seen.state == "unknown":
                session.let_go(seen)

    def _send(self, purchase: Purchase) -> Purchase | Again:
        """Send what was never sent."""
        return self._call(purchase, lambda session, seen: session.sent(seen), key_age_s=None)

    def _find_out(self, purchase: Purchase) -> Purchase | Again:
        """What became of a request whose outcome nobody here knows."""
        match self._way(purchase):
            case "look_up":
                return self._look_up(purchase)
            case "same_key":
                return self._call(purchase, _resend_safely, key_age_s=self._age_s(purchase))
            case "resend_once":
                return self._call(purchase, _resend, key_age_s=None)
            case None:
                raise self._held(purchase)

    def _way(self, purchase: Purchase, *, transient: bool = True) -> Way | None:
        """How an unknown outcome can be found out; None if nobody can.

        Args:
            transient: Whether the same request may be answered otherwise.
        """
        declaration = self.service.adapter.declaration
        if declaration.can_look_up:
            return "look_up"
        repeats = not transient or _facts(purchase).get("needs_new_key")
        if declaration.key_holds(self._age_s(purchase)) and not repeats:
            return "same_key"
        return "resend_once" if self.wanted.policy == "resend_once" and purchase.sendings == 1 else None

    def _look_up(self, purchase: Purchase) -> Purchase | Again:
        left_alone = self.service.circuit.look(self._name)
        if left_alone is not None and not fails_here(left_alone):
            with self._spending() as session:
                session.let_go(purchase)
            return self._left_alone(purchase)
        found = looking_up.look_up(
            self.service.adapter,
            purchase.idempotency_key,
            sent_at=purchase.resent_at or purchase.sent_at or purchase.intent_at,
            ended_at=None if purchase.error_code == SENDER_LOST else purchase.unknown_at,
            units=self.request.units,
            clock=self.service.clock,
        )
        match found:
            case outcomes.Charged(paid):
                outcome = Charged(paid.charged_micro_usd, paid.reference, kept(self.storage, paid))
                return insist(lambda: self._resolve(purchase, outcome))
            case outcomes.NotCharged(proof):
                self._resolve(purchase, NotCharged({"proof": proof}))
                if _facts(purchase).get("final"):
                    raise refused(self._name, str(purchase.error_code), str(_facts(purchase).get("detail")))
                return Again(0.0, proof, failed=True)
            case outcomes.Undecided(reason, until):
                with self._spending() as session:
                    session.resolve(purchase.purchase_key, Undecided({**_facts(purchase), "looked_up": reason}))
                    session.let_go(purchase)
                return Again(seconds_to(until, self.service.clock.now()), reason, charged=True, failed=until is None)

    def _call(
        self,
        purchase: Purchase,
        mark: Callable[[SpendSession, Purchase], Purchase | OverBudget],
        *,
        key_age_s: float | None,
    ) -> Purchase | Again:
        """One request, and what its outcome means for the purchase."""
        current = purchase

        def before_send(_: Attempt) -> None:
            nonlocal current
            self.refuse_if_stopping()
            with self._spending() as session:
                marked = mark(session, purchase)
            if isinstance(marked, OverBudget):
                why = "an earlier request may have been charged, and no budget has enough left to send it again"
                raise held(self._name, purchase, why)
            current = marked

        outcome = call(
            self.service.adapter,
            self.request,
            idempotency_key=purchase.idempotency_key,
            before_send=before_send,
            breaker=self.service.circuit,
            key_age_s=key_age_s,
            retries=ONE_TRY,
            clock=self.service.clock,
        )
        return self._mean(current, outcome)

    def _mean(self, purchase: Purchase, outcome: outcomes.Outcome) -> Purchase | Again:
        if isinstance(outcome, outcomes.Deferred):
            self.service.pace.unwell()
            with self._spending() as session:
                if purchase.state == "intent":
                    session.failed_free(purchase, "circuit_open", {"proof": "the service is left alone for a while"})
                else:
                    session.let_go(purchase)
            return self._left_alone(purchase)
        if failure_kind(outcome) is None:
            self.service.pace.answered()
        else:
            self.service.pace.unwell()
        match outcome:
            case outcomes.Settled():
                return self._settle(purchase, outcome)
            case outcomes.FailedFree():
                return self._free(purchase, outcome)
            case outcomes.Unknown():
                return self._unknown(purchase, outcome)

    def _settle(self, purchase: Purchase, outcome: outcomes.Settled) -> Purchase:
        lost: StorageUnavailableError | None = None
        response = None
        try:
            response = kept(self.storage, outcome)
        except StorageUnavailableError as error:
            if self._way(purchase) in ("look_up", "same_key"):
                raise  # its outcome is left unknown: the service gives the answer once more, for the same money
            lost = error

        def post() -> Purchase:
            with self._spending() as session:
                charged = outcome.charged_micro_usd
                return session.settle(
                    purchase, charged_micro_usd=charged, reference=outcome.reference, response=response
                )

        settled = insist(post)
        if lost is not None:
            raise lost
        return settled

    def _free(self, purchase: Purchase, outcome: outcomes.FailedFree) -> Again:
        facts = {"proof": outcome.proof, "needs_new_key": outcome.needs_new_key}
        with self._spending() as session:
            freed = session.failed_free(purchase, outcome.code, facts)
            doubtful = freed.state == "unknown"  # of an earlier sending
            if doubtful:
                session.let_go(freed)
        if doubtful and self._way(freed, transient=outcome.transient) is None:
            raise self._held(freed)
        if not doubtful and not outcome.transient:
            raise refused(self._name, outcome.code, outcome.proof)
        return Again(outcome.retry_after_s or 0.0, outcome.proof, charged=doubtful, failed=True)

    def _unknown(self, purchase: Purchase, outcome: outcomes.Unknown) -> Again:
        final = not outcome.transient and outcome.reason != "earlier_request"
        facts = {"detail": outcome.detail, "needs_new_key": outcome.needs_new_key, "final": final}
        with self._spending() as session:
            doubtful = session.let_go(session.unknown(purchase, outcome.reason, facts))
        way = self._way(doubtful, transient=outcome.transient)
        if way is None:
            raise self._held(doubtful)
        return Again(outcome.retry_after_s or 0.0, outcome.detail, charged=True, failed=way != "look_up")

    # shared by the above

    @property
    def _name(self) -> str:
        return self.service.adapter.declaration.name

    def _spending(self) -> AbstractContextManager[SpendSession]:
        return self.ledger.spending(self.storage.tenant, clock=self.service.clock.now)

    def _resolve(self, purchase: Purchase, outcome: Charged | NotCharged) -> Purchase:
        with self._spending() as session:
            return session.resolve(purchase.purchase_key, outcome)

    def _held(self, purchase: Purchase) -> PipelineError:
        said = _facts(purchase).get("detail") or _facts(purchase).get("proof")
        asked = "an earlier request may have been charged, and the service cannot be asked"
        return held(self._name, purchase, f"{asked} ({said})" if said else asked)

    def _left_alone(self, purchase: Purchase) -> Again:
        """The circuit is open. Without a reason to doubt, an item does not wait for this machine to get well."""
        found, charged = self.service.circuit.look(self._name), purchase.state != "intent"
        if found is not None and fails_here(found):
            raise self._held(purchase) if charged else failing_here(self._name, found.at)
        wait_s = 0.0 if found is None else PROBE_S if found.probing else seconds_to(found.at, self.service.clock.now())
        return Again(wait_s, "the service did not answer before and is left alone", charged=charged)

    def _age_s(self, purchase: Purchase) -> float:
        first = purchase.sent_at or purchase.intent_at
        return (self.service.clock.now() - first).total_seconds()


def _facts(purchase: Purchase) -> dict[str, object]:
    return purchase.error_facts or {}


def _resend_safely(session: SpendSession, purchase: Purchase) -> Purchase | OverBudget:
    return session.resend(purchase, safe=True)


def _resend(session: SpendSession, purchase: Purchase) -> Purchase | OverBudget:
    return session.resend(purchase, safe=False)
