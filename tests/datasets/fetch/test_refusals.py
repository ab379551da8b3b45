"""Nothing reaches this machine, its neighbours or metadata services: a canary listens and counts nobody."""

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.errors import SettingsError
from datasets.fetch import urls
from datasets.fetch.addresses import kind_of
from datasets.fetch.allowed import read_allowed
from datasets.fetch.fetch_errors import FetchFailedError, FetchRefusedError
from datasets.fetch.fetcher import Fetcher, open_fetcher
from datasets.fetch.urls import read_url
from datasets.settings import read_settings
from tests.datasets.fetch.conftest import OUTSIDE, QUICK
from tests.datasets.fetch.refused_forms import FORMS, NAMES, RELATIVE
from tests.picture_server import PICTURE, PictureServer, redirects, serving

NOBODY: frozenset[tuple[str, int]] = frozenset()


def known_names(host: str, port: int) -> list[str]:
    return NAMES.get(host, [])


@pytest.fixture
def canary(monkeypatch: pytest.MonkeyPatch) -> Iterator[PictureServer]:
    """Listens on IPv4 and IPv6 loopback, at a port that would be welcome."""
    with serving() as canary, serving("::1", canary.port) as other:
        monkeypatch.setattr(urls, "PORTS", urls.PORTS | {canary.port})
        yield canary
        assert (canary.connections, other.connections) == (0, 0)


def test_there_are_enough_forms() -> None:
    assert len(FORMS) >= 60


@pytest.mark.parametrize("form", [*FORMS, *RELATIVE])
def test_a_form_is_refused_by_its_rule(canary: PictureServer, form: str) -> None:
    with Fetcher(QUICK, resolve=known_names) as fetcher, pytest.raises(FetchRefusedError) as caught:
        fetcher.fetch(form.format(port=canary.port))
    assert caught.value.facts["reason"] == (FORMS | RELATIVE)[form]


def test_no_form_is_followed_to_either(canary: PictureServer, server: PictureServer) -> None:
    """An own server may redirect, but only to where one may go."""
    codes = []
    with Fetcher(QUICK, frozenset({(server.host, server.port)}), known_names) as fetcher:
        for number, form in enumerate(FORMS):
            server.scripts[f"/{number}"] = redirects(form.format(port=canary.port).encode().decode("latin-1"))
            with pytest.raises((FetchRefusedError, FetchFailedError)) as caught:
                fetcher.fetch(f"{server.url}/{number}")
            codes.append(caught.value.code)
    assert codes.count("fetch_refused") >= len(FORMS) - 2  # a line end in a header makes another header of the rest
    assert len(server.asked) >= len(FORMS)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", ["at once", "by a redirect"])
def test_a_name_is_what_it_resolves_to(canary: PictureServer, server: PictureServer, name: str, way: str) -> None:
    url = f"https://{name}:{canary.port}/"
    server.scripts["/a"] = redirects(url)
    fetcher = Fetcher(QUICK, frozenset({(server.host, server.port)}), known_names)
    with fetcher, pytest.raises(FetchRefusedError) as caught:
        fetcher.fetch(url if way == "at once" else f"{server.url}/a")
    assert caught.value.facts["reason"] == "address"


def test_the_canary_would_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as canary, Fetcher(QUICK, frozenset({("127.0.0.1", canary.port)})) as fetcher:
        assert fetcher.fetch(f"{canary.url}/").data == PICTURE
        assert canary.connections == 1


