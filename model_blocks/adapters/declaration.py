"""What a paid service promises: prices, keys, look-up, deadlines. Everything that decides about money stands here."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from datasets.errors import SettingsError

KEY_MARGIN = 0.9  # share of the key window in which a key is sent again: it must arrive before the service forgets it
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
Model = TypeVar("Model", bound=BaseModel)


def _web_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("use an address that begins with http:// or https:// and names a host")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError("leave credentials, query and fragment out of the address")
    if parts.port == 0 or not value.isascii() or any(sign.isspace() for sign in value):
        raise ValueError("use an address of plain ASCII signs, and no port 0")
    return value.rstrip("/")


Endpoint = Annotated[str, AfterValidator(_web_address)]


class ServiceDeclaration(BaseModel):
    """The facts about a service that calls, ledger and budget go by. A promise that does not hold costs money."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: str = Field(pattern=f"^{NAME.pattern}$", description="Name in ledger, breaker and messages.")
    version: str = Field(
        min_length=1, max_length=64, description="Of adapter and model together; part of what is bought."
    )
    endpoint: Endpoint = Field(description="Address that paths are added to; http or https.")
    unit: str = Field(default="image", min_length=1, description="What is counted and paid.")
    price_micro_usd: int = Field(ge=0, strict=True, description="Price of one unit in millionths of a US dollar.")
    price_list: str = Field(min_length=1, description="Which price list that is from, as a date or version.")
    honours_idempotency_keys: bool = Field(
        default=False, description="Whether a second request with the same key is answered and not charged again."
    )
    key_window_s: float = Field(default=0, ge=0, description="How long the service remembers a key, in seconds.")
    replays_errors: bool = Field(
        default=False, description="Whether a remembered key repeats an error too, so that only a new key helps."
    )
    can_look_up: bool = Field(default=False, description="Whether the service tells by key what became of a request.")
    settle_time_s: float = Field(
        default=0,
        ge=0,
        description="How long after a request was over a look-up may still say that there is none, in seconds.",
    )
    deadline_s: float = Field(default=120, gt=0, le=3600, description="Longest call with all its tries, in seconds.")
    attempt_s: float | None = Field(
        default=None, gt=0, description="Longest single try, in seconds; empty: the call's."
    )
    free_statuses: frozenset[int] = Field(
        default=frozenset(),
        description="HTTP statuses with which the service charges nothing, such as 400, 429 or 503.",
    )
    refusals_are_free: bool = Field(
        default=False, description="Whether an answer that a content filter blocked costs nothing."
    )
    max_reply_mb: int = Field(default=64, ge=1, le=1024, description="Largest reply that is read, in MiB.")
    max_megapixels: float = Field(default=120.0, gt=0, description="Largest image taken, in millions of pixels.")

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if self.honours_idempotency_keys and self.key_window_s <= 0:
            raise ValueError("a service that honours keys needs key_window_s, how long it remembers them")
        if not all(300 <= status <= 599 for status in self.free_statuses):
            raise ValueError("free_statuses holds statuses from 300 to 599; a success is never free")
        if self.attempt_s is not None and self.attempt_s > self.deadline_s:
            raise ValueError("attempt_s must not be longer than deadline_s")
        return self

    def price_of(self, units: int) -> int:
        """The price in micro-USD."""
        return units * self.price_micro_usd

    def key_holds(self, age_s: float) -> bool:
        """Whether a request whose key was first sent that long ago may be sent again and be charged once."""
        return self.honours_idempotency_keys and age_s < KEY_MARGIN * self.key_window_s


def declared(model: type[Model], facts: Mapping[str, Any], *, what: str) -> Model:
    """Settings as a model.

    Raises:
        SettingsError: They do not hold; the message names the field and never shows what it held.
    """
    try:
        return model.model_validate(dict(facts))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        problem = first["msg"].removeprefix("Value error, ")
        raise SettingsError(
            f"the declaration of {what} does not hold: {field or 'as a whole'}: {problem}", field=field
        ) from None


def declare_service(facts: Mapping[str, Any]) -> ServiceDeclaration:
    """A service's declaration from settings.

    Raises:
        SettingsError: It does not hold.
    """
    name = facts.get("name")
    named = f" {name!r}" if isinstance(name, str) and NAME.fullmatch(name) else ""  # what is no name may be a secret
    return declared(ServiceDeclaration, facts, what=f"the paid service{named}")
