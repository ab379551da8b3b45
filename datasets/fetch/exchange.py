"""One request and its reply on one connection. No redirect, no retry, no proxy, no cookie, no decompression."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import cast

from datasets.fetch.deadline import Deadline
from datasets.fetch.facts import MEBIBYTE, FetchLimits, Known
from datasets.fetch.fetch_errors import FetchFailedError, FetchTooLargeError
from datasets.fetch.urls import Target
from datasets.fetch.wire import Wire
from datasets.known_secrets import shown_address

PIECE = 1 << 16  # bytes taken at a time
DRAINED = 1 << 16  # bytes of an unwanted body that are read so that the connection can be kept
INTERIM = 8  # interim replies (1xx) that may precede the real one
SIZE = re.compile(r"[0-9]{1,18}")
FIELD = re.compile(r"[\x20-\x7e]{1,512}")  # what is sent back as a validator: printable, and not a book


@dataclass(frozen=True)
class Reply:
    """What a server answered.

    Attributes:
        status: HTTP status.
        headers: By lower-case names; the first one counts.
        data: The body of a 200, else empty.
        last: Whether the connection cannot be used again.
    """

    status: int
    headers: Mapping[str, str]
    data: bytes
    last: bool


def exchange(wire: Wire, target: Target, known: Known, deadline: Deadline, limits: FetchLimits) -> Reply:
    """Ask for a target and read the reply.

    Raises:
        FetchTooLargeError: The body is larger than the limit.
        FetchFailedError: What came is not one whole HTTP reply.
        TimeoutError: The deadline passed.
        OSError: The connection broke.
    """
    wire.send(_request(target, known), deadline, 2 * limits.max_bytes + MEBIBYTE)  # room for headers and framing
    try:
        response = _begun(wire)
        headers = _headers(response, target)
        data = _body(response, target, limits.max_bytes) if response.status == 200 else b""
        whole = response.isclosed() or _drained(response)
    except FetchTooLargeError as error:
        raise _too_large(target, limits.max_bytes) from error
    except (HTTPException, ValueError) as error:  # texts of these quote what came
        raise _broken(target, "not one whole HTTP reply", problem=type(error).__name__) from error
    return Reply(response.status, headers, data, last=response.will_close or not whole)


def validator(value: str | None) -> str | None:
    """A value that may be kept and sent back later, or None."""
    value = (value or "").strip()
    return value if FIELD.fullmatch(value) else None


def _request(target: Target, known: Known) -> bytes:
    fields = {
        "Host": target.place.authority,
        "User-Agent": "stillmotion",
        "Accept": "image/*,*/*;q=0.1",
        "Accept-Encoding": "identity",
        "If-None-Match": validator(known.etag),
        "If-Modified-Since": validator(known.last_modified),
    }
    lines = [f"GET {target.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items() if value)]
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def _begun(wire: Wire) -> HTTPResponse:
    for _ in range(INTERIM):
        response = HTTPResponse(cast("object", wire), method="GET")  # type: ignore[arg-type]  # all it asks is makefile
        response.begin()
        if not 100 <= response.status < 200:
            return response
    raise HTTPException("interim replies without end")


def _headers(response: HTTPResponse, target: Target) -> Mapping[str, str]:
    """The headers, after a look at those that say how long the body is: two answers to that are none."""
    sizes = {value.strip() for value in response.headers.get_all("content-length", [])}
    coding = [value.strip().lower() for value in response.headers.get_all("transfer-encoding", [])]
    if len(sizes) > 1 or not all(SIZE.fullmatch(size) for size in sizes) or coding not in ([], ["chunked"]):
        raise _broken(target, "contradictory headers about its length")
    if coding and sizes:
        raise _broken(target, "contradictory headers about its length")
    found: dict[str, str] = {}
    for name, value in response.headers.items():
        found.setdefault(name.lower(), str(value).strip())
    return found


def _body(response: HTTPResponse, target: Target, most: int) -> bytes:
    if (response.length or 0) > most:
        raise _too_large(target, most, announced=response.length)
    parts: list[bytes] = []
    size = 0
    while part := response.read(PIECE):
        parts.append(part)
        size += len(part)
        if size > most:
            raise _too_large(target, most)
    if response.length:  # what Content-Length said and never came: http.client keeps silent about it
        raise _broken(target, "a body that broke off", missing=response.length)
    return b"".join(parts)


def _drained(response: HTTPResponse) -> bool:
    """Whether the rest of a reply that is not wanted could be read."""
    if response.length is None or response.length > DRAINED:
        return False
    response.read(DRAINED)
    return not response.length


def _too_large(target: Target, most: int, **facts: object) -> FetchTooLargeError:
    told = shown_address(target.url)
    return FetchTooLargeError(
        f"{told} is larger than {most} bytes; make it smaller or raise STILLMOTION_FETCH_MAX_MB",
        url=told,
        limit_bytes=most,
        **facts,
    )


def _broken(target: Target, what: str, **facts: object) -> FetchFailedError:
    told = shown_address(target.url)
    return FetchFailedError(f"{told}: expected a picture, got {what}; look at the server", url=told, **facts)
