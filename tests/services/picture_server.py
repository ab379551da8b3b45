"""A shop's picture server: serves a folder with entity tags, and counts what it was asked for.

Run as a program it prints its port and serves until its standard input ends; ``/counts`` tells what it counted.
"""

import hashlib
import json
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

TYPES = {".jpg": "image/jpeg", ".png": "image/png", ".html": "text/html"}
COUNTS = "/counts"


@dataclass
class PictureServer:
    """The server while it runs.

    Attributes:
        statuses: How many replies had which status.
        slow: Seconds that a picture takes, by its name.
    """

    folder: Path
    port: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    paths: Counter[str] = field(default_factory=Counter)
    slow: dict[str, float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def address(self) -> str:
        """As STILLMOTION_FETCH_ALLOW names it."""
        return f"127.0.0.1:{self.port}"

    def url(self, name: str) -> str:
        return f"http://{self.address}/{name}"

    def forget(self) -> None:
        """Begin to count anew."""
        with self.lock:
            self.statuses.clear()
            self.paths.clear()

    def count(self, path: str, status: int) -> None:
        with self.lock:
            self.statuses[status] += 1
            self.paths[path] += 1

    def handler(server) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                if self.path == COUNTS:
                    self._send(200, json.dumps(server.statuses).encode(), {"Content-Type": "application/json"})
                    return
                name = unquote(self.path.lstrip("/").split("?")[0])
                threading.Event().wait(server.slow.get(name, 0.0))
                try:
                    data = (server.folder / name).read_bytes()
                except OSError:
                    self._count(404, b"", {"Content-Type": "text/plain"})
                    return
                tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
                if self.headers.get("If-None-Match") == tag:
                    self._count(304, b"", {"ETag": tag})
                    return
                kind = TYPES.get(Path(name).suffix, "image/jpeg")
                self._count(200, data, {"ETag": tag, "Content-Type": kind})

            def _count(self, status: int, data: bytes, headers: dict[str, str]) -> None:
                server.count(self.path, status)
                self._send(status, data, headers)

            def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
                lines = [f"HTTP/1.1 {status} OK", *(f"{name}: {value}" for name, value in headers.items())]
                lines += [] if status == 304 else [f"Content-Length: {len(data)}"]
                self.wfile.write("\r\n".join([*lines, "", ""]).encode() + data)

            def log_message(self, *_: object) -> None: ...

        return Handler


@contextmanager
def serve(folder: Path) -> Iterator[PictureServer]:
    """Serve a folder on loopback while the block runs."""
    server = PictureServer(folder)
    http = ThreadingHTTPServer(("127.0.0.1", 0), server.handler())
    http.daemon_threads = True
    server.port = http.server_address[1]
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()


if __name__ == "__main__":
    with serve(Path(sys.argv[1])) as running:
        print(running.port, flush=True)  # noqa: T201 - told to whoever started it
        sys.stdin.read()
