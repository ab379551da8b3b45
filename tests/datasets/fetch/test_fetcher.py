"""Fetching from a real server: pictures, validators, redirects, kept connections, tries again."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from socket import socket
from threading import Barrier, Event, Lock

import pytest

from datasets.fetch.facts import Fetched, Known
from datasets.fetch.fetch_errors import (
    FetchDeniedError,
    FetchError,
    FetchFailedError,
    FetchNotAnImageError,
    FetchNotFoundError,
    FetchRefusedError,
)
from datasets.fetch.fetcher import Fetcher
from tests.benchmarks import bench_fetch
from tests.datasets.fetch.conftest import QUICK
from tests.picture_server import PICTURE, Asked, PictureServer, redirects, reply, says

LONG_AGO = "Mon, 02 Feb 2026 10:00:00 GMT"


def test_a_picture_comes_with_what_is_known_of_it(server: PictureServer, fetcher: Fetcher) -> None:
    server.scripts["/a.png?size=2"] = says(reply(ETag='"one"', Last_Modified=LONG_AGO, Content_Type="Image/PNG; q=1"))
    url = f"{server.url}/a.png?size=2"
    assert fetcher.fetch(f"{url}#part") == Fetched(PICTURE, '"one"', LONG_AGO, url, "image/png", 1)
    sent = server.asked[0].headers
    assert sent["host"] == f"127.0.0.1:{server.port}"
    assert sent["accept-encoding"] == "identity"
    assert not {"if-none-match", "if-modified-since", "cookie", "referer", "authorization"} & set(sent)


def test_an_unchanged_picture_is_not_sent_again_and_a_changed_one_is(server: PictureServer, fetcher: Fetcher) -> None:
    def script(asked: Asked, wire: socket) -> bool:
        same = asked.headers.get("if-none-match") == '"two"'
        wire.sendall(reply(304, b"", Content_Type="", Content_Length="") if same else reply(ETag='"two"'))
        return True

    server.scripts["/a"] = script
    changed = fetcher.fetch(f"{server.url}/a", Known('"one"', LONG_AGO))
    assert (changed.data, changed.etag) == (PICTURE, '"two"')
    assert server.asked[0].headers["if-modified-since"] == LONG_AGO
    same = fetcher.fetch(f"{server.url}/a", Known(changed.etag, changed.last_modified))
    assert (same.data, same.etag, same.requests) == (None, '"two"', 1)
    assert server.connections == 1


def test_unchanged_means_nothing_where_nothing_was_known(server: PictureServer, fetcher: Fetcher) -> None:
    server.scripts["/a"] = says(reply(304, b"", Content_Length=""))
    with pytest.raises(FetchFailedError, match="304"):
        fetcher.fetch(f"{server.url}/a")


def test_a_date_of_this_second_proves_nothing(server: PictureServer, fetcher: Fetcher) -> None:
    now = "Mon, 02 Feb 2026 10:00:01 GMT"
    server.scripts["/a"] = says(reply(Last_Modified=LONG_AGO, Date=now))
    server.scripts["/b"] = says(reply(Last_Modified=LONG_AGO, Date="Mon, 02 Feb 2026 10:00:02 GMT"))
    assert fetcher.fetch(f"{server.url}/a").last_modified is None
    assert fetcher.fetch(f"{server.url}/b").last_modified == LONG_AGO


def test_validators_go_back_to_who_gave_them_only(server: PictureServer, fetcher: Fetcher) -> None:
    server.scripts["/a"] = redirects("/b")
    fetcher.fetch(f"{server.url}/a", Known('"one"', url=f"{server.url}/b"))
    assert [asked.headers.get("if-none-match") for asked in server.asked] == [None, '"one"']


@pytest.mark.parametrize("etag", ['"a\r\nHost: evil"', "\x7f", "x" * 600, "ü"])
def test_a_validator_that_no_header_can_hold_is_left_out(server: PictureServer, fetcher: Fetcher, etag: str) -> None:
    fetcher.fetch(f"{server.url}/a", Known(etag))
    assert "if-none-match" not in server.asked[0].headers


def test_connections_are_kept_and_shared_by_threads(server: PictureServer, fetcher: Fetcher) -> None:
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda number: fetcher.fetch(f"{server.url}/{number}").data, range(60)))
    assert found == [PICTURE] * 60
    assert sorted(server.paths) == sorted(f"/{number}" for number in range(60))
    assert server.connections <= 4


def test_a_connection_that_the_server_closed_meanwhile_costs_nothing(server: PictureServer, fetcher: Fetcher) -> None:
    server.scripts["/a"] = says(reply(), goes_on=False)
    assert [fetcher.fetch(f"{server.url}/a").data for _ in range(3)] == [PICTURE] * 3
    assert server.connections == 3


def test_a_connection_closed_while_we_ask_is_replaced(server: PictureServer) -> None:
    server.scripts["/b"] = lambda asked, wire: asked.connection > 1 and says(reply())(asked, wire)
    fetcher = Fetcher(replace(QUICK, attempts=1), frozenset({(server.host, server.port)}))
    fetcher.fetch(f"{server.url}/a")
    assert fetcher.fetch(f"{server.url}/b").data == PICTURE
    assert server.connections == 2
    fetcher.close()


def test_what_nobody_asked_for_is_not_taken_for_the_next_reply(server: PictureServer, fetcher: Fetcher) -> None:
    server.scripts["/a"] = says(reply() + reply(body=b"a forged picture"))
    sent = Event()

    def late(asked: Asked, wire: socket) -> bool:
        wire.sendall(reply())
        time.sleep(0.05)
        wire.sendall(reply(body=b"a late one"))
        sent.set()
        return True

    server.scripts["/late"] = late
    for path in ("/a", "/b", "/late"):
        assert fetcher.fetch(f"{server.url}{path}").data == PICTURE
    assert sent.wait(10)
    assert fetcher.fetch(f"{server.url}/c").data == PICTURE
    assert server.connections == 3


def test_interim_replies_are_passed_over(server: PictureServer, fetcher: Fetcher) -> None:
    server.scripts["/a"] = says(
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + reply()
    )
    assert fetcher.fetch(f"{server.url}/a").data == PICTURE


def test_chunked_and_unmeasured_bodies_are_read_whole(server: PictureServer, fetcher: Fetcher) -> None:
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (PICTURE[:7], PICTURE[7:])) + b"0\r\n\r\n"
    server.scripts["/a"] = says(reply(body=chunks, Content_Length="", Transfer_Encoding="chunked"))
    server.scripts["/b"] = says(reply(Content_Length=""), goes_on=False)
    assert fetcher.fetch(f"{server.url}/a").data == PICTURE
    assert fetcher.fetch(f"{server.url}/b").data == PICTURE


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, FetchNotFoundError), (410, FetchNotFoundError), (401, FetchDeniedError), (403, FetchDeniedError)],
)
def test_a_final_answer_is_asked_for_once(
    server: PictureServer, fetcher: Fetcher, status: int, kind: type[FetchError]
) -> None:
    server.scripts["/a?token=secret"] = says(reply(status, b"no"))
    with pytest.raises(kind) as caught:
        fetcher.fetch(f"{server.url}/a?token=secret")
    assert caught.value.facts == {"status": status, "url": f"{server.url}/a"}
    assert "secret" not in caught.value.message
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [reply(Content_Type="text/html"), reply(Content_Type=""), reply(Content_Encoding="gzip")],
    ids=["a page", "nothing said", "compressed"],
)
def test_what_says_that_it_is_no_picture_is_none(server: PictureServer, fetcher: Fetcher, answer: bytes) -> None:
    server.scripts["/a"] = says(answer)
    with pytest.raises(FetchNotAnImageError, match="expected a picture"):
        fetcher.fetch(f"{server.url}/a")


def test_what_may_pass_is_tried_again(server: PictureServer, fetcher: Fetcher) -> None:
    server.scripts["/a"] = says(reply(503, b""), reply(500, b""), reply())
    assert fetcher.fetch(f"{server.url}/a").requests == 3
    server.scripts["/b"] = says(reply(502, b""))
    with pytest.raises(FetchFailedError, match="502"):
        fetcher.fetch(f"{server.url}/b")
    assert server.paths.count("/b") == 3


def test_retry_after_is_waited_for(server: PictureServer, fetcher: Fetcher) -> None:
    server.scripts["/a"] = says(reply(429, b"", Retry_After="1"), reply())
    begun = time.monotonic()
    assert fetcher.fetch(f"{server.url}/a").requests == 2
    assert 1 <= time.monotonic() - begun < 10


def test_a_host_that_wants_to_be_left_alone_for_long_is(server: PictureServer, fetcher: Fetcher) -> None:
    server.scripts["/a"] = says(reply(429, b"", Retry_After="3600"))
    for path in ("/a", "/b"):
        with pytest.raises(FetchFailedError, match="left alone") as caught:
            fetcher.fetch(f"{server.url}{path}")
        assert 3500 < float(str(caught.value.facts["retry_after_s"])) <= 3600
    assert server.paths == ["/a"]


def test_five_redirects_are_followed_and_six_are_not(server: PictureServer, fetcher: Fetcher) -> None:
    for number in range(6):
        server.scripts[f"/{number}"] = redirects(f"{number + 1}", status=(301, 302, 303, 307, 308, 302)[number])
    found = fetcher.fetch(f"{server.url}/1")
    assert (found.url, found.requests) == (f"{server.url}/6", 6)
    with pytest.raises(FetchRefusedError, match="more than 5") as caught:
        fetcher.fetch(f"{server.url}/0")
    assert caught.value.facts["reason"] == "redirects"


def test_an_address_in_utf_8_is_asked_for_as_browsers_do(server: PictureServer, fetcher: Fetcher) -> None:
    server.scripts["/a%20b"] = redirects("/caf\u00e9 1?q=\u00fc".encode().decode("latin-1"))
    fetcher.fetch(f"{server.url}/a b")
    assert server.paths == ["/a%20b", "/caf%C3%A9%201?q=%C3%BC"]


def test_a_host_gets_no_more_requests_at_once_than_it_should(server: PictureServer) -> None:
    lock, busy, most = Lock(), 0, 0
    both = Barrier(2, timeout=30)

    def script(asked: Asked, wire: socket) -> bool:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        both.wait()  # two at once do come
        time.sleep(0.05)  # and a third would, if it might
        with lock:
            busy -= 1
        return says(reply())(asked, wire)

    server.scripts["/a"] = script
    limits = replace(QUICK, per_host=2)
    with Fetcher(limits, frozenset({(server.host, server.port)})) as fetcher, ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda _: fetcher.fetch(f"{server.url}/a"), range(12)))
    assert most == 2


def test_requests_to_a_host_keep_their_distance(server: PictureServer) -> None:
    limits = replace(QUICK, per_host_interval_s=0.2, timeout_s=1)  # waiting for a turn does not count
    begun = time.monotonic()
    with Fetcher(limits, frozenset({(server.host, server.port)})) as fetcher, ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: fetcher.fetch(f"{server.url}/a"), range(9)))
    assert 1.6 <= time.monotonic() - begun < 10


def test_a_closed_fetcher_keeps_no_connection(server: PictureServer) -> None:
    with Fetcher(QUICK, frozenset({(server.host, server.port)})) as fetcher:
        fetcher.fetch(f"{server.url}/a")
    assert fetcher.fetch(f"{server.url}/a").data == PICTURE
    assert fetcher.fetch(f"{server.url}/a").data == PICTURE
    assert server.connections == 3


def test_an_unchanged_picture_costs_little() -> None:
    lines = bench_fetch.run(requests=400, threads=(8,), repeats=1)
    assert float(lines[1].split()[2]) < bench_fetch.GOAL_MS
