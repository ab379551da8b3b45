"""STILLMOTION_FETCH_ALLOW: the own image servers."""

from datasets.errors import SettingsError
from datasets.fetch.facts import Allowed
from datasets.fetch.fetch_errors import FetchRefusedError
from datasets.fetch.urls import host_of


def read_allowed(text: str) -> Allowed:
    """Hosts and ports of ``host:port,host:port``; an IPv6 address stands in brackets.

    >>> sorted(read_allowed("Images.shop.test:8080, [::1]:9000"))
    [('::1', 9000), ('images.shop.test', 8080)]

    Raises:
        SettingsError: An entry is not of that form. There are no patterns: each server is named.
    """
    return frozenset(_entry(entry.strip()) for entry in text.split(",") if entry.strip())


def _entry(entry: str) -> tuple[str, int]:
    host, _, port = entry.rpartition(":")
    try:
        if port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16 and (":" not in host or host[0] == "["):
            return host_of(host, entry), int(port)
    except FetchRefusedError:
        pass
    raise SettingsError(
        f"STILLMOTION_FETCH_ALLOW: expected host:port,host:port such as images.shop.test:8080, got {entry!r}",
        setting="FETCH_ALLOW",
    )
