"""An HTTP service, or proxy, that refuses everything and repeats what it was told, in reason, headers and body."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REPEATED = ("Authorization", "Proxy-Authorization", "X-Amz-Security-Token")


class _Gossip(BaseHTTPRequestHandler):
    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        told = " ".join([self.requestline, *(self.headers.get(name, "") for name in REPEATED)])
        self.send_response(403, told)
        self.send_header("X-Told", told)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told.encode("latin-1"))

    do_GET = do_HEAD = do_POST = do_PUT = do_CONNECT = _answer

    def log_message(self, *_: object) -> None:
        """It repeats what it hears to its caller alone."""


@contextmanager
def serve_gossip() -> Iterator[str]:
    """Host and port of the service until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Gossip)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
