"""What a reply means: a picture, news of none, another address, or an error."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from datasets.errors import PipelineError
from datasets.fetch.exchange import Reply, validator
from datasets.fetch.facts import Fetched, Known
from datasets.fetch.fetch_errors import (
    FetchDeniedError,
    FetchFailedError,
    FetchNotAnImageError,
    FetchNotFoundError,
)
from datasets.fetch.urls import Target
from datasets.known_secrets import shown_address

ELSEWHERE = frozenset({301, 302, 303, 307, 308})
ABSENT = frozenset({404, 410})
PASSING = frozenset({408, 421, 425, 429, 500, 502, 503, 504})  # another try may not meet these
UNCHANGED = 304
PROVES_AFTER = timedelta(seconds=2)  # a second change within the second of the first leaves Last-Modified as it is


def read_picture(reply: Reply, target: Target, known: Known, media: tuple[str, ...]) -> Fetched:
    """The picture in a reply, or the news that it is the known one. ``requests`` is left to the caller.

    Raises:
        FetchNotFoundError: There is none.
        FetchDeniedError: We do not get it.
        FetchNotAnImageError: It is something else.
        FetchFailedError: The server could not answer now.
    """
    if reply.status == UNCHANGED and (known.etag or known.last_modified):
        etag, modified = _validators(reply)
        return Fetched(None, etag or known.etag, modified or known.last_modified, target.url, "", 0)
    if reply.status != 200:
        raise error_of(reply, target)
    kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    coding = reply.headers.get("content-encoding", "identity").strip().lower()
    if coding not in {"identity", ""} or not kind.startswith(media):
        raise _no_picture(target, kind[:80], coding[:20])
    return Fetched(reply.data, *_validators(reply), target.url, kind, 0)


def error_of(reply: Reply, target: Target) -> PipelineError:
    """The error that a status stands for."""
    told = shown_address(target.url)
    facts = {"url": told, "status": reply.status}
    if reply.status in ABSENT:
        return FetchNotFoundError(f"{told} is not there ({reply.status}); correct the address in the table", **facts)
    if 400 <= reply.status < 500 and reply.status not in PASSING:
        return FetchDeniedError(f"{told} was answered by {reply.status}; let us in, or correct the address", **facts)
    return FetchFailedError(f"{told}: expected a picture, got status {reply.status}; look at the server", **facts)


def _validators(reply: Reply) -> tuple[str | None, str | None]:
    modified = validator(reply.headers.get("last-modified"))
    return validator(reply.headers.get("etag")), modified if modified and _proves(modified, reply) else None


def _proves(modified: str, reply: Reply) -> bool:
    """Whether a date is so old that a later change would show another one (RFC 9110, section 8.8.2.2)."""
    date, now = _date(modified), _date(reply.headers.get("date", "")) or datetime.now(UTC)
    return date is not None and now - date >= PROVES_AFTER


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _no_picture(target: Target, kind: str, coding: str) -> FetchNotAnImageError:
    told = shown_address(target.url)
    what = f"{kind or 'no media type'}{'' if coding in {'identity', ''} else f' compressed by {coding}'}"
    return FetchNotAnImageError(
        f"{told}: expected a picture, got {what}; correct the server, or name the type in STILLMOTION_FETCH_MEDIA",
        url=told,
        media_type=kind,
    )
