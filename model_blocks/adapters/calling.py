"""The one retry layer for paid calls: nothing is sent twice unless the service promises to charge once."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, Protocol

from pydantic import SecretStr

from datasets.errors import UsageError
from model_blocks.adapters.adapter import PaidAdapter
from model_blocks.adapters.exchange import exchange
from model_blocks.adapters.judging import judge
from model_blocks.adapters.outcomes import Deferred, FailedFree, Outcome, PaidRequest, Settled, Unknown
from model_blocks.adapters.waiting import Clock, Retries

MEBIBYTE = 1 << 20
FailureKind = Literal["unreachable", "timeout", "reset", "protocol", "overloaded", "error", "not_sent"]


class Breaker(Protocol):
    """A circuit breaker, usually shared by all workers through the ledger.

    A caller may be killed after it was let through, so a half-open breaker gives its trial a time limit. What a breaker
    raises ends the call; after a request was sent, the purchase is then as after a kill: sent, its end unknown.
    """

    def before_call(self, service: str) -> datetime | None:
        """None lets the request go; a time (UTC) says until when nothing is sent."""

    def succeeded(self, service: str) -> None:
        """The service answered as a healthy one does; a refusal of a bad request counts."""

    def failed(self, service: str, kind: FailureKind, retry_after_s: float | None) -> None:
        """The service did not. ``not_sent`` gives a let-through request back: nothing was learnt about the service.

        What this raises hides what came of the request, so an implementation that can be away says so elsewhere.
        """


class NoBreaker:
    """Lets everything go."""

    def before_call(self, service: str) -> datetime | None:
        return None

    def succeeded(self, service: str) -> None: ...

    def failed(self, service: str, kind: FailureKind, retry_after_s: float | None) -> None: ...


@dataclass(frozen=True)
class Attempt:
    """A request that is about to be sent; the ledger writes it down as ``sent``.

    Attributes:
        service: Name of the service.
        idempotency_key: The same for all tries.
        number: From 1.
        at: Time of day, UTC.
    """

    service: str
    idempotency_key: str
    number: int
    at: datetime


def call(
    adapter: PaidAdapter,
    request: PaidRequest,
    *,
    idempotency_key: str,
    before_send: Callable[[Attempt], None],
    breaker: Breaker | None = None,
    deadline_s: float | None = None,
    key_age_s: float | None = None,
    retries: Retries | None = None,
    clock: Clock | None = None,
) -> Outcome:
    """Buy something once.

    Args:
        adapter: The service.
        request: What is bought.
        idempotency_key: Names the purchase; every try carries it.
        before_send: Called before each try and before a socket is opened. If it raises, nothing is sent.
        breaker: Asked before each try; without one everything goes.
        deadline_s: Longest time for all tries and pauses together; by default the declaration's.
        key_age_s: If the key was sent before with an unknown end, how long ago that was first. Then this call cannot
            end as free, whatever happens now: the earlier request may have been charged.
        retries: How often and how patiently.
        clock: Time.

    Raises:
        UsageError: The key is none that a header can hold.
        SettingsError: The credential is missing or no header can hold it.
    """
    if not (0 < len(idempotency_key) <= 255 and idempotency_key.isascii() and idempotency_key.isprintable()):
        raise UsageError("an idempotency key is 1 to 255 printable ASCII signs")
    longest = adapter.declaration.deadline_s if deadline_s is None else deadline_s
    return _Call(
        adapter, request, idempotency_key, before_send, breaker or NoBreaker(), longest, key_age_s, retries, clock
    ).run()


class _Call:
    """One purchase with its tries."""

    def __init__(
        self,
        adapter: PaidAdapter,
        request: PaidRequest,
        key: str,
        before_send: Callable[[Attempt], None],
        breaker: Breaker,
        longest_s: float,
        key_age_s: float | None,
        retries: Retries | None,
        clock: Clock | None,
    ) -> None:
        self._adapter, self._declaration, self._key = adapter, adapter.declaration, key
        self._before_send, self._breaker = before_send, breaker
        self._retries, self._clock = retries or Retries(), clock or Clock()
        self._units = request.units
        self._wire = adapter.build(request, key)  # once, so that all tries send the same bytes
        self._begun = self._clock.monotonic()
        self._end = self._begun + longest_s
        self._key_age_s = key_age_s
        self._tried = 0
        self._uncertain: Unknown | None = None

    def run(self) -> Outcome:
        while True:
            outcome = self._attempt()
            if isinstance(outcome, Deferred):
                return self._final(outcome)
            if isinstance(outcome, Unknown):
                self._uncertain = outcome
            pause = self._pause(outcome)
            if pause is None:
                return self._final(outcome)
            self._clock.sleep(pause)

    def _attempt(self) -> Outcome:
        until = self._breaker.before_call(self._declaration.name)
        if until is not None:
            return Deferred(until)
        try:
            secret = self._adapter.credential.reveal() if self._adapter.credential else None
            self._before_send(Attempt(self._declaration.name, self._key, self._tried + 1, self._clock.now()))
            outcome = self._exchange(secret)
        except BaseException:  # also on the way, as when the caller is interrupted: a trial call is given to another
            self._breaker.failed(self._declaration.name, "not_sent", None)
            raise
        self._tell(outcome)
        return outcome

    def _exchange(self, secret: SecretStr | None) -> Settled | FailedFree | Unknown:
        self._tried += 1
        end = min(self._end, self._clock.monotonic() + (self._declaration.attempt_s or self._declaration.deadline_s))
        answer = exchange(
            self._wire,
            self._adapter.credential,
            secret,
            remaining=lambda: end - self._clock.monotonic(),
            limit_bytes=self._declaration.max_reply_mb * MEBIBYTE,
        )
        return judge(answer, self._adapter, units=self._units, secret=secret, now=self._clock.now())

    def _tell(self, outcome: Settled | FailedFree | Unknown) -> None:
        kind = failure_kind(outcome)
        if kind is None or isinstance(outcome, Settled):
            self._breaker.succeeded(self._declaration.name)
        else:
            self._breaker.failed(self._declaration.name, kind, outcome.retry_after_s)

    def _pause(self, outcome: Outcome) -> float | None:
        """Seconds until the next try; None if there must be none."""
        if isinstance(outcome, (Settled, Deferred)) or not outcome.transient or self._tried >= self._retries.attempts:
            return None
        if isinstance(outcome, Unknown) and (outcome.needs_new_key or not self._declaration.honours_idempotency_keys):
            return None
        pause = self._retries.pause_s(self._tried, self._clock.chance(), outcome.retry_after_s)
        then = self._clock.monotonic() + pause
        return pause if then < self._end and self._key_is_safe(then) else None

    def _key_is_safe(self, then: float) -> bool:
        """Whether a request sent then cannot be charged beside an earlier one of this key."""
        if not self._declaration.honours_idempotency_keys or (self._uncertain is None and self._key_age_s is None):
            return True  # all requests so far were free, or the caller took the risk
        return self._declaration.key_holds(then - self._begun + (self._key_age_s or 0.0))

    def _final(self, outcome: Outcome) -> Outcome:
        """What the tries together mean: after an unknown one only a settled one is sure."""
        if isinstance(outcome, (FailedFree, Deferred)) and self._uncertain is not None:
            outcome = self._uncertain
        elif isinstance(outcome, FailedFree) and self._key_age_s is not None:
            outcome = Unknown(
                "earlier_request",
                f"this one was free ({outcome.proof}), an earlier one of this key may not have been",
                outcome.transient,
                outcome.retry_after_s,
                outcome.needs_new_key,
            )
        return replace(outcome, attempts=self._tried)


def failure_kind(outcome: Settled | FailedFree | Unknown) -> FailureKind | None:
    """What an outcome says about the health of the service; None if it is well."""
    if isinstance(outcome, Settled):
        return None
    name = outcome.code if isinstance(outcome, FailedFree) else outcome.reason
    kinds: dict[str, FailureKind] = {
        "unreachable": "unreachable",
        "timeout": "timeout",
        "reset": "reset",
        "protocol": "protocol",
        "status_429": "overloaded",
        "status_503": "overloaded",
        "status_529": "overloaded",
    }
    return kinds.get(name, "error" if name.startswith("status_5") else None)
