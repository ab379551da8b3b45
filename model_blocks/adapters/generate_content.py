"""Google's image models in the public ``generateContent`` form of the Gemini API.

Source: https://ai.google.dev/api/generate-content (read 2026): contents and parts, inlineData, generationConfig,
candidates, finishReason, promptFeedback, usageMetadata, responseId.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datasets.errors import SettingsError
from model_blocks.adapters.adapter import check_promises
from model_blocks.adapters.credentials import Credential, Secret
from model_blocks.adapters.declaration import ServiceDeclaration, declare_service, declared
from model_blocks.adapters.look_up_form import LookUpForm
from model_blocks.adapters.outcomes import PaidRequest, Reading, Reply, WireRequest
from model_blocks.adapters.reply_form import decoded_image, image_reading, parse, plain, pointed, unreadable

PUBLIC_ENDPOINT = "https://generativelanguage.googleapis.com"
MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
DELAY = re.compile(r"(\d{1,7})(\.\d{1,9})?s")  # google.protobuf.Duration in JSON
FREE_STATUSES = frozenset({400, 401, 402, 403, 404, 413, 429, 503})  # refused before a token was made
# The public API knows neither idempotency keys nor a look-up: an unknown outcome is held, or resent by policy.
USUAL = {"endpoint": PUBLIC_ENDPOINT, "free_statuses": FREE_STATUSES}
BLOCKING = frozenset(
    {
        "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION",
    }
)  # fmt: skip


@dataclass(frozen=True)
class GenerateContent:
    """The adapter; make it with ``generate_content``.

    Attributes:
        declaration: Facts about the service.
        model: The service's name of the model.
        credential: The header ``x-goog-api-key``.
        key_header: Header of the idempotency key, for gateways that know one.
        look_up_form: For gateways that offer a look-up.
    """

    declaration: ServiceDeclaration
    model: str
    credential: Credential | None
    key_header: str | None = None
    look_up_form: LookUpForm | None = None

    def build(self, request: PaidRequest, idempotency_key: str) -> WireRequest:
        parts: list[dict[str, Any]] = [{"text": request.prompt}]
        images = (request.image, request.image_media_type), (request.mask, request.mask_media_type)
        parts += [_inline(content, kind) for content, kind in images if content is not None]
        document = {
            "contents": [{"role": "user", "parts": parts}],
            "generationConfig": {"responseModalities": ["TEXT", "IMAGE"], **request.parameters},
        }
        headers = {"Content-Type": "application/json"}
        if self.key_header is not None:
            headers[self.key_header] = idempotency_key
        url = f"{self.declaration.endpoint}/v1beta/models/{self.model}:generateContent"
        return WireRequest("POST", url, headers, json.dumps(document).encode())

    def read(self, reply: Reply) -> Reading:
        document = parse(reply.body)
        if document is None:
            return unreadable(reply, "expected a JSON object")
        content, blocked = _last_image(document), _why_blocked(document)
        found: dict[str, Any] = {"reference": _text(document, "/responseId"), "usage": _usage(document)}
        if content is None and blocked is not None:
            return Reading(reply.body, "application/json", fault="blocked", detail=blocked, **found)
        return image_reading(reply, content, max_megapixels=self.declaration.max_megapixels, **found)

    def pause_s(self, reply: Reply) -> float | None:
        """``google.rpc.RetryInfo`` in the details of an error."""
        details = pointed(parse(reply.body), "/error/details")
        for detail in details if isinstance(details, list) else []:
            found = DELAY.fullmatch(str(pointed(detail, "/retryDelay")))
            if found:
                return float(found[0].removesuffix("s"))
        return None


def generate_content(
    facts: Mapping[str, Any],
    *,
    model: str,
    secret: Secret | None,
    key_header: str | None = None,
    look_up: Mapping[str, Any] | None = None,
) -> GenerateContent:
    """The adapter of a Google image model, or of a gateway that speaks its form.

    Args:
        facts: The declaration; endpoint and free statuses are the public API's unless given.
        model: Such as ``gemini-2.5-flash-image``.
        secret: The API key or what yields it.
        key_header: Where a gateway in between takes an idempotency key.
        look_up: Where a gateway in between offers a look-up.

    Raises:
        SettingsError: Something does not hold, or does not go together.
    """
    declaration = declare_service({**USUAL, **facts})
    if not MODEL.fullmatch(model):
        raise SettingsError(f"{model!r} is no name of a model; use letters, digits, '.', '_' and '-'", field="model")
    form = declared(LookUpForm, look_up, what=f"the look-up of {declaration.name!r}") if look_up is not None else None
    check_promises(declaration, form, key_header)
    credential = Credential(secret, "x-goog-api-key", "") if secret is not None else None
    return GenerateContent(declaration, model, credential, key_header, form)


def _inline(content: bytes, kind: str) -> dict[str, Any]:
    return {"inlineData": {"mimeType": kind, "data": base64.b64encode(content).decode()}}


def _last_image(document: dict[str, Any]) -> bytes | None:
    """The last image that is no sketch of the model's thinking."""
    parts = pointed(document, "/candidates/0/content/parts")
    found = None
    for part in parts if isinstance(parts, list) else []:
        if isinstance(part, dict) and not part.get("thought"):
            found = decoded_image(pointed(part, "/inlineData/data")) or found
    return found


def _why_blocked(document: dict[str, Any]) -> str | None:
    if reason := _text(document, "/promptFeedback/blockReason"):
        return f"the prompt was blocked: {reason}"
    reason = _text(document, "/candidates/0/finishReason")
    if reason in BLOCKING:
        said = _text(document, "/candidates/0/finishMessage")
        return f"the image was withheld: {reason}" + (f" ({said})" if said else "")
    return None


def _text(document: Any, pointer: str) -> str | None:
    value = pointed(document, pointer)
    return plain(value) if isinstance(value, str) and value else None


def _usage(document: dict[str, Any]) -> dict[str, int]:
    counts = document.get("usageMetadata")
    found = counts.items() if isinstance(counts, dict) else ()
    return {plain(name): count for name, count in found if isinstance(count, int) and not isinstance(count, bool)}
