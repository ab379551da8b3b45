"""What is bought, as plain frozen values: a wish, the row it has in the ledger, and the answers to a claim."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Row

from datasets.errors import PermanentError, UsageError
from datasets.identity import check_digest, fingerprint

State = Literal["intent", "sent", "settled", "failed_free", "unknown", "void"]
Policy = Literal["hold", "resend_once"]
OPEN: tuple[State, ...] = ("intent", "sent", "unknown")  # money is held, the outcome is not known
NAMESPACE = uuid.UUID("6d1c3f1e-52b4-5b7a-9c0e-6f0a3d8b7e21")  # of our idempotency keys; drawn once


class PurchaseStateError(PermanentError):
    """A purchase was to go from one state to another that does not follow it."""

    code = "purchase_state"


class PurchaseLostError(PermanentError):
    """Another process has gone on with the purchase in the meantime."""

    code = "purchase_lost"


@dataclass(frozen=True)
class Wanted:
    """One paid deliverable that a run wants.

    Attributes:
        purchase_key: From ``purchase_key``: what is bought, whoever asks.
        price_micro_usd: The most that one sending is expected to cost; this much is held.
        price_list: Version of the list that the price is from.
        policy: What may be done about a sending of which nobody can say whether it was charged.
        can_resolve: Whether the adapter can find that out: it looks up by key, or the service honours keys.
        guard: Whether it is bought for a guardrail, to save other purchases.
    """

    purchase_key: str
    run_id: str
    item: str
    stage: str
    adapter: str
    adapter_version: str
    price_micro_usd: int
    price_list: str
    policy: Policy = "hold"
    can_resolve: bool = False
    guard: bool = False

    def __post_init__(self) -> None:
        check_digest(self.purchase_key)
        check_amount(self.price_micro_usd)
        if self.policy not in ("hold", "resend_once"):
            raise UsageError(f"a policy for unknown outcomes is 'hold' or 'resend_once', not {self.policy!r}")


@dataclass(frozen=True)
class Response:
    """Where a service's answer is kept: its bytes are in the storage before the purchase is settled.

    Attributes:
        digest: sha256 of the bytes.
        path: Below the tenant's place in the storage.
    """

    digest: str
    media_type: str
    path: str

    def __post_init__(self) -> None:
        check_digest(self.digest)


@dataclass(frozen=True)
class Purchase:
    """A purchase as the ledger has it.

    Attributes:
        run_id: The run whose intent it was and whose budget it is under.
        held_micro_usd: What its budgets hold for it now. In ``settled`` this is an earlier sending's possible charge.
        charged_micro_usd: What was really charged, once settled.
        scopes: The budgets that it is under.
        attempt: Counts intents, from 1. A sending that cost nothing may be followed by a new attempt.
        sendings: How often the request of this attempt left the process.
        idempotency_key: For the service; the same for all sendings of an attempt.
        holder: The process that goes on with it, until ``lease_expires_at``.
        sent_at: The first sending of this attempt: a service's window for keys begins here.
        day: UTC day of the charge, of the intent as long as there is none.
    """

    purchase_key: str
    state: State
    run_id: str
    item: str
    stage: str
    adapter: str
    adapter_version: str
    price_micro_usd: int
    price_list: str
    held_micro_usd: int
    charged_micro_usd: int | None
    scopes: list[str]
    policy: Policy
    guard: bool
    attempt: int
    sendings: int
    idempotency_key: str
    provider_reference: str | None
    response_digest: str | None
    response_media_type: str | None
    response_path: str | None
    error_code: str | None
    error_facts: dict[str, Any] | None
    holder: str | None
    holder_run_id: str | None
    lease_expires_at: datetime | None
    intent_at: datetime
    sent_at: datetime | None
    resent_at: datetime | None
    unknown_at: datetime | None
    looked_up_at: datetime | None
    settled_at: datetime | None
    failed_free_at: datetime | None
    void_at: datetime | None
    day: str

    @property
    def response(self) -> Response | None:
        """The answer's place; None if the charge is known but the answer never arrived."""
        if self.response_digest is None:
            return None
        return Response(self.response_digest, str(self.response_media_type), str(self.response_path))


@dataclass(frozen=True)
class Bought:
    """Settled already, perhaps by another run. The bytes are at ``purchase.response``."""

    purchase: Purchase


@dataclass(frozen=True)
class Yours:
    """Nobody else may go on with it.

    In state ``intent`` nothing was sent. In ``unknown`` an earlier sending may have been charged: look it up, or send
    it again (``resend``); never send it as if it were new.
    """

    purchase: Purchase


@dataclass(frozen=True)
class Busy:
    """Another process that lives goes on with it: wait and claim again."""

    purchase: Purchase


@dataclass(frozen=True)
class Held:
    """It may have been charged, nobody can find out here, and the tenant's policy forbids to risk it twice."""

    purchase: Purchase


@dataclass(frozen=True)
class OverBudget:
    """The budget of a scope does not have the price left. Nothing was written: the item is deferred."""

    scope: str
    cap_micro_usd: int
    spent_micro_usd: int
    held_micro_usd: int
    price_micro_usd: int


@dataclass(frozen=True)
class Twin:
    """A picture that shows the same is bought, or being bought, for the same wish. Nothing was written."""

    purchase: Purchase


Claim = Bought | Yours | Busy | Held | OverBudget | Twin


@dataclass(frozen=True)
class Charged:
    """An unknown outcome turned out as charged; ``response`` only if the answer could be had.

    Attributes:
        micro_usd: The sum of what was charged for all sendings of the attempt.
    """

    micro_usd: int
    reference: str | None = None
    response: Response | None = None


@dataclass(frozen=True)
class NotCharged:
    """An unknown outcome is proven to have cost nothing, whichever sending is meant."""

    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Undecided:
    """The service could not say, or not yet."""

    evidence: dict[str, Any] = field(default_factory=dict)


Outcome = Charged | NotCharged | Undecided


def purchase_key(
    tenant: str,
    stage: str,
    adapter: str,
    adapter_version: str,
    parameters: Mapping[str, object],
    input_digests: Sequence[str],
) -> str:
    """The sha256 that names what is bought: the same wish has the same key, in whatever run."""
    return fingerprint(
        {
            "tenant": tenant,
            "stage": stage,
            "adapter": adapter,
            "adapter_version": adapter_version,
            "parameters": parameters,
            "inputs": [check_digest(digest) for digest in input_digests],
        }
    )


def idempotency_key(key: str, attempt: int) -> str:
    """A UUID, which every service takes as a key; the same for the same attempt, even if the ledger was lost."""
    return str(uuid.uuid5(NAMESPACE, f"{key}:{attempt}"))


def check_amount(micro_usd: int) -> int:
    """The amount itself, if it is a whole number of micro-USD that is not negative.

    Raises:
        UsageError: It is not.
    """
    if isinstance(micro_usd, bool) or not isinstance(micro_usd, int) or micro_usd < 0:
        raise UsageError(f"expected whole micro-USD, 0 or more, got {micro_usd!r}; 1 USD is 1000000")
    return micro_usd


def purchase_of(row: Row[Any]) -> Purchase:
    """A row of the table as a value."""
    return Purchase(**{name: row._mapping[name] for name in NAMES})


NAMES = [item.name for item in fields(Purchase)]
