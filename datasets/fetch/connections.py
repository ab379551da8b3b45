"""Connections to judged addresses, kept for the next request to the same place."""

import socket
import ssl
import threading
import time
from collections import deque
from ipaddress import ip_address

from datasets.authorities import trusted_authorities
from datasets.fetch.deadline import Deadline
from datasets.fetch.facts import FetchLimits, Resolve
from datasets.fetch.resolving import judged_addresses
from datasets.fetch.urls import Place, refused
from datasets.fetch.wire import Wire

IDLE_S = 15.0  # most servers close idle connections after 15 to 75 seconds
LIFE_S = 120.0  # then the name is resolved and judged again
MOST_IDLE = 64  # over all places: a table may name thousands of hosts


class Connections:
    """Opens connections and keeps those that may be used again. Thread-safe.

    A kept connection stays with the address that was judged when it was opened, whatever the name says since.
    """

    def __init__(self, limits: FetchLimits, resolve: Resolve) -> None:
        self._limits, self._resolve = limits, resolve
        self._lock = threading.Lock()
        self._idle: deque[tuple[Place, Wire]] = deque()  # the longest idle first

    def kept(self, place: Place) -> Wire | None:
        """A kept connection that is still good, or None."""
        while (wire := self._taken(place)) is not None:
            now = time.monotonic()
            if now - wire.used_at < IDLE_S and now - wire.opened_at < LIFE_S and wire.quiet():
                return wire
            wire.close()
        return None

    def opened(self, place: Place, deadline: Deadline) -> Wire:
        """A new connection to the first judged address that takes it.

        Raises:
            FetchRefusedError: No address may be connected to, or the certificate is not that of the host.
            TimeoutError: It took too long.
            OSError: No address took it.
        """
        step = deadline.within(self._limits.connect_s)
        problem: OSError = OSError(f"no address for {place.host}")
        addresses = judged_addresses(place, self._resolve, step)
        for count, address in enumerate(addresses):
            share = step.left() / (len(addresses) - count)  # a silent address leaves time for the others
            try:
                return Wire(_secured(place, _connected(address, place.port, step.within(share)), step))
            except OSError as error:
                problem = error
        raise problem

    def give_back(self, place: Place, wire: Wire) -> None:
        """Keep a connection whose reply was read to its end."""
        if not wire.quiet():
            wire.close()
            return
        with self._lock:
            self._idle.append((place, wire))
            surplus = self._idle.popleft()[1] if len(self._idle) > MOST_IDLE else None
        if surplus is not None:
            surplus.close()

    def close(self) -> None:
        """Close all that are kept."""
        with self._lock:
            wires = [wire for _, wire in self._idle]
            self._idle.clear()
        for wire in wires:
            wire.close()

    def _taken(self, place: Place) -> Wire | None:
        with self._lock:
            for index in range(len(self._idle) - 1, -1, -1):
                if self._idle[index][0] == place:
                    wire = self._idle[index][1]
                    del self._idle[index]
                    return wire
        return None


def _connected(address: str, port: int, deadline: Deadline) -> socket.socket:
    family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(deadline.left())
        connection.connect((address, port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        connection.close()
        raise
    return connection


def _secured(place: Place, connection: socket.socket, deadline: Deadline) -> socket.socket:
    if place.scheme == "http":
        return connection
    try:
        connection.settimeout(deadline.left())
        return trusted_authorities().wrap_socket(connection, server_hostname=place.host)
    except ssl.SSLCertVerificationError as error:
        raise refused(
            f"https://{place.authority}/",
            "certificate",
            f"its certificate does not prove that it is {place.host}: {error.verify_message}; an own authority is "
            "named by SSL_CERT_FILE",
        ) from error
    finally:
        connection.close()  # without effect on one that was wrapped: that took the descriptor along
