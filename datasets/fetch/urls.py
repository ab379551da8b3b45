"""Reading a URL strictly: what two programs could read differently is refused rather than repaired.

Source: RFC 3986; for hosts the rules of the WHATWG URL standard that a host ending in a number is an address.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import idna

from datasets.fetch.addresses import address_in
from datasets.fetch.facts import Allowed
from datasets.fetch.fetch_errors import FetchRefusedError
from datasets.known_secrets import shown_address

LONGEST = 8192  # characters; longer ones are refused by most servers
LONGEST_NAME = 253  # characters of a host name (RFC 1035, section 2.3.4, as text)
PORTS = frozenset({80, 443, 8443})
DEFAULT_PORTS = {"https": 443, "http": 80}
FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\]")  # control characters; a backslash is a slash to some readers
LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")  # underscores occur in real names
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
KEPT = "%/:?#[]@!$&'()*+,;=~-._"  # characters of a URL that stay as they are


@dataclass(frozen=True)
class Place:
    """Whom to ask.

    Attributes:
        scheme: ``https`` or ``http``.
        host: Lower-case ASCII name, or an address in its usual form without brackets.
        port: Always told.
        own: Whether it is one of the own image servers.
    """

    scheme: str
    host: str
    port: int
    own: bool

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True)
class Target:
    """A URL that may be asked for, as far as one can tell without resolving its name."""

    place: Place
    path: str  # with the query

    @property
    def url(self) -> str:
        return f"{self.place.scheme}://{self.place.authority}{self.path}"


def read_url(url: str, allow: Allowed) -> Target:
    """Read and judge a URL.

    Raises:
        FetchRefusedError: It is malformed, ambiguous, or of a kind we do not go to.
    """
    parts = _split(url)
    scheme = parts.scheme
    if scheme not in DEFAULT_PORTS:
        raise refused(url, "scheme", f"expected an https:// address, got the scheme {scheme[:20]!r}")
    if "@" in parts.netloc:
        raise refused(url, "login", "expected an address without a login; take it out")
    host = host_of(parts.netloc, url)
    port = _port(parts, url)
    own = (host, port) in allow
    if scheme == "http" and not own:
        raise refused(url, "scheme", f"expected https://, got http://; {remedy(host, port)}")
    if port not in PORTS and not own:
        raise refused(url, "port", f"expected port 443 or 8443, got {port}; {remedy(host, port)}")
    return Target(Place(scheme, host, port, own), _path(parts))


def redirected(target: Target, location: str, allow: Allowed) -> Target:
    """Where a redirect leads, judged like any URL.

    Raises:
        FetchRefusedError: We do not go there.
    """
    if not location or FORBIDDEN.search(location):
        raise refused(target.url, "malformed", "the server redirects to no address, or one with control characters")
    try:
        return read_url(urljoin(target.url, _as_utf_8(location)), allow)
    except ValueError as error:
        raise refused(target.url, "malformed", "the server redirects to what is no address") from error


def _as_utf_8(header: str) -> str:
    """A header as text: it was read as Latin-1, and what is beyond ASCII in an address is UTF-8 today."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


def refused(url: str, reason: str, message: str, **facts: object) -> FetchRefusedError:
    """The error for what is not fetched; the URL is told without login and query."""
    told = shown_address(url[:200])
    return FetchRefusedError(f"{told!r} is not fetched: {message}", reason=reason, url=told, **facts)


def remedy(host: str, port: int) -> str:
    """How an operator lets a server in."""
    shown = f"[{host}]" if ":" in host else host
    return f"an own image server is let in by STILLMOTION_FETCH_ALLOW={shown}:{port}"


def _split(url: str) -> SplitResult:
    if len(url) > LONGEST:
        raise refused(url, "malformed", f"expected at most {LONGEST} characters, got {len(url)}")
    if FORBIDDEN.search(url) or url != url.strip():
        raise refused(url, "malformed", "it holds control characters, backslashes or outer spaces")
    try:
        parts = urlsplit(url)
        parts.path.encode()  # a lone surrogate is no text
        parts.query.encode()
    except ValueError as error:
        raise refused(url, "malformed", "it is no address") from error
    if parts.scheme in DEFAULT_PORTS and not url[len(parts.scheme) :].startswith("://"):
        raise refused(url, "malformed", "expected two slashes after the scheme")
    return parts


def _port(parts: SplitResult, url: str) -> int:
    text = re.sub(r"^(\[[^]]*\]|[^:]*)", "", parts.netloc)
    if text in {"", ":"}:
        return DEFAULT_PORTS[parts.scheme]
    if not re.fullmatch(r":[0-9]{1,5}", text) or not 0 < int(text[1:]) < 1 << 16:
        raise refused(url, "malformed", "its port is no number from 1 to 65535")
    return int(text[1:])


def host_of(netloc: str, url: str) -> str:
    """The host of ``host``, ``host:port`` or ``[address]:port`` in its one usual form.

    Raises:
        FetchRefusedError: It is empty, no name, or an address in another than the usual form.
    """
    if netloc.startswith("["):
        return _ipv6(netloc[1:].partition("]")[0], url)
    name = netloc.partition(":")[0]
    host = (name if name.isascii() else _ascii(name, url)).lower().removesuffix(".")
    labels = host.split(".")
    if len(host) > LONGEST_NAME or not all(LABEL.fullmatch(label) for label in labels):
        raise refused(url, "host", "its host is no name")
    if NUMBER.fullmatch(labels[-1]) and address_in(host) is None:
        raise refused(url, "host", "its host is an address in an unusual form; write it as four decimal numbers")
    return host


def _ipv6(text: str, url: str) -> str:
    address = None if "%" in text else address_in(text)
    if not isinstance(address, IPv6Address):
        raise refused(url, "host", "what stands in brackets is no IPv6 address (a zone is none of ours)")
    return str(address)


def _ascii(name: str, url: str) -> str:
    """A name in other scripts as it is asked for (UTS 46, IDNA 2008): fullwidth digits become digits here."""
    try:
        return idna.encode(name, uts46=True).decode("ascii")
    except UnicodeError as error:
        raise refused(url, "host", "its host is no international name") from error


def _path(parts: SplitResult) -> str:
    query = f"?{parts.query}" if parts.query else ""
    return quote(f"{parts.path or '/'}{query}", safe=KEPT)
