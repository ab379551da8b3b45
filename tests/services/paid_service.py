"""A real service that charges, keeps its own books, and misbehaves on order.

In its own process: ``python -m tests.services.paid_service --folder FOLDER --keys --look-up``; the first line it
writes is its address. In a thread: ``with serve(folder, Rules(...)) as service``.

    POST /v1beta/models/MODEL:generateContent    Google's form
    POST /v1/images                              JSON in, JSON out
    POST /v1/edits                               multipart in, the image itself out
    GET  /v1/requests/KEY                        what became of a key, if look-ups are offered
    GET  /charges, /usage.json, /usage.csv       its books
    POST /schedule                               a JSON list of faults for the next paid requests
    POST /accepted                               a JSON list of the keys that are let in from now on

A fault is ``{"kind": ..., "seconds": ..., "retry_after": ...}``. Before charging: ``unavailable`` (503), ``too_many``
(429), ``timeout_before``, ``reset_before``, ``error_before`` (500), ``bad_request`` (400), ``redirect``, ``blocked``.
After charging: ``timeout_after``, ``reset_after``, ``error_after`` (500), ``drip`` and ``drip_headers`` (a byte every
``seconds``), ``garbage``, ``echo`` (the headers it got, and the key in other spellings), ``not_an_image``,
``withheld``, ``huge``, ``cut``.
``ok`` is none. A way to treat the product (see ``paid_image``) is charged and answered, for this one request.
"""

import argparse
import random
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from tests.services.paid_books import Books

KEY_HEADER = "Idempotency-Key"
API_KEY = "canary-key-that-nobody-may-see"
MODEL = "tiny-image-1"
BEFORE = (
    "unavailable",
    "too_many",
    "timeout_before",
    "reset_before",
    "error_before",
    "bad_request",
    "redirect",
    "blocked",
)
AFTER = (
    *("timeout_after", "reset_after", "error_after", "drip", "drip_headers"),
    *("garbage", "echo", "not_an_image", "withheld", "huge", "cut"),
)
RANDOM = ("unavailable", "reset_before", "error_before", "reset_after", "error_after")


@dataclass(frozen=True)
class Rules:
    """What the service promises, and how often it fails by chance.

    Attributes:
        keys: Whether a key that was seen is answered again and not charged again.
        key_window_s: How long.
        replay_errors: Whether errors are remembered too.
        look_up: Whether it tells what became of a key.
        settle_s: How long after a charge a look-up still says that there is none.
        price_micro_usd: Of a request.
        fault_rate: Share of requests that fail by chance, with one of ``RANDOM``.
        seed: Of the chance.
        work_s: How long the work takes, before the charge.
        paint: How it treats the product it was sent; see ``paid_image``.
    """

    keys: bool = False
    key_window_s: float = 3600.0
    replay_errors: bool = False
    look_up: bool = False
    settle_s: float = 0.0
    price_micro_usd: int = 39_000
    fault_rate: float = 0.0
    seed: int = 7
    work_s: float = 0.0
    paint: str = "honest"


@dataclass
class Core:
    """What the handlers share."""

    rules: Rules
    books: Books
    schedule: deque[dict[str, Any]] = field(default_factory=deque)
    accepted: frozenset[str] = frozenset({API_KEY})
    stopping: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.rules.seed)

    def next_fault(self) -> dict[str, Any]:
        with self.lock:
            if self.schedule:
                return self.schedule.popleft()
            if self.chance.random() < self.rules.fault_rate:
                return {"kind": self.chance.choice(RANDOM), "retry_after": 0}
            return {"kind": "ok"}


@dataclass(frozen=True)
class Service:
    """A running service, here or elsewhere."""

    url: str

    def order(self, *faults: str | dict[str, Any]) -> None:
        """Faults for the next paid requests, first come, first served."""
        listed = [{"kind": fault} if isinstance(fault, str) else fault for fault in faults]
        httpx.post(f"{self.url}/schedule", json=listed, trust_env=False).raise_for_status()

    def accept(self, *keys: str) -> None:
        """Let these keys in from now on, and no others."""
        httpx.post(f"{self.url}/accepted", json=keys, trust_env=False).raise_for_status()

    @property
    def totals(self) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self.url}/charges", trust_env=False).json()
        return found

    @property
    def charges(self) -> int:
        """How many charges it made."""
        return int(self.totals["charges"])

    @property
    def requests(self) -> int:
        """How many paid requests came."""
        return int(self.totals["requests"])


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, core: Core, port: int) -> None:
        from tests.services.paid_handler import PaidHandler

        self.core = core
        super().__init__(("127.0.0.1", port), PaidHandler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error here."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def make_server(core: Core, port: int = 0) -> ThreadingHTTPServer:
    """A server that listens already and does not answer yet."""
    return _Server(core, port)


@contextmanager
def serve(folder: Path, rules: Rules | None = None) -> Iterator[Service]:
    """The service in threads of this process until the block ends."""
    core = Core(rules or Rules(), Books(folder))
    server = make_server(core)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield Service(f"http://127.0.0.1:{server.server_port}")
    finally:
        core.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()
        core.books.close()


def main() -> None:
    """The service in this process until it is ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--keys", action="store_true")
    parser.add_argument("--replay-errors", action="store_true")
    parser.add_argument("--look-up", action="store_true")
    for name in ("key_window_s", "settle_s", "fault_rate", "work_s"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=getattr(Rules(), name))
    for name in ("price_micro_usd", "seed"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(Rules(), name))
    parser.add_argument("--paint", default="honest")
    given = vars(parser.parse_args())
    folder, port = given.pop("folder"), given.pop("port")
    core = Core(Rules(**given), Books(folder))
    server = make_server(core, port)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    sys.stdout.write(f"http://127.0.0.1:{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever(0.05)


if __name__ == "__main__":
    main()
