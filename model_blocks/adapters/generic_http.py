"""A paid image service that is described by settings alone."""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any, Literal, Self

import httpx
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from model_blocks.adapters.adapter import check_promises
from model_blocks.adapters.credentials import Credential, Secret
from model_blocks.adapters.declaration import ServiceDeclaration, declare_service, declared
from model_blocks.adapters.look_up_form import LookUpForm
from model_blocks.adapters.outcomes import PaidRequest, Reading, Reply, WireRequest
from model_blocks.adapters.reply_form import ReplyForm

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
OURS = {"host", "content-length", "content-type", "connection", "transfer-encoding", "accept-encoding"}


def _header(value: str) -> str:
    if not TOKEN.fullmatch(value) or value.lower() in OURS:
        raise ValueError("not the name of a header that may be set")
    return value


def _path(value: str) -> str:
    if not value.startswith("/") or not value.isascii() or any(sign in value for sign in "?#\\ \r\n"):
        raise ValueError("a path begins with '/' and holds no query, fragment or space")
    return value


Header = Annotated[str, AfterValidator(_header)]


class FieldNames(BaseModel):
    """How the service calls what is sent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str = Field(default="prompt", min_length=1, description="Field of the prompt.")
    image: str = Field(default="image", min_length=1, description="Field of the image.")
    mask: str = Field(default="mask", min_length=1, description="Field of the mask.")
    parameters: str | None = Field(default=None, description="Field of the parameters; empty: each is a field itself.")


class GenericForm(BaseModel):
    """How a service is spoken to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["POST", "PUT"] = Field(default="POST", description="HTTP method.")
    path: Annotated[str, AfterValidator(_path)] = Field(description="Path below the endpoint.")
    body: Literal["json", "multipart"] = Field(default="json", description="How the request is written.")
    image_encoding: Literal["base64", "data_uri"] = Field(default="base64", description="Of images in JSON.")
    fields: FieldNames = Field(default_factory=FieldNames, description="Names of the fields.")
    constants: Mapping[str, Any] = Field(default_factory=dict, description="Fields sent with every request.")
    auth_header: Header = Field(default="Authorization", description="Header of the key.")
    auth_prefix: str = Field(default="Bearer ", description="What stands before the key.")
    key_header: Header | None = Field(default=None, description="Header of the idempotency key.")
    reply: ReplyForm = Field(default_factory=ReplyForm, description="Where things are in the reply.")
    look_up: LookUpForm | None = Field(default=None, description="How the service is asked about a key.")

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if self.reply.body == "json" and self.reply.image is None:
            raise ValueError("reply.image must say where in the JSON the image is")
        if not self.auth_prefix.isascii() or not self.auth_prefix.replace(" ", "x").isprintable():
            raise ValueError("auth_prefix holds signs that no header may hold")
        return self


@dataclass(frozen=True)
class GenericHttp:
    """The adapter of a described service; make it with ``generic_http``."""

    declaration: ServiceDeclaration
    form: GenericForm
    credential: Credential | None

    @property
    def look_up_form(self) -> LookUpForm | None:
        return self.form.look_up

    def build(self, request: PaidRequest, idempotency_key: str) -> WireRequest:
        headers, body = self._json(request) if self.form.body == "json" else self._multipart(request, idempotency_key)
        if self.form.key_header is not None:
            headers[self.form.key_header] = idempotency_key
        return WireRequest(self.form.method, self.declaration.endpoint + self.form.path, headers, body)

    def read(self, reply: Reply) -> Reading:
        return self.form.reply.read(reply, max_megapixels=self.declaration.max_megapixels)

    def pause_s(self, reply: Reply) -> float | None:
        return None

    def _texts(self, request: PaidRequest) -> dict[str, Any]:
        names = self.form.fields
        extra = dict(request.parameters)
        parameters = extra if names.parameters is None else {names.parameters: extra}
        return {**self.form.constants, **(parameters if extra else {}), names.prompt: request.prompt}

    def _images(self, request: PaidRequest) -> list[tuple[str, bytes, str]]:
        names = self.form.fields
        found = (
            (names.image, request.image, request.image_media_type),
            (names.mask, request.mask, request.mask_media_type),
        )
        return [(name, content, kind) for name, content, kind in found if content is not None]

    def _json(self, request: PaidRequest) -> tuple[dict[str, str], bytes]:
        document = self._texts(request)
        for name, content, kind in self._images(request):
            text = base64.b64encode(content).decode()
            document[name] = f"data:{kind};base64,{text}" if self.form.image_encoding == "data_uri" else text
        return {"Content-Type": "application/json"}, json.dumps(document).encode()

    def _multipart(self, request: PaidRequest, key: str) -> tuple[dict[str, str], bytes]:
        """The boundary comes from the key: services compare what is sent again under a key."""
        content_type = f"multipart/form-data; boundary=stillmotion-{sha256(key.encode()).hexdigest()[:32]}"
        texts = {name: _form_text(value) for name, value in self._texts(request).items()}
        files = {
            name: (f"{name}.{kind.partition('/')[2]}", content, kind) for name, content, kind in self._images(request)
        }
        # Without a file httpx would write a form of another kind, so every text is a part with no file name.
        parts = [*((name, (None, text)) for name, text in texts.items()), *files.items()]
        made = httpx.Request("POST", "http://body.invalid", headers={"Content-Type": content_type}, files=parts)  # type: ignore[arg-type]
        return {"Content-Type": content_type}, made.read()


def generic_http(facts: Mapping[str, Any], form: Mapping[str, Any], secret: Secret | None) -> GenericHttp:
    """The adapter of a service from settings.

    Args:
        facts: Its declaration.
        form: How it is spoken to.
        secret: Its key or what yields it; None for services that need none.

    Raises:
        SettingsError: Something does not hold, or does not go together.
    """
    declaration = declare_service(facts)
    checked = declared(GenericForm, form, what=f"the form of the paid service {declaration.name!r}")
    check_promises(declaration, checked.look_up, checked.key_header)
    credential = Credential(secret, checked.auth_header, checked.auth_prefix) if secret is not None else None
    return GenericHttp(declaration, checked, credential)


def _form_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
