"""Connections on which one deadline holds for everything: name, connection, handshake, sending, receiving.

A time limit per read does not do: a service that sends one byte a second keeps every single read short.
"""

import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from typing import Any

import httpcore

PIECE = 1 << 16  # bytes written at a time
Address = tuple[Any, ...]


class TimedBackend(httpcore.NetworkBackend):
    """Opens connections whose every operation ends when ``remaining`` says zero.

    Attributes:
        sent: Bytes of the request that were handed to the operating system. Zero proves that nobody can have acted.
    """

    def __init__(self, remaining: Callable[[], float]) -> None:
        self._remaining = remaining
        self.sent = 0

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        problem: OSError = OSError(f"no address for {host}")
        for family, address in self._addresses(host, port):
            try:
                return TimedStream(self._connected(family, address), self)
            except TimeoutError as error:
                raise httpcore.ConnectTimeout("no connection in time") from error
            except OSError as error:
                problem = error
        raise httpcore.ConnectError(str(problem)) from problem

    def remaining(self, kind: type[httpcore.TimeoutException]) -> float:
        """Seconds left, more than zero."""
        left = self._remaining()
        if left <= 0:
            raise kind("the deadline has passed")
        return left

    def _connected(self, family: int, address: Address) -> socket.socket:
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(self.remaining(httpcore.ConnectTimeout))
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            connection.close()
            raise
        return connection

    def _addresses(self, host: str, port: int) -> list[tuple[int, Address]]:
        """The host's addresses. The system's resolver knows no deadline: it is left behind when it takes too long."""
        try:
            family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
        except ValueError:
            return self._resolved(host, port)
        return [(family, (host, port))]

    def _resolved(self, host: str, port: int) -> list[tuple[int, Address]]:
        answer: SimpleQueue[list[tuple[int, Address]] | OSError] = SimpleQueue()
        threading.Thread(target=_resolve, args=(host, port, answer), daemon=True).start()
        try:
            found = answer.get(timeout=self.remaining(httpcore.ConnectTimeout))
        except Empty:
            raise httpcore.ConnectTimeout(f"the name {host} was not resolved in time") from None
        if isinstance(found, OSError):
            raise httpcore.ConnectError(f"the name {host} could not be resolved: {found}") from found
        return found


def _resolve(host: str, port: int, answer: "SimpleQueue[list[tuple[int, Address]] | OSError]") -> None:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        answer.put(error if isinstance(error, OSError) else OSError("not a host name"))
    else:
        answer.put([(int(family), address) for family, _, _, _, address in found])


class TimedStream(httpcore.NetworkStream):
    """A connection under its backend's deadline; the time limits of single operations do not count."""

    def __init__(self, connection: socket.socket, backend: TimedBackend) -> None:
        self._socket, self._backend = connection, backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._socket.settimeout(self._backend.remaining(httpcore.ReadTimeout))
        try:
            return self._socket.recv(max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout("no reply in time") from error
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        view = memoryview(buffer)
        while view:
            self._socket.settimeout(self._backend.remaining(httpcore.WriteTimeout))
            try:
                done = self._socket.send(view[:PIECE])
            except TimeoutError as error:
                raise httpcore.WriteTimeout("the request was not taken in time") from error
            except OSError as error:
                raise httpcore.WriteError(str(error)) from error
            self._backend.sent += done
            view = view[done:]

    def close(self) -> None:
        self._socket.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        self._socket.settimeout(self._backend.remaining(httpcore.ConnectTimeout))
        try:
            secured = ssl_context.wrap_socket(self._socket, server_hostname=server_hostname)
        except TimeoutError as error:
            self.close()
            raise httpcore.ConnectTimeout("no TLS handshake in time") from error
        except OSError as error:  # ssl.SSLError is one
            self.close()
            raise httpcore.ConnectError(str(error)) from error
        return TimedStream(secured, self._backend)

    def get_extra_info(self, info: str) -> Any:
        if info == "ssl_object":
            return self._socket if isinstance(self._socket, ssl.SSLSocket) else None
        return None
