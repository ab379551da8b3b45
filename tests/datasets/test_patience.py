"""What S3 services do wrong, one thing at a time: answers cut off, half-done removals, silence, refusals."""

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from datasets import probe
from datasets.errors import SettingsError, StorageUnavailableError
from datasets.frame_spec import FrameSpec
from datasets.frames import FrameReader
from datasets.object_store import object_store_options
from datasets.outputs import OutputPlace, find_output
from datasets.probe import probed
from datasets.settings import read_settings
from datasets.storage import Storage, open_storage
from tests.datasets.test_outputs import store
from tests.s3_server import SECRET, Environ, S3Server

NAME = "b" * 64
Answer = tuple[str, bytes, int]


@pytest.fixture
def storage(s3_root: S3Server) -> Storage:
    settings = read_settings()
    return open_storage(settings.storage_root, "default", object_store_options(settings))


def times(count: int, answer: Answer, wanted: Callable[[Environ], bool]) -> Callable[[Environ], Answer | None]:
    """An answer to the first requests of a kind."""
    left = iter(range(count))
    return lambda environ: answer if wanted(environ) and next(left, None) is not None else None


def is_get(environ: Environ) -> bool:
    return bool(environ["REQUEST_METHOD"] == "GET")


def refusal(status: str, code: str) -> Answer:
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    return status, body, len(body)


@pytest.mark.parametrize(
    "answer",
    [
        ("200 OK", b"half of", 10_000),
        refusal("503 Slow Down", "SlowDown"),
        ("502 Bad Gateway", b"<html>a proxy's own page</html>", 31),
        ("504 Gateway Timeout", b"", 0),
        refusal("409 Conflict", "OperationAborted"),
    ],
    ids=lambda answer: answer[0],
)
def test_what_passes_is_waited_for(storage: Storage, s3: S3Server, answer: Answer) -> None:
    storage.write_bytes("a", b"whole")
    s3.instead = times(3, answer, is_get)
    assert storage.read_bytes("a") == b"whole"


@pytest.mark.parametrize("status", ["500 No", "502 Bad Gateway", "503 No", "504 Gateway Timeout"])
def test_a_service_that_fails_for_long_is_not_taken_for_damage(storage: Storage, s3: S3Server, status: str) -> None:
    place = OutputPlace(replace(storage, options={**storage.options, "attempts": 2}), NAME)
    store(place, FrameSpec((1, 8, 8, 3), "uint8", (1, 4, 4)))
    reader = FrameReader(place)
    s3.instead = lambda environ: (status, b"", 0)
    for look in (reader.read, lambda: FrameReader(place), lambda: find_output(place)):
        with pytest.raises(StorageUnavailableError):
            look()


def test_what_was_not_removed_is_removed_again_or_said(storage: Storage, s3: S3Server) -> None:
    storage.write_bytes("folder/a", b"x")
    key = storage.path("folder/a").split("/", 1)[1]

    def kept(code: str) -> Answer:
        error = f"<Error><Key>{key}</Key><Code>{code}</Code><Message>no</Message></Error>"
        body = f"<DeleteResult>{error}</DeleteResult>".encode()
        return "200 OK", body, len(body)

    def is_removal(environ: Environ) -> bool:
        return bool(environ["REQUEST_METHOD"] == "POST")

    s3.instead = times(1, kept("AccessDenied"), is_removal)
    with pytest.raises(StorageUnavailableError, match="AccessDenied"):
        storage.remove_tree("folder")
    assert storage.exists("folder/a")
    s3.instead = times(2, kept("InternalError"), is_removal)
    storage.remove_tree("folder")
    assert not storage.exists("folder/a")


def test_a_refused_condition_is_understood_without_its_element(storage: Storage, s3: S3Server) -> None:
    storage.write_bytes("a", b"first")
    s3.instead = times(1, refusal("412 Precondition Failed", "PreconditionFailed"), lambda e: "HTTP_IF_NONE_MATCH" in e)
    assert not storage.create_bytes("a", b"second")
    assert storage.read_bytes("a") == b"first"


def test_two_creating_at_once_try_again(storage: Storage, s3: S3Server) -> None:
    s3.instead = times(
        1, refusal("409 Conflict", "ConditionalRequestConflict"), lambda environ: "HTTP_IF_NONE_MATCH" in environ
    )
    assert storage.create_bytes("a", b"x")


@pytest.mark.parametrize(
    ("code", "method"), [("InvalidAccessKeyId", ""), ("SignatureDoesNotMatch", ""), ("AccessDenied", "PUT")]
)
def test_the_probe_says_who_refused_what(storage: Storage, s3: S3Server, code: str, method: str) -> None:
    def refuse(environ: Environ) -> Answer | None:
        return refusal("403 Forbidden", code) if environ["REQUEST_METHOD"] in (method or ("PUT", "GET")) else None

    s3.instead = refuse
    with pytest.raises(SettingsError, match="AWS_ACCESS_KEY_ID") as refused:
        probed(storage)
    assert storage.root in refused.value.message
    assert SECRET not in refused.value.message


def test_the_probe_does_not_wait_for_a_service_that_stays_silent(
    s3_root: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert probe.LIMIT_S <= 10
    monkeypatch.setattr(probe, "LIMIT_S", 1.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings = read_settings(s3_endpoint=endpoint)
        begun = time.monotonic()
        with pytest.raises(SettingsError, match="no good answer within"):
            probed(open_storage(settings.storage_root, "default", object_store_options(settings)))
        assert time.monotonic() - begun < 6


def test_new_credentials_are_taken(storage: Storage) -> None:
    assert probed(storage).options == storage.options
    renewed = replace(storage, options={**storage.options, "key": "somebody", "secret": SECRET, "token": "new"})
    assert probed(renewed).options == renewed.options
    elsewhere = replace(storage, options={**storage.options, "attempts": 1, "endpoint_url": "http://127.0.0.1:9"})
    with pytest.raises(SettingsError):
        probed(elsewhere)


def test_the_probe_leaves_nothing_where_it_fails(storage: Storage, s3: S3Server) -> None:
    s3.instead = times(99, refusal("403 Forbidden", "AccessDenied"), is_get)
    with pytest.raises(SettingsError):
        probed(storage)
    s3.instead = lambda _: None
    assert storage.list_tree("") == {}


def test_threads_share_what_is_open(storage: Storage, s3: S3Server) -> None:
    place = OutputPlace(storage, NAME)
    values = store(place, FrameSpec((1, 64, 8, 3), "uint8", (1, 4, 8)))
    readers = [FrameReader(place) for _ in range(4)]
    s3.requests.clear()
    results: list[bool] = []
    threads = [
        threading.Thread(target=lambda reader=reader: results.append(np.array_equal(reader.read(), values)))
        for reader in readers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 4
    assert dict(s3.requests) == {"GET": 4 * 16}
