"""What one exchange means for the money: settled, failed for free, or unknown."""

from datetime import datetime

from pydantic import SecretStr

from datasets.retry_after import retry_after_s
from model_blocks.adapters.adapter import PaidAdapter
from model_blocks.adapters.credentials import redact, redact_document
from model_blocks.adapters.declaration import ServiceDeclaration
from model_blocks.adapters.outcomes import Broken, FailedFree, Reading, Reply, Settled, Unknown
from model_blocks.adapters.reply_form import plain, unreadable

PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})  # statuses that another try may not meet
ELSEWHERE = frozenset({301, 307, 308})  # not processed here; 302 and 303 may follow work that was done
UNFINISHED = frozenset({202, 206})  # neither done nor refused


def judge(
    answer: Reply | Broken, adapter: PaidAdapter, *, units: int, secret: SecretStr | None, now: datetime
) -> Settled | FailedFree | Unknown:
    """Classify what came of a request.

    Args:
        answer: The reply or how the exchange broke.
        adapter: Whose service it was.
        units: How many were ordered.
        secret: Key that must not stand in what is kept.
        now: Time of day; dates in ``Retry-After`` count from it.
    """
    if isinstance(answer, Broken):
        return _broken(answer)
    if 200 <= answer.status < 300 and answer.status not in UNFINISHED:
        return _success(answer, adapter, units, secret)
    return _refusal(answer, adapter, secret, now)


def _broken(answer: Broken) -> FailedFree | Unknown:
    if answer.kind == "unreachable":
        return FailedFree("unreachable", f"not one byte of the request was sent: {answer.detail}", transient=True)
    begun = f" after status {answer.status} had come" if answer.status else ""
    return Unknown(answer.kind, answer.detail + begun)


def _success(answer: Reply, adapter: PaidAdapter, units: int, secret: SecretStr | None) -> Settled | FailedFree:
    declaration = adapter.declaration
    reading = adapter.read(answer) if answer.whole else _too_large(answer, declaration)
    if reading.fault == "blocked" and declaration.refusals_are_free:
        return FailedFree("refused", redact(f"{reading.detail}; declared free", secret), transient=False)
    return settled(reading, declaration, units=units, secret=secret)


def settled(reading: Reading, declaration: ServiceDeclaration, *, units: int, secret: SecretStr | None) -> Settled:
    """A reading as a charge."""
    named = reading.charged_micro_usd
    return Settled(
        content=reading.content if reading.fault is None else redact_document(reading.content, secret),
        media_type=redact(reading.media_type, secret),
        reference=redact(reading.reference, secret) if reading.reference is not None else None,
        charged_micro_usd=declaration.price_of(units) if named is None else named,
        price_source="declared" if named is None else "reply",
        fault=reading.fault,
        detail=redact(reading.detail, secret),
        usage=reading.usage,
    )


def _too_large(answer: Reply, declaration: ServiceDeclaration) -> Reading:
    return unreadable(answer, f"the reply is larger than {declaration.max_reply_mb} MiB", "reply_too_large")


def _refusal(answer: Reply, adapter: PaidAdapter, secret: SecretStr | None, now: datetime) -> FailedFree | Unknown:
    declaration, status = adapter.declaration, answer.status
    pause = retry_after_s(answer.headers, now)
    pause = adapter.pause_s(answer) if pause is None else pause
    said = plain(redact(answer.body[:1000].decode("utf-8", "replace"), secret))
    if status in declaration.free_statuses:
        code, proof = f"status_{status}", f"status {status} is declared free; the service said: {said}"
    elif status in ELSEWHERE:
        code, proof = "redirected", f"status {status} sends the request elsewhere, which was not followed"
    else:
        detail = f"the service answered with status {status}: {said}"
        return Unknown(f"status_{status}", detail, _passes(status), pause, declaration.replays_errors)
    return FailedFree(code, proof, _passes(status), pause, declaration.replays_errors)


def _passes(status: int) -> bool:
    return status in PASSING or status in UNFINISHED
