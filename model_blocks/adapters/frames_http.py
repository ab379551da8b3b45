"""An HTTP service as an adapter: frames are sent as a form, frames come back in JSON or in a folder that both see.

``POST`` as ``multipart/form-data`` with a part ``input_file`` for every frame in order (PNG, ``000000.png`` and so on;
a photograph is one), and ``prompt``, ``style`` and ``seed``. The answer is JSON: ``{"success": true, "frames": [...]}``
with PNG files in base64, or ``{"success": true, "frames_path": "DIR"}`` where the declaration allows a folder; or
``{"success": false, "error": "..."}``.

Statuses 408, 429, 5xx and lost connections are tried again, others are not. The service must not charge for a request,
since one may be repeated.
"""

import base64
import binascii
import ipaddress
import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import httpx
from pydantic import Field, SecretStr

from datasets.errors import SettingsError
from datasets.retry_after import retry_after_s
from datasets.settings import MEBIBYTE
from model_blocks.adapters.credentials import Credential
from model_blocks.adapters.declaration import Endpoint
from model_blocks.adapters.exchange import exchange
from model_blocks.adapters.frames_adapter import AdapterDeclaration, Frames, FramesRequest, Report, unheard
from model_blocks.adapters.frames_errors import (
    AdapterAwayError,
    AdapterError,
    AdapterOutputError,
    AdapterRefusedError,
    AdapterTimeoutError,
)
from model_blocks.adapters.frames_files import decode_frames, folder_below, frame_name, png_bytes, read_frames
from model_blocks.adapters.network import Address, TimedBackend
from model_blocks.adapters.outcomes import Broken, Reply, WireRequest
from model_blocks.adapters.waiting import Clock, Retries

PASSING = frozenset({408, 425, 429})  # besides 5xx


class HttpDeclaration(AdapterDeclaration):
    """A service that is spoken to by HTTP."""

    kind: Literal["http"] = "http"
    endpoint: Endpoint = Field(description="Address that frames are posted to; http or https.")
    health: Endpoint | None = Field(default=None, description="Address that answers with status 200 when all is well.")
    loopback: bool = Field(default=False, description="Whether the address may be one of this machine.")
    frames_folder: str | None = Field(
        default=None, description="Folder that the service leaves frames in; frames_path must lie below it."
    )
    token_variable: str | None = Field(
        default=None, pattern="^[A-Z][A-Z0-9_]*$", description="Environment variable that holds a bearer token."
    )
    tries: int = Field(default=4, ge=1, le=20, description="Tries of one call.")
    attempt_s: float | None = Field(default=None, gt=0, description="Longest single try, in seconds.")
    max_reply_mb: int = Field(default=256, ge=1, le=2048, description="Largest reply that is read, in MiB.")

    def deciding(self) -> dict[str, object]:
        return {"endpoint": self.endpoint}


