"""What a fetch is given and what it gives back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

MEBIBYTE = 1 << 20
Allowed = frozenset[tuple[str, int]]  # host and port, as in STILLMOTION_FETCH_ALLOW
Resolve = Callable[[str, int], Sequence[str]]  # host name and port -> addresses as text; raises OSError


@dataclass(frozen=True)
class FetchLimits:
    """What one fetch may take.

    Attributes:
        max_bytes: Largest body.
        timeout_s: Longest time for one URL: names, connections, redirects and retries together. Waiting for a
            turn at the host does not count.
        connect_s: Longest time to resolve a name, connect and shake hands, each time.
        redirects: Most redirects followed, each judged like a URL of its own.
        per_host: Most requests on their way to one host at once.
        per_host_interval_s: Least time between the starts of two requests to one host, in seconds.
        media: Accepted beginnings of the media type.
        attempts: Most tries per URL where another try may help.
        backoff_s: First pause before another try; doubled each time, with jitter.
        retry_after_max_s: Longest ``Retry-After`` that is waited for; one that asks for more fails at once, and so
            does every fetch from that host until the time has passed.
    """

    max_bytes: int = 64 * MEBIBYTE
    timeout_s: float = 60.0
    connect_s: float = 10.0
    redirects: int = 5
    per_host: int = 8
    per_host_interval_s: float = 0.0
    media: tuple[str, ...] = ("image/",)
    attempts: int = 3
    backoff_s: float = 0.25
    retry_after_max_s: float = 30.0


@dataclass(frozen=True)
class Known:
    """The validators of the last fetch (RFC 9110, section 8.8), as ``Fetched`` gave them.

    Attributes:
        etag: The entity tag.
        last_modified: The date, as the server wrote it.
        url: Who gave them (``Fetched.url``). They are sent to that URL only; empty: to every URL on the way.
    """

    etag: str | None = None
    last_modified: str | None = None
    url: str = ""


@dataclass(frozen=True)
class Fetched:
    """A picture, or the news that it is the known one.

    Attributes:
        data: The bytes as sent; None where the server said that nothing changed (304).
        etag: To be kept for the next time; None if there is none.
        last_modified: Likewise. None too where the date is too young to prove anything (RFC 9110, section 8.8.2.2).
        url: Where it was in the end, after redirects. May hold a signature in its query: do not show it.
        media_type: As the server said, lower case, without parameters; empty for an unchanged one.
        requests: How many requests it took.
    """

    data: bytes | None
    etag: str | None
    last_modified: str | None
    url: str
    media_type: str
    requests: int
