"""What is said of a purchase that did not end in a picture."""

from datetime import UTC, datetime

from datasets.errors import PermanentError
from datasets.ledger import OverBudget, Purchase
from datasets.money import dollars
from tasks.ends import (
    DeferredError,
    HeldError,
    MachineFailingError,
    NotDeliveredError,
    ServiceAwayError,
    StoppedError,
)


class ServiceRefusedError(PermanentError):
    """The service refuses this request, and will again; nothing was charged."""

    code = "service_refused"


class PaidUnusableError(PermanentError):
    """The service charged, and what it sent is not what was bought."""

    code = "paid_unusable"


class PaidAnswerLostError(PermanentError):
    """It is known that the service charged; what it sent is not there."""

    code = "paid_answer_lost"


def refused(service: str, status: str, proof: str) -> ServiceRefusedError:
    return ServiceRefusedError(
        f"{service} refused the request and charged nothing: {proof}; change the prompt or the picture, or ask the "
        "service's provider",
        service=service,
        status=status,
    )


def unusable(service: str, purchase: Purchase, why: str) -> PaidUnusableError:
    return PaidUnusableError(
        f"{service} charged for this item (reference {purchase.provider_reference}) and sent no picture ({why}); its "
        "answer is kept; ask the provider, or buy another one with another number in the stage's 'variation'",
        service=service,
        purchase=purchase.purchase_key,
    )


def answer_lost(service: str, purchase: Purchase) -> PaidAnswerLostError:
    return PaidAnswerLostError(
        f"{service} charged for this item (reference {purchase.provider_reference}) and its answer is not there; ask "
        "the provider for it, or buy another one with another number in the stage's 'variation'",
        service=service,
        purchase=purchase.purchase_key,
    )


def held(service: str, purchase: Purchase, why: str) -> HeldError:
    return HeldError(
        f"{service} may have charged for this item: {why}; compare with the provider's list by `stillmotion upkeep "
        "reconcile`, then run the same command again",
        service=service,
        purchase=purchase.purchase_key,
    )


def away(service: str, until: datetime | None, why: str, *, charged: bool) -> NotDeliveredError:
    """The run waited long enough."""
    then = f" after {until.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if until else ""
    if charged:
        return HeldError(
            f"{service} may have charged for this item, and that cannot be told yet: {why}; run the same command "
            f"again{then}, or compare with the provider's list by `stillmotion upkeep reconcile`",
            service=service,
            until=until.isoformat() if until else None,
        )
    return ServiceAwayError(
        f"{service} is away: {why}; nothing was charged; run the same command again{then}",
        service=service,
        until=until.isoformat() if until else None,
    )


def busy(service: str, why: str) -> ServiceAwayError:
    """Somebody else did not come to an end."""
    return ServiceAwayError(
        f"nothing was sent to {service} from here: {why}, and has not come to an end; run the same command again",
        service=service,
    )


def failing_here(service: str, until: datetime) -> MachineFailingError:
    return MachineFailingError(
        f"nothing is bought from {service} now: stages of earlier items failed on this machine, out of memory, out of "
        f"disk or with workers lost; see to that, then run the same command again after "
        f"{until.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        service=service,
        until=until.isoformat(),
    )


def over_budget(refusal: OverBudget) -> DeferredError:
    left = max(0, refusal.cap_micro_usd - refusal.spent_micro_usd - refusal.held_micro_usd)
    whose = "this run" if refusal.scope.startswith("run:") else refusal.scope.replace(":", " ")
    return DeferredError(
        f"the budget of {whose} has {dollars(left, 2)} USD left of {dollars(refusal.cap_micro_usd, 2)}, this costs "
        f"{dollars(refusal.price_micro_usd, 2)}; raise it (--budget, `stillmotion spend --cap`) and run again",
        scope=refusal.scope,
        cap_micro_usd=refusal.cap_micro_usd,
        spent_micro_usd=refusal.spent_micro_usd,
        held_micro_usd=refusal.held_micro_usd,
        price_micro_usd=refusal.price_micro_usd,
    )


def twin(purchase: Purchase) -> StoppedError:
    return StoppedError(
        f"a picture that shows the same was bought already for {purchase.item!r}; release this one if it is another "
        "product",
        duplicate_of=purchase.item,
        purchase=purchase.purchase_key,
        run_id=purchase.run_id,
    )
