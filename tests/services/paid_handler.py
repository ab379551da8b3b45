"""How the charging service answers: forms, keys, charges and faults."""

import base64
import binascii
import email.parser
import email.policy
import html
import json
import os
import re
import socket
import struct
import time
from hashlib import sha256
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, unquote

from tests.services.paid_books import Answer
from tests.services.paid_image import PAINTS, make_image

if TYPE_CHECKING:
    from tests.services.paid_service import Core

GOOGLE = re.compile(r"/v1beta/models/[\w.-]+:generateContent")
PATIENCE_S = 60.0  # how long a reply that never comes is held open
Order = tuple[str, bytes | None]


class PaidHandler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    @property
    def core(self) -> "Core":
        return cast("Core", self.server.core)  # type: ignore[attr-defined]

    def do_GET(self) -> None:
        books = self.core.books
        if self.path == "/charges":
            self._json(200, books.totals())
        elif self.path == "/usage.json":
            self._json(200, books.usage())
        elif self.path == "/usage.csv":
            self._send(200, "text/csv", books.usage_csv().encode())
        elif self.path.startswith("/v1/requests/") and self.core.rules.look_up:
            self._look_up(unquote(self.path.removeprefix("/v1/requests/")))
        else:
            self._json(404, {"error": {"code": 404, "message": "no such page"}})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/schedule":
            self.core.schedule.extend(json.loads(body))
            self._json(200, {"waiting": len(self.core.schedule)})
        elif self.path == "/accepted":
            self.core.accepted = frozenset(json.loads(body))
            self._json(200, {"accepted": len(self.core.accepted)})
        elif GOOGLE.fullmatch(self.path) or self.path in ("/v1/images", "/v1/edits"):
            self._paid(body)
        else:
            self._json(404, {"error": {"code": 404, "message": "no such page"}})

    def log_message(self, *_: object) -> None:
        """The service says nothing about its requests."""

    def _paid(self, body: bytes) -> None:
        from tests.services.paid_service import BEFORE, KEY_HEADER

        if self._given_key() not in self.core.accepted:
            self._json(401, {"error": {"code": 401, "message": f"who are you? {_spelled(self._given_key())}"}})
            return
        fault = self.core.next_fault()
        key = self.headers.get(KEY_HEADER)
        self.core.books.note_request(key, self.path, fault["kind"])
        if fault["kind"] in BEFORE:
            self._fail_before(fault, key, body)
            return
        self.core.stopping.wait(self.core.rules.work_s)
        try:
            order = self._order(body)
            answer = self._work(key, body, order, fault["kind"])
        except (ValueError, KeyError, OSError, binascii.Error):
            self._json(400, {"error": {"code": 400, "message": "the request cannot be read"}})
            return
        self._answer(answer, fault)

    def _given_key(self) -> str:
        return self.headers.get("x-goog-api-key") or self.headers.get("Authorization", "")[7:]

    def _order(self, body: bytes) -> Order:
        """Prompt and picture of a request in any form."""
        if self.path == "/v1/edits":
            return _multipart(self.headers["Content-Type"], body)
        document = json.loads(body)
        if self.path == "/v1/images":
            return document["prompt"], base64.b64decode(document["image"]) if "image" in document else None
        parts = document["contents"][0]["parts"]
        pictures = [base64.b64decode(part["inlineData"]["data"]) for part in parts if "inlineData" in part]
        return "".join(part.get("text", "") for part in parts), pictures[0] if pictures else None

    def _work(self, key: str | None, body: bytes, order: Order, fault: str) -> Answer:
        """Charge, unless the key was seen. The lock makes two requests with one key one charge."""
        rules, books, digest = self.core.rules, self.core.books, sha256(body).hexdigest()
        image = make_image(*order, paint=fault if fault in PAINTS else rules.paint)
        with books.lock:
            known = books.remembered(key, rules.key_window_s) if key and rules.keys else None
            if known is not None:
                return known[1] if known[0] == digest else Answer(422)
            charged = books.charge(key, self.path, digest, rules.price_micro_usd, image)
            answer = Answer(500) if fault == "error_after" else charged
            if key and rules.keys:
                books.remember(key, digest, answer if rules.replay_errors else charged)
            return answer

    def _fail_before(self, fault: dict[str, Any], key: str | None, body: bytes) -> None:
        kind = fault["kind"]
        headers = {"Retry-After": str(fault["retry_after"])} if "retry_after" in fault else {}
        if kind == "reset_before":
            self._reset()
        elif kind == "timeout_before":
            self._hang(fault)
        elif kind == "redirect":
            self._json(307, {}, {"Location": "/elsewhere"})
        elif kind == "blocked":
            self._json(200, {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 7}})
        else:
            status = {"unavailable": 503, "too_many": 429, "error_before": 500, "bad_request": 400}[kind]
            if key and self.core.rules.keys and self.core.rules.replay_errors and status in (400, 500):
                self.core.books.remember(key, sha256(body).hexdigest(), Answer(status))
            self._json(status, self._error(status, fault), headers)

    def _error(self, status: int, fault: dict[str, Any]) -> dict[str, Any]:
        """An error that repeats the caller's key, as some services do."""
        said = f"{fault['kind']}; your key was {self._given_key()}, {_spelled(self._given_key())}"
        details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": fault.get("delay")}]
        return {"error": {"code": status, "message": said, "details": details if "delay" in fault else []}}

    def _answer(self, answer: Answer, fault: dict[str, Any]) -> None:
        kind = fault["kind"]
        if kind == "reset_after":
            self._reset()
        elif kind == "timeout_after":
            self._hang(fault)
        elif answer.status != 200:
            self._json(answer.status, self._error(answer.status, fault))
        else:
            self._deliver(answer, fault)

    def _deliver(self, answer: Answer, fault: dict[str, Any]) -> None:
        kind = fault["kind"]
        if kind == "not_an_image":
            answer = Answer(200, answer.reference, b"<html>not a picture</html>")
        media_type, body = self._form(answer)
        if kind == "withheld":
            candidate = {"finishReason": "IMAGE_SAFETY", "finishMessage": "try other words"}
            body = json.dumps({"candidates": [candidate], "responseId": answer.reference}).encode()
        if kind == "garbage":
            body = b"\x00\xff{]" + body[:40]
        if kind == "echo":
            body = json.dumps({**self.headers, "spelled": _spelled(self._given_key())}).encode()
        headers = {"X-Reference": answer.reference, "X-Price": str(self.core.rules.price_micro_usd)}
        if answer.replayed:
            headers["Idempotent-Replayed"] = "true"
        if kind in ("drip", "drip_headers", "huge", "cut"):
            self._oddly(kind, fault, media_type, body)
        else:
            self._send(200, media_type, body, headers)

    def _form(self, answer: Answer) -> tuple[str, bytes]:
        if self.path == "/v1/edits":
            return "image/png", answer.image
        data = base64.b64encode(answer.image).decode()
        price = self.core.rules.price_micro_usd
        if self.path == "/v1/images":
            return "application/json", json.dumps(
                {"id": answer.reference, "data": [{"image": data}], "price_micro_usd": price}
            ).encode()
        parts = [{"text": "Here it is."}, {"inlineData": {"mimeType": "image/png", "data": data}}]
        document = {
            "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 1290, "totalTokenCount": 1297},
            "responseId": answer.reference,
        }
        return "application/json", json.dumps(document).encode()

    def _oddly(self, kind: str, fault: dict[str, Any], media_type: str, body: bytes) -> None:
        """A whole reply is ready and does not come as it should."""
        length = len(body) if kind != "huge" else 1 << 40
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n\r\n".encode()
        self.close_connection = True
        if kind == "cut":
            self.wfile.write(head + body[: len(body) // 2])
        elif kind == "huge":
            self.wfile.write(head)
            while not self.core.stopping.is_set():
                self.wfile.write(bytes(1 << 16))
        else:
            whole = head + body
            at_once = 0 if kind == "drip_headers" else len(head)
            self.wfile.write(whole[:at_once])
            for place in range(at_once, len(whole)):
                self.wfile.write(whole[place : place + 1])
                if self.core.stopping.wait(fault.get("seconds", 1.0)):
                    break

    def _hang(self, fault: dict[str, Any]) -> None:
        self.core.stopping.wait(fault.get("seconds", PATIENCE_S))
        self.close_connection = True

    def _reset(self) -> None:
        """Close so that the other side gets a reset instead of an end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())
        self.close_connection = True

    def _look_up(self, key: str) -> None:
        found = self.core.books.charged(key)
        if found is None or time.time() - found[0] < self.core.rules.settle_s:
            self._json(200, {"state": "none"})
            return
        _, reference, price, image = found
        data = base64.b64encode(image).decode()
        self._json(200, {"state": "charged", "id": reference, "price_micro_usd": price, "image": data})

    def _json(self, status: int, document: Any, headers: dict[str, str] | None = None) -> None:
        self._send(status, "application/json", json.dumps(document).encode(), headers)

    def _send(self, status: int, media_type: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        said = {"Content-Type": media_type, "Content-Length": str(len(body)), "X-Your-Key": self._given_key()}
        for name, value in {**said, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _spelled(key: str) -> str:
    """A key in the spellings in which logs and traces of services hold it."""
    basic = base64.b64encode(f"anna:{key}".encode()).decode()
    return f"Basic {basic} {quote(key, safe='')} {html.escape(key)} {key.encode().hex()}"


def _multipart(content_type: str, body: bytes) -> Order:
    """Prompt and picture of a form, read by the standard library's parser."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    fields: dict[str, bytes] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        fields[str(name)] = cast("bytes", part.get_payload(decode=True))
    return fields["prompt"].decode(), fields.get("image")
