"""Joins a paid call to the circuit that all processes of a ledger share."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from datasets.errors import StorageUnavailableError
from datasets.ledger import Allowed, Breaker, OpenUntil
from datasets.ledger.breaker import Failure
from model_blocks.adapters.calling import FailureKind

KINDS: dict[FailureKind, Failure] = {
    "unreachable": "connection",
    "reset": "connection",
    "timeout": "timeout",
    "protocol": "server",
    "error": "server",
    "overloaded": "rate_limited",
}
LOG = logging.getLogger("stillmotion")


class SharedCircuit:
    """A breaker for ``model_blocks.adapters.calling.call``, kept in the ledger. Threads do not mix up their calls.

    While the ledger is away no call is let through. What came of one that was is then not written down here, but it is
    not lost to the caller either: an answer that was paid for is worth more than the circuit's books.
    """

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self._here = threading.local()

    def before_call(self, service: str) -> datetime | None:
        """None lets the request go; a time (UTC) says until when nothing is sent."""
        answer = self._breaker.before_call(service)
        if isinstance(answer, OpenUntil):
            return answer.at
        self._here.allowed = answer
        return None

    def look(self, service: str) -> OpenUntil | None:
        """Until when the service is left alone, and why; None if it may be asked. Changes nothing."""
        return self._breaker.look(service)

    def succeeded(self, service: str) -> None:
        with _unless_away():
            self._breaker.succeeded(self._allowed(service))

    def failed(self, service: str, kind: FailureKind, retry_after_s: float | None) -> None:
        allowed = self._allowed(service)
        with _unless_away():
            if kind == "not_sent":
                self._breaker.given_back(allowed)
            else:
                self._breaker.failed(allowed, KINDS[kind], retry_after_s)

    def failed_here(self, service: str) -> None:
        """This machine cannot use what would be bought: out of memory, out of disk, workers lost."""
        with _unless_away():
            self._breaker.failed(Allowed(service), "local")

    def _allowed(self, service: str) -> Allowed:
        allowed: Allowed = getattr(self._here, "allowed", None) or Allowed(service)
        return allowed


@contextmanager
def _unless_away() -> Iterator[None]:
    try:
        yield
    except StorageUnavailableError as error:
        LOG.warning("the circuit was not told how a call ended: %s", error)
