"""What is sent to a paid service, what comes back, and how a call or a look-up can end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Fault = Literal["blocked", "no_image", "not_an_image", "image_too_large", "reply_unreadable", "reply_too_large"]
BrokenKind = Literal["unreachable", "timeout", "reset", "protocol"]


@dataclass(frozen=True)
class PaidRequest:
    """What is bought.

    Attributes:
        prompt: What to make.
        image: An encoded image to begin with.
        image_media_type: Of ``image``.
        mask: An encoded mask.
        mask_media_type: Of ``mask``.
        parameters: JSON-ready, handed to the service as they are.
        units: How many units are bought.
    """

    prompt: str = field(repr=False)
    image: bytes | None = field(default=None, repr=False)
    image_media_type: str = "image/png"
    mask: bytes | None = field(default=None, repr=False)
    mask_media_type: str = "image/png"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    units: int = 1


@dataclass(frozen=True)
class WireRequest:
    """An HTTP request without its credential."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Reply:
    """An HTTP reply that was read to its end, or to the largest size that is read (``whole`` is false then)."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    whole: bool = True


@dataclass(frozen=True)
class Broken:
    """An exchange without a complete reply.

    Attributes:
        kind: ``unreachable`` means that not one byte of the request left this machine.
        detail: What happened, in words without secrets.
        status: Of the reply that broke off; None if none had begun.
    """

    kind: BrokenKind
    detail: str
    status: int | None = None


@dataclass(frozen=True)
class Reading:
    """What an adapter reads in a successful reply.

    Attributes:
        content: The image, or the reply as it came if there is a fault.
        media_type: Of ``content``.
        reference: The service's own name for the work.
        charged_micro_usd: The price the service names; None if it names none.
        fault: Why ``content`` is not what was bought.
        detail: The fault in words.
        usage: Counts that the service reports.
    """

    content: bytes = field(repr=False)
    media_type: str
    reference: str | None = None
    charged_micro_usd: int | None = None
    fault: Fault | None = None
    detail: str = ""
    usage: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Settled:
    """The service did the work and charges for it.

    Attributes:
        content: The image, or with a fault the reply as it came.
        media_type: Of ``content``, told from its bytes.
        reference: The service's own name for the work.
        charged_micro_usd: What it costs.
        price_source: Whether the reply said so, or the declaration's price was taken.
        fault: Paid, but not what was bought; None if all is well.
        detail: The fault in words.
        usage: Counts that the service reports.
        attempts: How many requests were sent.
    """

    content: bytes = field(repr=False)
    media_type: str
    reference: str | None
    charged_micro_usd: int
    price_source: Literal["reply", "declared"] = "declared"
    fault: Fault | None = None
    detail: str = ""
    usage: Mapping[str, int] = field(default_factory=dict)
    attempts: int = 1


@dataclass(frozen=True)
class FailedFree:
    """It failed and nothing was charged, with the proof of that.

    Attributes:
        code: ``unreachable``, ``redirected``, ``refused`` or ``status_<number>``.
        proof: Why nothing can have been charged.
        transient: Whether the same call may succeed later.
        retry_after_s: How long the service asks to wait.
        needs_new_key: Whether the service would repeat this answer for the same key.
        attempts: How many requests were sent.
    """

    code: str
    proof: str
    transient: bool
    retry_after_s: float | None = None
    needs_new_key: bool = False
    attempts: int = 1


@dataclass(frozen=True)
class Unknown:
    """It may have been charged or not; only a look-up, the same key or a person can tell.

    Attributes:
        reason: ``timeout``, ``reset``, ``protocol`` or ``status_<number>``.
        detail: In words.
        transient: Whether another try could tell.
        retry_after_s: How long the service asks to wait.
        needs_new_key: Whether the service would repeat this answer for the same key.
        attempts: How many requests were sent.
    """

    reason: str
    detail: str
    transient: bool = True
    retry_after_s: float | None = None
    needs_new_key: bool = False
    attempts: int = 1


@dataclass(frozen=True)
class Deferred:
    """The circuit is open: nothing was charged, and nothing is sent before ``until`` (UTC)."""

    until: datetime
    attempts: int = 0


Outcome = Settled | FailedFree | Unknown | Deferred


@dataclass(frozen=True)
class Charged:
    """The service knows the key and charged for it."""

    settled: Settled


@dataclass(frozen=True)
class NotCharged:
    """The service charged nothing for the key, and never will for what was sent."""

    proof: str


@dataclass(frozen=True)
class Undecided:
    """Nothing can be said yet; ask again, not before ``until`` (UTC) if that is given."""

    reason: str
    until: datetime | None = None


Finding = Charged | NotCharged | Undecided
