"""Joins a paid call to the circuit that all processes of a ledger share."""

import threading
from datetime import datetime

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


class SharedCircuit:
    """A breaker for ``model_blocks.adapters.calling.call``, kept in the ledger. Threads do not mix up their calls."""

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

    def succeeded(self, service: str) -> None:
        self._breaker.succeeded(self._allowed(service))

    def failed(self, service: str, kind: FailureKind, retry_after_s: float | None) -> None:
        allowed = self._allowed(service)
        if kind == "not_sent":
            self._breaker.given_back(allowed)
        else:
            self._breaker.failed(allowed, KINDS[kind], retry_after_s)

    def failed_here(self, service: str) -> None:
        """This machine cannot use what would be bought: out of memory, out of disk, workers lost."""
        self._breaker.failed(Allowed(service), "local")

    def _allowed(self, service: str) -> Allowed:
        allowed: Allowed = getattr(self._here, "allowed", None) or Allowed(service)
        return allowed
