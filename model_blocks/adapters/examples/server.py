"""A server that restyles: it makes frames more colourful. Needs NumPy and OpenCV, nothing of Stillmotion.

    python server.py 8765

Its declaration::

    {"kind": "http", "name": "vivid", "version": "1", "endpoint": "http://127.0.0.1:8765/restyle",
     "health": "http://127.0.0.1:8765/health", "loopback": true}
"""

import base64
import json
import sys
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np

LARGEST = 1 << 30  # bytes of a request


def vivid(image: Any, seed: int) -> Any:
    """Twice as far from grey, and a little more with every seed."""
    values = image.astype(np.float32)
    grey = values.mean(axis=-1, keepdims=True)
    strength = 2 + seed % 10 / 10
    return np.clip(np.rint(grey + (values - grey) * strength), 0, np.iinfo(image.dtype).max).astype(image.dtype)


def restyled(body: bytes, content_type: str) -> dict[str, object]:
    """The answer to a form."""
    form: Any = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    fields: dict[str, str] = {}
    frames = []
    for part in form.iter_parts():
        name, content = part.get_param("name", header="content-disposition"), part.get_payload(decode=True)
        if name == "input_file":
            frames.append(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED))
        else:
            fields[str(name)] = content.decode()
    if not frames:
        return {"success": False, "error": "no input_file"}
    made = [cv2.imencode(".png", vivid(frame, int(fields.get("seed", "0"))))[1] for frame in frames]
    return {"success": True, "frames": [base64.b64encode(each.tobytes()).decode() for each in made]}


class Handler(BaseHTTPRequestHandler):
    """``GET /health`` and ``POST /restyle``."""

    def do_GET(self) -> None:
        self._answer(200, {"success": True})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        if not 0 < length <= LARGEST:
            self._answer(413, {"success": False, "error": "too large"})
            return
        self._answer(200, restyled(self.rfile.read(length), self.headers["Content-Type"]))

    def _answer(self, status: int, document: dict[str, object]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing about requests."""


def main() -> int:
    with ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0), Handler) as server:
        print(f"http://127.0.0.1:{server.server_port}/restyle", flush=True)  # noqa: T201 - so that callers know it
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
