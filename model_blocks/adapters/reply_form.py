"""Where in a service's reply the image, the reference and the price stand."""

import base64
import binascii
import json
import math
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from model_blocks.adapters.images import check_image
from model_blocks.adapters.outcomes import Fault, Reading, Reply

LONGEST_TEXT = 200
MICRO_USD = {"micro_usd": 1, "cents": 10_000, "usd": 1_000_000}
DEAREST_MICRO_USD = 10**12  # a million dollars for one request is a mistake


def _pointer(value: str) -> str:
    if value and not value.startswith("/"):
        raise ValueError("a JSON pointer is empty or begins with '/'")
    return value


Pointer = Annotated[str, AfterValidator(_pointer)]


class ReplyForm(BaseModel):
    """Where things are in a reply; pointers follow RFC 6901."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    body: Literal["json", "image"] = Field(default="json", description="Whether the body is JSON or the image itself.")
    image: Pointer | None = Field(default=None, description="Pointer to the image, base64 or a data URI.")
    reference: Pointer | None = Field(default=None, description="Pointer to the service's name for the work.")
    reference_header: str | None = Field(default=None, description="Header with the service's name for the work.")
    price: Pointer | None = Field(default=None, description="Pointer to the price of the request.")
    price_header: str | None = Field(default=None, description="Header with the price of the request.")
    price_unit: Literal["micro_usd", "cents", "usd"] = Field(default="usd", description="What the price counts.")

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if self.body == "image" and (self.image or self.reference or self.price):
            raise ValueError("a body that is the image has no pointers; use reference_header and price_header")
        return self

    def read(self, reply: Reply, *, max_megapixels: float) -> Reading:
        """What a successful reply holds. Raises nothing, whatever came: it is paid."""
        document: dict[str, Any] | None
        if self.body == "image":
            document, content = None, reply.body or None
        else:
            document = parse(reply.body)
            if document is None:
                return unreadable(reply, "expected a JSON object")
            content = decoded_image(pointed(document, self.image))
        found = {
            "reference": self._text(reply, document, self.reference, self.reference_header),
            "charged_micro_usd": price_micro_usd(
                self._text(reply, document, self.price, self.price_header), self.price_unit
            ),
        }
        return image_reading(reply, content, max_megapixels=max_megapixels, **found)

    def _text(self, reply: Reply, document: Any, pointer: str | None, header: str | None) -> str | None:
        value = pointed(document, pointer) if pointer is not None else reply.headers.get((header or "").lower())
        return plain(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else None


def image_reading(reply: Reply, content: bytes | None, *, max_megapixels: float, **found: Any) -> Reading:
    """A reading with the image, or with the fault named and the reply kept as it came."""
    if content is None:
        return Reading(reply.body, media_type(reply), fault="no_image", detail="the reply holds no image", **found)
    kind, fault, detail = check_image(content, max_megapixels=max_megapixels)
    if fault is not None:
        return Reading(reply.body, media_type(reply), fault=fault, detail=plain(detail), **found)
    return Reading(content, kind, **found)


def unreadable(reply: Reply, detail: str, fault: Fault = "reply_unreadable") -> Reading:
    return Reading(reply.body, media_type(reply), fault=fault, detail=plain(detail))


def media_type(reply: Reply) -> str:
    """What the service calls its body, without parameters."""
    return plain(reply.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower())


def plain(value: object) -> str:
    """Text short enough for a ledger, of signs that can be stored."""
    text = str(value)[:LONGEST_TEXT].encode("utf-8", "replace").decode("utf-8")
    return "".join(sign if sign.isprintable() else " " for sign in text)


def parse(body: bytes) -> dict[str, Any] | None:
    """A body as a JSON object; None if it is none."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def pointed(document: Any, pointer: str | None) -> Any:
    """What stands at a JSON pointer; None if nothing does."""
    if pointer is None:
        return None
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, dict):
            document = document.get(name)
        elif isinstance(document, list) and name.isascii() and name.isdigit() and len(name) < 7:
            document = document[int(name)] if int(name) < len(document) else None
        else:
            return None
    return document


def decoded_image(value: Any) -> bytes | None:
    """Bytes from base64 or a data URI; None if there is nothing to decode."""
    if not isinstance(value, str) or not value:
        return None
    if value.startswith("data:"):
        value = value.partition(",")[2]
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None


def price_micro_usd(value: str | None, unit: str) -> int | None:
    """A price that a service names, rounded up to whole micro-USD; None if it is no price."""
    try:
        amount = Decimal(value or "") * MICRO_USD[unit]
    except ArithmeticError:  # no number, or one beyond all bounds
        return None
    if not amount.is_finite() or not 0 <= amount <= DEAREST_MICRO_USD:
        return None
    return math.ceil(amount)
