"""Servers that lie, drip, flood or fall silent: every fetch ends, within its time and its bytes."""

import socket
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest

from datasets.fetch.facts import FetchLimits
from datasets.fetch.fetch_errors import FetchFailedError, FetchTooLargeError, FetchTooSlowError
from datasets.fetch.fetcher import Fetcher
from tests.datasets.fetch.conftest import QUICK
from tests.picture_server import PICTURE, Asked, PictureServer, Script, reply, says

LIMITS = replace(QUICK, max_bytes=100_000, timeout_s=0.6, attempts=1)
MIB = 1 << 20


@contextmanager
def opened(server: PictureServer, limits: FetchLimits = LIMITS) -> Iterator[Fetcher]:
    with Fetcher(limits, frozenset({(server.host, server.port)})) as fetcher:
        yield fetcher


def endless(head: bytes, part: bytes, pause_s: float = 0.0) -> Script:
    """Sends for ever, and counts nothing but the peer's patience."""

    def script(asked: Asked, wire: socket.socket) -> bool:
        wire.sendall(head)
        while True:
            wire.sendall(part)
            time.sleep(pause_s)

    return script


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
FLOODS = {
    "announced": says(reply(Content_Length=str(10 * MIB))),
    "announced beyond all numbers": says(reply(Content_Length="9" * 18)),
    "chunks": endless(CHUNKED, b"10000\r\n" + bytes(0x10000) + b"\r\n"),
    "to the end of the connection": endless(HEAD + b"\r\n", bytes(MIB)),
    "one chunk": endless(CHUNKED + b"ffffffffff\r\n", bytes(MIB)),
    "tiny chunks with long extensions": endless(CHUNKED, b"1;" + b"x" * 5000 + b"\r\nx\r\n"),
    "trailers": endless(CHUNKED + b"0\r\n", (b"x: " + b"y" * 5000 + b"\r\n") * 20),
    "interim replies": endless(b"", b"HTTP/1.1 100 Continue\r\nX: " + b"y" * 60_000 + b"\r\n\r\n"),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_is_cut_off(server: PictureServer, flood: str) -> None:
    server.scripts["/a"] = FLOODS[flood]
    tracemalloc.start()
    with opened(server, replace(LIMITS, timeout_s=60)) as fetcher, pytest.raises(FetchTooLargeError) as caught:
        fetcher.fetch(f"{server.url}/a")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.facts["limit_bytes"] == 100_000
    assert peak < 4 * MIB
    assert len(server.asked) == 1


def test_a_picture_of_just_the_limit_comes(server: PictureServer) -> None:
    server.scripts["/a"] = says(reply(body=bytes(100_000)))
    server.scripts["/announced"] = says(reply(body=bytes(100_001)))
    server.scripts["/not%20announced"] = says(reply(body=bytes(100_001), Content_Length=""), goes_on=False)
    with opened(server, replace(LIMITS, timeout_s=30)) as fetcher:
        assert fetcher.fetch(f"{server.url}/a").data == bytes(100_000)
        for path in ("/announced", "/not%20announced"):
            with pytest.raises(FetchTooLargeError):
                fetcher.fetch(f"{server.url}{path}")


DRIPS = {
    "head": endless(b"HTTP/1.1 200 OK\r\nX: ", b"y", 0.05),
    "status": endless(b"", b"H", 0.05),
    "body": endless(HEAD + b"Content-Length: 90000\r\n\r\n", b"y", 0.05),
    "chunk sizes": endless(CHUNKED, b"1\r\ny\r\n", 0.05),
    "headers": endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", 0.05),
    "nothing": endless(b"", b"", 0.05),
}


@pytest.mark.parametrize("drip", DRIPS)
def test_a_drip_ends_with_the_time_limit(server: PictureServer, drip: str) -> None:
    server.scripts["/a"] = DRIPS[drip]
    begun = time.monotonic()
    with opened(server) as fetcher, pytest.raises(FetchTooSlowError, match=r"0\.6 s"):
        fetcher.fetch(f"{server.url}/a")
    assert time.monotonic() - begun < 10


def test_tries_and_redirects_share_one_time_limit(server: PictureServer) -> None:
    def slow(asked: Asked, wire: socket.socket) -> bool:
        time.sleep(0.25)
        return says(reply(302, b"", Location="/a"))(asked, wire)

    server.scripts["/a"] = slow
    begun = time.monotonic()
    with opened(server) as fetcher, pytest.raises(FetchTooSlowError):
        fetcher.fetch(f"{server.url}/a")
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("listening", [True, False], ids=["silent handshake", "closed port"])
def test_a_connection_that_does_not_come_about(listening: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        if not listening:
            silent.close()
        begun = time.monotonic()
        fetcher = Fetcher(replace(LIMITS, timeout_s=30, connect_s=0.3), frozenset({("127.0.0.1", port)}))
        with pytest.raises(FetchFailedError, match="no connection in time" if listening else "refused"):
            fetcher.fetch(f"https://127.0.0.1:{port}/a")
        assert time.monotonic() - begun < 10


@pytest.mark.parametrize("problem", ["hangs", "fails", "knows none"])
def test_a_resolver_that_does_not_help(problem: str) -> None:
    def resolve(host: str, port: int) -> list[str]:
        if problem == "hangs":
            time.sleep(15)
        if problem == "fails":
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        return []

    begun = time.monotonic()
    with (
        Fetcher(replace(LIMITS, timeout_s=30, connect_s=0.3), resolve=resolve) as fetcher,
        pytest.raises(FetchFailedError),
    ):
        fetcher.fetch("https://pictures.test/a")
    assert time.monotonic() - begun < 10


LIES: dict[str, Callable[[], bytes]] = {
    "shorter than said": lambda: reply(Content_Length=str(len(PICTURE) + 1)),
    "chunk cut off": lambda: CHUNKED + b"ff\r\nabc",
    "negative chunk": lambda: CHUNKED + b"-5\r\nabc\r\n0\r\n\r\n",
    "no number": lambda: reply(Content_Length="many"),
    "negative": lambda: reply(Content_Length="-1"),
    "signed": lambda: reply(Content_Length=f"+{len(PICTURE)}"),
    "two lengths": lambda: reply(content_length="7"),
    "length and chunks": lambda: reply(body=b"3\r\nabc\r\n0\r\n\r\n", Transfer_Encoding="chunked"),
    "unknown coding": lambda: reply(Transfer_Encoding="gzip, chunked", Content_Length=""),
    "no HTTP": lambda: b"SSH-2.0-OpenSSH_9.2\r\n",
    "nothing": lambda: b"",
    "many headers": lambda: b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    "long header": lambda: b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    "a switch": lambda: b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
}


@pytest.mark.parametrize("lie", LIES)
def test_what_is_not_one_whole_reply_is_no_picture(server: PictureServer, lie: str) -> None:
    server.scripts["/a"] = says(LIES[lie](), goes_on=False)
    with opened(server, replace(LIMITS, timeout_s=30, attempts=2)) as fetcher:
        with pytest.raises(FetchFailedError) as caught:
            fetcher.fetch(f"{server.url}/a")
        assert server.connections == 2
        assert fetcher.fetch(f"{server.url}/b").data == PICTURE
    assert caught.value.facts["url"] == f"{server.url}/a"


def test_a_picture_that_breaks_off_is_asked_for_again(server: PictureServer) -> None:
    server.scripts["/a"] = says(reply(Content_Length="5000"), goes_on=False)

    def script(asked: Asked, wire: socket.socket) -> bool:
        server.scripts["/a"] = says(reply())
        with suppress(OSError):
            wire.sendall(reply(Content_Length="5000"))
        return False

    server.scripts["/a"] = script
    with opened(server, QUICK) as fetcher:
        found = fetcher.fetch(f"{server.url}/a")
    assert (found.data, found.requests) == (PICTURE, 2)
