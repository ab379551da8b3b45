"""Politeness: so many requests to one host at once, so far apart, and none while it wants to be left alone."""

import threading
import time
from dataclasses import dataclass

from datasets.fetch.facts import FetchLimits
from datasets.fetch.fetch_errors import FetchFailedError


@dataclass
class _Gate:
    """One host. Times are monotonic seconds."""

    changed: threading.Condition
    busy: int = 0
    interested: int = 0
    next_start: float = 0.0
    held_until: float = 0.0

    def is_idle(self, now: float) -> bool:
        return not self.interested and now >= max(self.next_start, self.held_until)


class Hosts:
    """Gives out turns. Thread-safe."""

    def __init__(self, limits: FetchLimits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._gates: dict[str, _Gate] = {}
        self._swept_at = 0.0

    def enter(self, host: str) -> None:
        """Wait for the turn of one request to a host; to be followed by ``leave``.

        Raises:
            FetchFailedError: The host asked to be left alone for longer than we wait.
        """
        with self._lock:
            gate = self._gate(host)
            gate.interested += 1
            try:
                self._wait(host, gate)
            except BaseException:
                gate.interested -= 1
                raise

    def leave(self, host: str) -> None:
        """End the turn."""
        with self._lock:
            gate = self._gates[host]
            gate.busy -= 1
            gate.interested -= 1
            gate.changed.notify_all()
            self._sweep()

    def hold(self, host: str, seconds: float) -> None:
        """Leave a host alone for so long."""
        with self._lock:
            gate = self._gate(host)
            gate.held_until = max(gate.held_until, time.monotonic() + seconds)

    def _gate(self, host: str) -> _Gate:
        if host not in self._gates:
            self._gates[host] = _Gate(threading.Condition(self._lock))
        return self._gates[host]

    def _wait(self, host: str, gate: _Gate) -> None:
        """Wait, under the lock, until a request may start, and count it."""
        while True:
            now = time.monotonic()
            held = gate.held_until - now
            if held > self._limits.retry_after_max_s:
                raise left_alone(host, held)
            pause = max(gate.next_start - now, held)
            free = gate.busy < self._limits.per_host
            if free and pause <= 0:
                break
            gate.changed.wait(pause if free else None)
        gate.busy += 1
        gate.next_start = now + self._limits.per_host_interval_s

    def _sweep(self) -> None:
        """Forget hosts that nobody asks, now and then: a table may name as many as it has rows."""
        now = time.monotonic()
        if len(self._gates) < 256 or now - self._swept_at < 1:
            return
        self._swept_at = now
        self._gates = {host: gate for host, gate in self._gates.items() if not gate.is_idle(now)}


def left_alone(host: str, seconds: float) -> FetchFailedError:
    """The error for a host that asked to be left alone for longer than we wait."""
    return FetchFailedError(
        f"{host} asks to be left alone for {seconds:.0f} s, longer than a fetch waits; run again after that",
        host=host,
        retry_after_s=round(seconds, 1),
    )
