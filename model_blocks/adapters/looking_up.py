"""Asking a service what became of a key, before anybody pays twice."""

from datetime import datetime, timedelta

from datasets.retry_after import retry_after_s
from model_blocks.adapters.adapter import PaidAdapter
from model_blocks.adapters.credentials import redact
from model_blocks.adapters.exchange import exchange
from model_blocks.adapters.judging import settled
from model_blocks.adapters.outcomes import Broken, Charged, Finding, NotCharged, Reply, Undecided, WireRequest
from model_blocks.adapters.waiting import Clock

MEBIBYTE = 1 << 20


def look_up(
    adapter: PaidAdapter,
    idempotency_key: str,
    *,
    sent_at: datetime,
    ended_at: datetime | None = None,
    units: int = 1,
    deadline_s: float | None = None,
    clock: Clock | None = None,
) -> Finding:
    """What became of a purchase. One request, no retry: who asks knows when to ask again.

    Args:
        adapter: The service.
        idempotency_key: As it was sent.
        sent_at: When its last request was written down as sent, in UTC.
        ended_at: When that request was known to be over. Empty, as after a kill: it may have gone out until the end of
            its time limit. A "none" within the settle time after that is no answer yet.
        units: How many were ordered.
        deadline_s: Longest time; by default the declaration's for one try.
        clock: Time.

    Raises:
        SettingsError: The credential is missing or no header can hold it.
    """
    form, clock = adapter.look_up_form, clock or Clock()
    if form is None:
        return Undecided(f"{adapter.declaration.name} offers no look-up; hold it, or decide by hand")
    declaration = adapter.declaration
    secret = adapter.credential.reveal() if adapter.credential else None
    limit_s = declaration.attempt_s or declaration.deadline_s
    end = clock.monotonic() + (deadline_s or limit_s)
    asked_at = clock.now()
    answer = exchange(
        WireRequest("GET", declaration.endpoint + form.path_of(idempotency_key), {"Accept": "application/json"}),
        adapter.credential,
        secret,
        remaining=lambda: end - clock.monotonic(),
        limit_bytes=declaration.max_reply_mb * MEBIBYTE,
    )
    if isinstance(answer, Broken):
        return Undecided(f"the look-up failed: {answer.detail}")
    state, said = form.state_of(answer)
    if state == "charged":
        reading = form.result.read(answer, max_megapixels=declaration.max_megapixels)
        return Charged(settled(reading, declaration, units=units, secret=secret))
    if state == "none":
        over = ended_at or sent_at + timedelta(seconds=limit_s)
        return _none(redact(said, secret), asked_at, over + timedelta(seconds=declaration.settle_time_s))
    return Undecided(redact(said, secret), _later(answer, clock))


def _none(said: str, asked_at: datetime, settles_at: datetime) -> NotCharged | Undecided:
    """The time of asking counts: what the service learnt while it answered is not in its answer."""
    if asked_at < settles_at:
        return Undecided(f"the service knows nothing of the key yet ({said})", settles_at)
    return NotCharged(f"the service knows nothing of the key after its settle time ({said})")


def _later(answer: Reply, clock: Clock) -> datetime | None:
    pause = retry_after_s(answer.headers, clock.now())
    return None if pause is None else clock.now() + timedelta(seconds=pause)
