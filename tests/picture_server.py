"""A picture server on loopback that does byte by byte what it is told, and a canary that counts who comes."""

import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

ETAG = '"kept"'
PICTURE = b"\x89PNG" + bytes(1000)


@dataclass(frozen=True)
class Asked:
    """A request: its path with the query, its headers by lower-case names, the number of its connection."""

    path: str
    headers: Mapping[str, str]
    connection: int


Script = Callable[[Asked, socket.socket], bool]  # answers; whether the connection goes on


def reply(status: int = 200, body: bytes = PICTURE, **headers: str) -> bytes:
    """A whole reply. Names of headers are given with underscores; ``Content_Length=""`` leaves it out."""
    fields = {"Content-Type": "image/png", "Content-Length": str(len(body))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} Some", *(f"{name}: {value}" for name, value in fields.items() if value), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def says(*replies: bytes, goes_on: bool = True) -> Script:
    """Answers with one reply after the other, then with the last again and again."""
    left = list(replies)

    def script(asked: Asked, wire: socket.socket) -> bool:
        wire.sendall(left.pop(0) if len(left) > 1 else left[0])
        return goes_on

    return script


def unchanged(asked: Asked, wire: socket.socket) -> bool:
    """The picture, or the news that it is the known one."""
    known = asked.headers.get("if-none-match") == ETAG
    wire.sendall(reply(304, b"", Content_Type="", Content_Length="", ETag=ETAG) if known else reply(ETag=ETAG))
    return True


def redirects(location: str, status: int = 302) -> Script:
    return says(reply(status, b"", Location=location))


@dataclass
class PictureServer:
    """What it does and what came.

    Attributes:
        scripts: By path; other paths give ``PICTURE``.
        asked: Requests, in order.
        connections: How many were opened, also those that said nothing.
    """

    host: str
    port: int = 0
    scripts: dict[str, Script] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    wires: list[socket.socket] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]

    def serve(self, listening: socket.socket, context: ssl.SSLContext | None) -> None:
        while True:
            try:
                wire, _ = listening.accept()
            except OSError:
                return
            self.connections += 1
            self.wires.append(wire)
            threading.Thread(target=self._talk, args=(wire, context, self.connections), daemon=True).start()

    def _talk(self, wire: socket.socket, context: ssl.SSLContext | None, number: int) -> None:
        with suppress(OSError, ValueError):
            wire = context.wrap_socket(wire, server_side=True) if context else wire
            stream = wire.makefile("rb")
            while first := stream.readline().decode("latin-1").split():
                fields = iter(lambda: stream.readline().decode("latin-1").strip(), "")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in fields)}
                asked = Asked(first[1], headers, number)
                self.asked.append(asked)
                if not self.scripts.get(asked.path, says(reply()))(asked, wire):
                    break
        wire.close()


@contextmanager
def serving(host: str = "127.0.0.1", port: int = 0, certificate: Path | None = None) -> Iterator[PictureServer]:
    """A server on an address of this machine, with TLS if it has a certificate."""
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=64) as listening:
        server = PictureServer(host, listening.getsockname()[1])
        thread = threading.Thread(target=server.serve, args=(listening, context), daemon=True)
        thread.start()
        yield server
        listening.shutdown(socket.SHUT_RDWR)
        for wire in server.wires:
            with suppress(OSError):
                wire.close()
        thread.join(5)


if __name__ == "__main__":  # as a process of its own: says its port, ends when its input does
    with serving() as server:
        server.scripts["/kept"] = unchanged
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        sys.stdin.read()
