"""Servers to fetch from."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from datasets.authorities import trusted_authorities
from datasets.fetch import resolving, urls
from datasets.fetch.addresses import kind_of
from datasets.fetch.facts import FetchLimits
from datasets.fetch.fetcher import Fetcher
from tests.certificates import make_certificate
from tests.picture_server import PictureServer, serving

OUTSIDE = "127.0.0.2"  # on this machine too, but held for an address of the public internet
QUICK = FetchLimits(max_bytes=1 << 20, timeout_s=30, connect_s=10, backoff_s=0.01)


@pytest.fixture
def server() -> Iterator[PictureServer]:
    with serving() as running:
        yield running


@pytest.fixture
def fetcher(server: PictureServer) -> Iterator[Fetcher]:
    """Lets the server in as an own one."""
    with Fetcher(QUICK, frozenset({(server.host, server.port)})) as opened:
        yield opened


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PictureServer]:
    """A server as the internet has them: TLS, a name (pictures.test), an address that counts as public."""
    certificate = make_certificate(tmp_path / "shop.pem", "pictures.test", "xn--fa-hia.test", OUTSIDE)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setattr(resolving, "kind_of", lambda address: "public" if address == OUTSIDE else kind_of(address))
    trusted_authorities.cache_clear()
    with serving(OUTSIDE, certificate=certificate) as running:
        monkeypatch.setattr(urls, "PORTS", urls.PORTS | {running.port})
        yield running
    trusted_authorities.cache_clear()
