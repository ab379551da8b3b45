"""One HTTP exchange: one connection, one request, one reply, one deadline. No retry, no redirect, no proxy."""

import logging
from collections.abc import Callable
from functools import cache

import httpcore
import httpx
from pydantic import SecretStr

from datasets.authorities import trusted_authorities
from datasets.redaction import RedactingFilter
from model_blocks.adapters.credentials import Credential, redact, redact_bytes, redact_document
from model_blocks.adapters.network import TimedBackend
from model_blocks.adapters.outcomes import Broken, BrokenKind, Reply, WireRequest

ALWAYS = {"Accept-Encoding": "identity", "Connection": "close", "User-Agent": "stillmotion"}


@cache
def _watch_what_httpcore_says() -> None:
    """Have its records redacted whoever listens: they hold the headers of replies, and a service may repeat a key."""
    for name in ("connection", "http11"):
        logging.getLogger(f"httpcore.{name}").addFilter(RedactingFilter())


def exchange(
    request: WireRequest,
    credential: Credential | None,
    secret: SecretStr | None,
    *,
    remaining: Callable[[], float],
    limit_bytes: int,
    connect: Callable[[Callable[[], float]], TimedBackend] = TimedBackend,
) -> Reply | Broken:
    """Send a request and read its reply.

    The connection is new and used once: on a kept one that the service has just closed, nobody could tell whether the
    request was seen. Redirects are not followed, since they would carry the credential elsewhere.

    Args:
        request: What to send.
        credential: The header that is added on the wire only.
        secret: Its key for this time.
        remaining: Seconds that are left.
        limit_bytes: The reply is read up to this size.
        connect: Makes what opens the connection.
    """
    _watch_what_httpcore_says()
    backend = connect(remaining)
    status: int | None = None
    try:
        with (
            httpcore.ConnectionPool(
                ssl_context=trusted_authorities() if request.url.startswith("https:") else None,
                network_backend=backend,
                max_keepalive_connections=0,
            ) as pool,
            pool.stream(
                request.method, request.url, headers=_headers(request, credential, secret), content=request.body
            ) as response,
        ):
            status = response.status
            body, whole = _read(response, limit_bytes)
            return _without(secret, Reply(status, _lower(response.headers), body, whole))
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
        return _broken(error, backend.sent, status)


def _headers(
    request: WireRequest, credential: Credential | None, secret: SecretStr | None
) -> list[tuple[bytes, bytes]]:
    fields = {**ALWAYS, **request.headers, "Content-Length": str(len(request.body))}
    url = httpx.URL(request.url)
    found = [(b"Host", url.netloc), *((name.encode("ascii"), value.encode("ascii")) for name, value in fields.items())]
    if credential is not None and secret is not None:
        found.append(credential.on_the_wire(secret))
    return found


def _read(response: httpcore.Response, limit: int) -> tuple[bytes, bool]:
    parts: list[bytes] = []
    size = 0
    for part in response.iter_stream():
        parts.append(part)
        size += len(part)
        if size > limit:
            return b"", False
    return b"".join(parts), True


def _lower(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}


def _without(secret: SecretStr | None, reply: Reply) -> Reply:
    """The reply without the key, should the service repeat it."""
    headers = {name: redact(value, secret) for name, value in reply.headers.items()}
    clean = redact_bytes if 200 <= reply.status < 300 else redact_document
    return Reply(reply.status, headers, clean(reply.body, secret), reply.whole)


def _broken(error: Exception, sent: int, status: int | None) -> Broken:
    """Texts of protocol errors may quote headers, so only their kind is told."""
    kind: BrokenKind
    if sent == 0:
        kind = "unreachable"
    elif isinstance(error, httpcore.TimeoutException):
        kind = "timeout"
    elif isinstance(error, httpcore.NetworkError):
        kind = "reset"
    else:
        kind = "protocol"
    said = type(error).__name__ if isinstance(error, httpcore.ProtocolError) else f"{type(error).__name__}: {error}"
    return Broken(kind, f"{said} ({sent} bytes of the request had been sent)", status)