@dataclass(frozen=True)
class HttpAdapter:
    """Calls the service."""

    declaration: HttpDeclaration
    clock: Clock = field(default_factory=Clock)

    def restyle(self, frames: Frames, request: FramesRequest, report: Report = unheard) -> Frames:
        wire = _form(self.declaration.endpoint, frames, request)
        reply = self._answered(wire)
        made = self._frames(reply, len(frames))
        report(100)
        return made

    def ping(self) -> str:
        if self.declaration.health is None:
            return "unknown"
        until = self.clock.monotonic() + min(10.0, self.declaration.deadline_s)
        answer = self._once(WireRequest("GET", self.declaration.health, {}), until)
        if isinstance(answer, Broken):
            raise self._error(AdapterAwayError, f"cannot be reached: {answer.detail}")
        return "ready" if answer.status == 200 else f"status {answer.status}"

    def _answered(self, wire: WireRequest) -> Reply:
        """The reply to a request, asked for again as long as that may help and there is time."""
        told, until = self.declaration, self.clock.monotonic() + self.declaration.deadline_s
        for tried in range(1, told.tries + 1):
            answer = self._once(wire, until)
            if isinstance(answer, Reply) and not _passes(answer.status):
                return answer
            pause = Retries().pause_s(tried, self.clock.chance(), self._asked(answer))
            left = until - self.clock.monotonic()
            if left <= pause:
                raise self._error(AdapterTimeoutError, f"gave no answer within {told.deadline_s:g} s: {_said(answer)}")
            if tried < told.tries:
                self.clock.sleep(pause)
        raise self._error(AdapterAwayError, f"gave no answer in {told.tries} tries: {_said(answer)}")

    def _asked(self, answer: Reply | Broken) -> float | None:
        return retry_after_s(answer.headers, self.clock.now()) if isinstance(answer, Reply) else None

    def _once(self, wire: WireRequest, until: float) -> Reply | Broken:
        told = self.declaration
        until = min(until, self.clock.monotonic() + (told.attempt_s or told.deadline_s))
        credential = _credential(told.token_variable)
        return exchange(
            wire,
            credential,
            credential.reveal() if credential else None,
            remaining=lambda: until - self.clock.monotonic(),
            limit_bytes=told.max_reply_mb * MEBIBYTE,
            connect=_checked if told.loopback else _elsewhere,
        )

    def _frames(self, reply: Reply, count: int) -> Frames:
        document = self._document(reply)
        most = self.declaration.max_megapixels
        inline = document.get("frames")
        if isinstance(inline, list):
            if len(inline) != count:
                raise AdapterOutputError(f"expected {count} frames, and the service sent {len(inline)}", expected=count)
            return decode_frames([_unpacked(each, n) for n, each in enumerate(inline)], max_megapixels=most)
        said, root = document.get("frames_path"), self.declaration.frames_folder
        if not isinstance(said, str):
            raise AdapterOutputError("expected 'frames' or 'frames_path' in the answer, and neither is there")
        if root is None:
            raise AdapterOutputError(
                "the service names a folder, and its declaration allows none; set frames_folder to the folder that "
                "it writes below"
            )
        return read_frames(folder_below(said, Path(root), Path(root)), count, max_megapixels=most)

    def _document(self, reply: Reply) -> dict[str, Any]:
        """What the service says, if it says yes."""
        said = reply.body[:300].decode("utf-8", "replace")
        if not 200 <= reply.status < 300:
            raise self._error(AdapterRefusedError, f"answered with status {reply.status}: {said}", status=reply.status)
        if not reply.whole:
            raise self._error(
                AdapterOutputError, f"sent more than {self.declaration.max_reply_mb} MiB; raise max_reply_mb"
            )
        try:
            document = json.loads(reply.body)
        except ValueError:
            raise self._error(AdapterOutputError, f"did not answer in JSON: {said}") from None
        if not isinstance(document, dict) or document.get("success") is not True:
            why = document.get("error", said) if isinstance(document, dict) else said
            raise self._error(AdapterRefusedError, f"did not succeed: {str(why)[:300]}")
        return document

    def _error(self, kind: type[AdapterError], what: str, **facts: object) -> AdapterError:
        name = self.declaration.name
        return kind(f"the service of the adapter {name!r} {what}", adapter=name, **facts)


def _passes(status: int) -> bool:
    return status in PASSING or status >= 500


def _said(answer: Reply | Broken) -> str:
    return f"status {answer.status}" if isinstance(answer, Reply) else answer.detail


def _unpacked(text: object, number: int) -> bytes:
    try:
        return base64.b64decode(text if isinstance(text, str) else b"?", validate=True)
    except (binascii.Error, ValueError) as error:
        raise AdapterOutputError(f"frame {number} of the answer is not in base64", frame=number) from error


def _credential(variable: str | None) -> Credential | None:
    if variable is None:
        return None
    if variable not in os.environ:
        raise SettingsError(f"the adapter's token is not there; set the variable {variable}", variable=variable)
    return Credential(SecretStr(os.environ[variable]))


def _form(url: str, frames: Frames, request: FramesRequest) -> WireRequest:
    """The request; its boundary is made of what is sent, so that the same call gives the same bytes."""
    files = [(frame_name(number), png_bytes(frame)) for number, frame in enumerate(frames)]
    digest = sha256(b"".join(sha256(content).digest() for _, content in files)).hexdigest()[:32]
    content_type = f"multipart/form-data; boundary=stillmotion-{digest}"
    parts: list[tuple[str, Any]] = [(name, (None, str(value))) for name, value in request.texts.items()]
    parts += [("input_file", (name, content, "image/png")) for name, content in files]
    made = httpx.Request("POST", "http://body.invalid", headers={"Content-Type": content_type}, files=parts)
    return WireRequest("POST", url, {"Content-Type": content_type}, made.read())


class _Guarded(TimedBackend):
    """Refuses addresses by what names stand for when the connection is made, so that no name gets around it."""

    def __init__(self, remaining: Callable[[], float], *, loopback: bool) -> None:
        super().__init__(remaining)
        self._loopback = loopback

    def _connected(self, family: int, address: Address) -> socket.socket:
        found = ipaddress.ip_address(str(address[0]).partition("%")[0])
        found = getattr(found, "ipv4_mapped", None) or found
        if found.is_loopback and not self._loopback:
            raise SettingsError(
                f"the adapter's address {found} is this machine's own; set loopback to true in its declaration if "
                "that is meant"
            )
        if found.is_link_local or found.is_multicast or found.is_unspecified:
            raise SettingsError(f"the adapter's address {found} is none that a service has")
        return super()._connected(family, address)


def _checked(remaining: Callable[[], float]) -> TimedBackend:
    return _Guarded(remaining, loopback=True)


def _elsewhere(remaining: Callable[[], float]) -> TimedBackend:
    return _Guarded(remaining, loopback=False)
