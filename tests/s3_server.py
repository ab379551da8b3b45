"""A real S3 service on loopback (moto's) that can be told to fail: errors and resets, before and after its work."""

import os
import random
import socket
import struct
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
FAULT = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"
NOT_IMPLEMENTED = b"<Error><Code>NotImplemented</Code><Message>A header implies what is not here.</Message></Error>"
SECRET = "a-secret-nobody-may-see"


@dataclass
class S3Server:
    """The service and its switches.

    Attributes:
        url: Of the bucket made last.
        rate: Share of requests that fail.
        instead: Given a request, another answer than the service's (status, body, length it promises), or None.
        conditional: ``yes``; ``ignored`` as by old services, which overwrite; ``refused`` as by others.
        requests: How many came, by method.
        faults: How many were made to fail, by kind.
    """

    endpoint: str = ""
    url: str = ""
    rate: float = 0.0
    instead: Callable[[Environ], tuple[str, bytes, int] | None] = lambda _: None
    conditional: str = "yes"
    requests: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    chance: random.Random = field(default_factory=lambda: random.Random(7))
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to use it."""
        return {
            "STILLMOTION_S3_ENDPOINT": self.endpoint,
            "STILLMOTION_S3_REGION": "eu-central-1",
            "STILLMOTION_S3_PATH_STYLE": "true",
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def new_bucket(self) -> str:
        """The URL of a new bucket, also kept in ``url``; counters begin again."""
        import httpx

        self.url = f"s3://bucket-{uuid.uuid4().hex}"
        answer = httpx.put(
            f"{self.endpoint}/{self.url.removeprefix('s3://')}",
            content="<CreateBucketConfiguration><LocationConstraint>eu-central-1</LocationConstraint>"
            "</CreateBucketConfiguration>",
            headers={"Authorization": "AWS4-HMAC-SHA256 Credential=somebody/20260101/eu-central-1/s3/aws4_request"},
        )
        assert answer.status_code == 200, answer.text
        self.requests.clear()
        self.faults.clear()
        return self.url

    def fault(self) -> str | None:
        with self.lock:
            if self.chance.random() >= self.rate:
                return None
            kind = self.chance.choice(("error before", "error after", "reset before", "reset after"))
            self.faults[kind] += 1
            return kind


class _Unreliable:
    """WSGI middleware in front of the service."""

    def __init__(self, service: Callable[[Environ, StartResponse], Iterable[bytes]], server: S3Server) -> None:
        self._service, self._server = service, server

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        server = self._server
        with server.lock:
            server.requests[environ["REQUEST_METHOD"]] += 1
        if environ.get("HTTP_IF_NONE_MATCH") == "*" and server.conditional == "refused":
            start_response("501 Not Implemented", [("Content-Length", str(len(NOT_IMPLEMENTED)))])
            return [NOT_IMPLEMENTED]
        if server.conditional == "ignored":
            environ.pop("HTTP_IF_NONE_MATCH", None)
        if (other := server.instead(environ)) is not None:
            status, body, length = other
            start_response(status, [("Content-Length", str(length))])
            return [body]
        kind = server.fault()
        if kind is not None and kind.endswith("after"):
            b"".join(self._service(environ, lambda *_: None))
        if kind is None:
            return self._service(environ, start_response)
        if kind.startswith("reset"):
            _reset(environ["werkzeug.socket"])
        start_response("500 Internal Server Error", [("Content-Length", str(len(FAULT)))])
        return [FAULT]


class _Quiet(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        """The service says nothing about its requests."""


def _reset(connection: socket.socket) -> NoReturn:
    """Close so that the other side gets a reset instead of an end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connection.detach())
    raise ConnectionResetError


@contextmanager
def serve() -> Iterator[S3Server]:
    """The service in threads of this process until the block ends."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    server = S3Server()
    application = _Unreliable(DomainDispatcherApplication(create_backend_app), server)
    serving: BaseWSGIServer = make_server("127.0.0.1", 0, application, threaded=True, request_handler=_Quiet)
    serving.handle_error = lambda *_: None  # type: ignore[method-assign]  # a reset is no error here
    server.endpoint = f"http://127.0.0.1:{serving.server_port}"
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        serving.shutdown()
        thread.join()