class Rebinding:
    """A name that answers something else every time it is asked."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers, self.asked = list(answers), 0

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]


def test_a_name_that_changes_between_look_and_connection_gains_nothing(shop: PictureServer) -> None:
    resolve = Rebinding([OUTSIDE], ["127.0.0.1"])
    with serving("127.0.0.1", shop.port) as canary:
        url = f"https://pictures.test:{shop.port}/a"
        with Fetcher(QUICK, resolve=resolve) as fetcher:
            assert fetcher.fetch(url).data == PICTURE
            assert resolve.asked == 1
            assert fetcher.fetch(url).data == PICTURE  # on the kept connection, to the address judged
            assert resolve.asked == 1
        with pytest.raises(FetchRefusedError, match="loopback"):
            fetcher.fetch(url)  # a new connection, and the name says something else now
        assert (canary.connections, shop.connections) == (0, 1)


def test_of_good_and_bad_addresses_only_the_good_are_connected_to(shop: PictureServer) -> None:
    with serving("127.0.0.1", shop.port) as canary:
        for _ in range(4):
            with Fetcher(QUICK, resolve=lambda *_: ["127.0.0.1", "::1", OUTSIDE]) as fetcher:
                assert fetcher.fetch(f"https://pictures.test:{shop.port}/a").data == PICTURE
        shop.scripts["/gone"] = lambda *_: False  # and trying again does not mean trying elsewhere
        with Fetcher(QUICK, resolve=lambda *_: ["127.0.0.1", OUTSIDE]) as fetcher, pytest.raises(FetchFailedError):
            fetcher.fetch(f"https://pictures.test:{shop.port}/gone")
        assert canary.connections == 0


def test_a_certificate_of_another_name_is_refused(shop: PictureServer) -> None:
    with Fetcher(QUICK, resolve=lambda *_: [OUTSIDE]) as fetcher:
        with pytest.raises(FetchRefusedError, match="SSL_CERT_FILE") as caught:
            fetcher.fetch(f"https://other.test:{shop.port}/a")
        assert caught.value.facts["reason"] == "certificate"
        assert shop.asked == []
        fetcher.fetch(f"https://PICTURES.test.:{shop.port}/a")
        fetcher.fetch(f"https://faß.test:{shop.port}/a")
        fetcher.fetch(f"https://{OUTSIDE}:{shop.port}/a")
    hosts = [f"{name}:{shop.port}" for name in ("pictures.test", "xn--fa-hia.test", OUTSIDE)]
    assert [asked.headers["host"] for asked in shop.asked] == hosts


def test_https_does_not_become_http_on_the_way(shop: PictureServer, canary: PictureServer) -> None:
    shop.scripts["/a"] = redirects("http://pictures.test/")
    shop.scripts["/b"] = redirects(f"https://127.0.0.1:{canary.port}/")
    with Fetcher(QUICK, resolve=lambda *_: [OUTSIDE]) as fetcher:
        for path, reason in (("/a", "scheme"), ("/b", "address")):
            with pytest.raises(FetchRefusedError) as caught:
                fetcher.fetch(f"https://pictures.test:{shop.port}{path}")
            assert caught.value.facts["reason"] == reason


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY", "http_proxy"])
def test_proxies_of_the_environment_do_not_count(
    canary: PictureServer, server: PictureServer, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, canary.url)
    with Fetcher(QUICK, frozenset({(server.host, server.port)})) as fetcher:
        assert fetcher.fetch(f"{server.url}/a").data == PICTURE


def test_an_own_server_is_let_in_by_host_and_port_alone(server: PictureServer) -> None:
    settings = read_settings(fetch_allow=f"localhost:{server.port}, 127.0.0.1:{server.port}")
    with open_fetcher(settings) as fetcher:
        assert fetcher.fetch(f"http://LOCALHOST:{server.port}/a").data == PICTURE
        assert fetcher.fetch(f"http://127.0.0.1:{server.port}/a").data == PICTURE
        for url in (f"http://127.0.0.2:{server.port}/a", f"http://[::1]:{server.port}/a", "http://localhost/a"):
            with pytest.raises(FetchRefusedError):
                fetcher.fetch(url)


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "fd00:ec2::254", "100.100.100.200", "0.0.0.0", "fe80::1", "::ffff:127.0.0.1"]
)
def test_the_name_of_an_own_server_does_not_let_in_metadata(canary: PictureServer, address: str) -> None:
    fetcher = Fetcher(QUICK, frozenset({("own.test", canary.port)}), lambda *_: [address])
    with fetcher, pytest.raises(FetchRefusedError):
        fetcher.fetch(f"http://own.test:{canary.port}/")


def test_settings_become_limits() -> None:
    fetcher = open_fetcher(read_settings(fetch_max_mb=3, fetch_timeout_s=4, fetch_per_host=2, fetch_interval_s=0.5))
    limits = fetcher._limits
    assert (limits.max_bytes, limits.timeout_s, limits.connect_s) == (3 << 20, 4, 4)
    assert (limits.per_host, limits.per_host_interval_s, limits.media) == (2, 0.5, ("image/",))


@pytest.mark.parametrize(
    "entry", ["host", "host:", ":80", "host:0", "host:65536", "http://host:80", "*:80", "::1:80", "a b:1"]
)
def test_an_allowance_that_is_none_is_refused(entry: str) -> None:
    with pytest.raises(SettingsError, match="STILLMOTION_FETCH_ALLOW"):
        read_allowed(f"good.test:80,{entry}")


NUMBERS = st.integers(0, (1 << 32) - 1)
FORMATS = st.sampled_from(["{:d}", "{:#x}", "0{:o}", "{:#X}", "0x{:08x}"])


@given(NUMBERS, st.integers(1, 4), st.lists(FORMATS, min_size=4, max_size=4), st.sampled_from(["", "."]))
def test_whatever_a_system_may_read_as_an_address_is_judged_as_that(
    number: int, parts: int, formats: list[str], dot: str
) -> None:
    """The oracle is inet_aton: what it takes is either the usual form, and means the same here, or refused."""
    values = [(number >> 24) & 255, (number >> 16) & 255, (number >> 8) & 255, number & 255][: parts - 1]
    rest = number & ((1 << (8 * (5 - parts))) - 1)
    host = ".".join(form.format(value) for form, value in zip(formats, [*values, rest], strict=False))
    packed = socket.inet_aton(host)
    with suppress(FetchRefusedError):
        found = read_url(f"https://{host}{dot}/", NOBODY).place.host
        assert ipaddress.IPv4Address(found).packed == packed
        assert found == host


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_what_is_public_here_is_global_to_the_standard_library(address: object) -> None:
    if kind_of(str(address)) == "public":
        assert ipaddress.ip_address(str(address)).is_global


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    for url in (text, f"https://{text}", f"https://pictures.test/{text}"):
        with suppress(FetchRefusedError):
            target = read_url(url, NOBODY)
            assert target.path.isascii()
            assert not set(target.path) & set(" \r\n\t\x00")
            assert read_url(target.url, NOBODY) == target
