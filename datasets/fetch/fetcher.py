"""Fetching pictures by URL: the one place that connects to addresses which a customer's table names."""

import random
import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from datasets.fetch.allowed import read_allowed
from datasets.fetch.connections import Connections
from datasets.fetch.deadline import Deadline
from datasets.fetch.exchange import Reply, exchange
from datasets.fetch.facts import MEBIBYTE, Allowed, Fetched, FetchLimits, Known, Resolve
from datasets.fetch.fetch_errors import FetchFailedError, FetchTooSlowError
from datasets.fetch.hosts import Hosts, left_alone
from datasets.fetch.replies import ELSEWHERE, PASSING, error_of, read_picture
from datasets.fetch.resolving import system_resolve
from datasets.fetch.urls import Target, read_url, redirected, refused
from datasets.fetch.wire import Wire
from datasets.known_secrets import shown_address
from datasets.retry_after import retry_after_s
from datasets.settings import Settings

NOTHING = Known()


@dataclass
class _Trip:
    """What one fetch has used up."""

    deadline: Deadline
    requests: int = 0
    failures: int = 0


class Fetcher:
    """Fetches pictures by URL under one set of rules. Thread-safe; connections are kept and used again.

    Args:
        limits: What one fetch may take.
        allow: Own image servers, by host and port: these are reached also over http and on private addresses.
        resolve: Host name and port to addresses; the system's resolver by default.
    """

    def __init__(self, limits: FetchLimits, allow: Allowed = frozenset(), resolve: Resolve = system_resolve) -> None:
        self._limits, self._allow = limits, allow
        self._connections, self._hosts = Connections(limits, resolve), Hosts(limits)
        self._closed = threading.Event()

    def fetch(self, url: str, known: Known | None = None) -> Fetched:
        """Fetch one picture, or learn that it is still the known one.

        Args:
            url: Where it is, with its scheme.
            known: Validators of the last time; without them the picture always comes whole.

        Raises:
            FetchRefusedError: The URL, an address behind it, or one it redirects to is not one we go to.
            FetchNotFoundError: The server has none.
            FetchDeniedError: The server does not give it to us.
            FetchTooLargeError: It is larger than the limit.
            FetchNotAnImageError: The reply says that it is no picture.
            FetchFailedError: No whole reply came; later it may.
            FetchTooSlowError: The time limit passed.
        """
        target = read_url(url, self._allow)
        trip = _Trip(Deadline(self._limits.timeout_s))
        for _ in range(self._limits.redirects + 1):
            asked = known if known and known.url in {"", target.url} else NOTHING
            reply = self._answered(target, asked, trip)
            if reply.status not in ELSEWHERE:
                return replace(read_picture(reply, target, asked, self._limits.media), requests=trip.requests)
            target = redirected(target, reply.headers.get("location", ""), self._allow)
        raise refused(url, "redirects", f"it redirects more than {self._limits.redirects} times")

    def close(self) -> None:
        """Close the kept connections and end pauses between tries. Fetches on their way end by themselves."""
        self._closed.set()
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answered(self, target: Target, known: Known, trip: _Trip) -> Reply:
        """Ask until there is an answer that another try would not change."""
        while True:
            try:
                return self._tried(target, known, trip)
            except FetchFailedError as error:
                trip.failures += 1
                if "retry_after_s" in error.facts or not self._may_try_again(trip):
                    raise

    def _may_try_again(self, trip: _Trip) -> bool:
        """Whether there is another try; waits for it.

        Source: Brooker 2015, "Exponential backoff and jitter" (equal jitter).
        """
        span = self._limits.backoff_s * 2.0 ** (trip.failures - 1)
        pause = span * random.uniform(0.5, 1)  # noqa: S311 - spreads requests, hides nothing
        if trip.failures >= self._limits.attempts or pause >= trip.deadline.seconds:
            return False
        return not self._closed.wait(pause)

    def _tried(self, target: Target, known: Known, trip: _Trip) -> Reply:
        reply = self._asked(target, known, trip)
        if reply.status not in PASSING:
            return reply
        away_s = retry_after_s(reply.headers, datetime.now(UTC)) or 0.0
        self._hosts.hold(target.place.host, away_s)
        if away_s > self._limits.retry_after_max_s:
            raise left_alone(target.place.host, away_s)
        raise error_of(reply, target)

    def _asked(self, target: Target, known: Known, trip: _Trip) -> Reply:
        """One request when it is its turn, with what the network did wrong in our words."""
        host, told = target.place.host, shown_address(target.url)
        with trip.deadline.paused():
            self._hosts.enter(host)
        try:
            return self._on_a_connection(target, known, trip)
        except TimeoutError as error:
            if trip.deadline.seconds <= 0:
                raise FetchTooSlowError(
                    f"{told} did not come within {self._limits.timeout_s:g} s; look at the server, or raise "
                    "STILLMOTION_FETCH_TIMEOUT_S",
                    url=told,
                ) from error
            raise FetchFailedError(f"{told}: no connection in time ({error})", url=told) from error
        except OSError as error:
            raise FetchFailedError(f"{told}: no reply: {error.strerror or error}; is it up?", url=told) from error
        finally:
            self._hosts.leave(host)

    def _on_a_connection(self, target: Target, known: Known, trip: _Trip) -> Reply:
        kept = self._connections.kept(target.place)
        if kept is not None:
            try:
                return self._exchanged(kept, target, known, trip)
            except ConnectionError:
                if kept.came():  # else the server closed it while we asked, which says nothing about this request
                    raise
        return self._exchanged(self._connections.opened(target.place, trip.deadline), target, known, trip)

    def _exchanged(self, wire: Wire, target: Target, known: Known, trip: _Trip) -> Reply:
        trip.requests += 1
        try:
            reply = exchange(wire, target, known, trip.deadline, self._limits)
        except BaseException:
            wire.close()
            raise
        if reply.last or self._closed.is_set():
            wire.close()
        else:
            self._connections.give_back(target.place, wire)
        return reply


def open_fetcher(settings: Settings) -> Fetcher:
    """A fetcher under the limits of this installation.

    Raises:
        SettingsError: STILLMOTION_FETCH_ALLOW does not hold.
    """
    limits = FetchLimits(
        max_bytes=settings.fetch_max_mb * MEBIBYTE,
        timeout_s=settings.fetch_timeout_s,
        connect_s=min(10.0, settings.fetch_timeout_s),
        per_host=settings.fetch_per_host,
        per_host_interval_s=settings.fetch_interval_s,
        media=tuple(kind.strip().lower() for kind in settings.fetch_media.split(",") if kind.strip()),
    )
    return Fetcher(limits, read_allowed(settings.fetch_allow))
