"""A connection on which every operation ends with a deadline and all that comes is counted."""

import io
import select
import socket
import ssl
import time

from datasets.fetch.deadline import Deadline
from datasets.fetch.fetch_errors import FetchTooLargeError

BUFFER = 1 << 16  # bytes read at a time


class Wire:
    """A connected socket as ``http.client.HTTPResponse`` needs one, for one exchange after the other.

    Args:
        connection: Connected, and past its handshake where there is one.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._reading = _Reading(connection)
        self._buffered = _Lasting(self._reading, BUFFER)
        self.opened_at = self.used_at = time.monotonic()

    def send(self, request: bytes, deadline: Deadline, most_bytes: int) -> None:
        """Begin an exchange: all until the next ``send`` is under this deadline.

        Args:
            request: What is sent.
            deadline: When everything ends.
            most_bytes: What may come at most, headers and framing included.
        """
        self._reading.begin(deadline, most_bytes)
        self._socket.settimeout(deadline.left())
        self._socket.sendall(request)
        self.used_at = time.monotonic()

    def makefile(self, mode: str) -> io.BufferedReader:
        """The one buffer of this connection: what a reply leaves in it can be seen by ``quiet``."""
        return self._buffered

    def came(self) -> int:
        """Bytes that came in this exchange."""
        return self._reading.came

    def quiet(self) -> bool:
        """Whether nothing came that nobody asked for, the end of the connection included."""
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return False
        poll = select.poll()  # select.select knows no descriptor above 1023
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0) and not self._reading.left_over(self._buffered)

    def close(self) -> None:
        self._socket.close()


class _Reading(io.RawIOBase):
    """The reading side: a socket that asks the deadline before every read."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._deadline, self._most, self._dry = Deadline(0), 0, False
        self.came = 0

    def begin(self, deadline: Deadline, most_bytes: int) -> None:
        self._deadline, self._most, self.came = deadline, most_bytes, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]  # the buffer's type of typeshed
        if self._dry:
            return None
        self._socket.settimeout(self._deadline.left())
        count = self._socket.recv_into(buffer)
        self.came += count
        if self.came > self._most:
            raise FetchTooLargeError(f"expected at most {self._most} bytes on the wire, more came", limit=self._most)
        return count

    def left_over(self, buffered: io.BufferedReader) -> bool:
        """Whether the buffer holds bytes; nothing is read for it."""
        self._dry = True
        try:
            return bool(buffered.peek(1))
        finally:
            self._dry = False


class _Lasting(io.BufferedReader):
    """A buffer that outlives the reply: ``HTTPResponse`` closes what it has read."""

    def close(self) -> None:
        """Left to the wire."""
