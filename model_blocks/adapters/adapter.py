"""What calls and look-ups need of an adapter: how its service is spoken to, and nothing about retries or money."""

from typing import Protocol

from datasets.errors import SettingsError
from model_blocks.adapters.credentials import Credential
from model_blocks.adapters.declaration import ServiceDeclaration
from model_blocks.adapters.look_up_form import LookUpForm
from model_blocks.adapters.outcomes import PaidRequest, Reading, Reply, WireRequest


class PaidAdapter(Protocol):
    """The form of speech of one paid service."""

    @property
    def declaration(self) -> ServiceDeclaration: ...

    @property
    def credential(self) -> Credential | None: ...

    @property
    def look_up_form(self) -> LookUpForm | None: ...

    def build(self, request: PaidRequest, idempotency_key: str) -> WireRequest:
        """The request as it goes out, the same bytes for the same input and key."""

    def read(self, reply: Reply) -> Reading:
        """What a successful reply holds. Raises nothing, whatever came."""

    def pause_s(self, reply: Reply) -> float | None:
        """How long a refusal asks to wait, where the service says so in its body."""


def check_promises(declaration: ServiceDeclaration, form: LookUpForm | None, key_header: str | None) -> None:
    """Refuse a declaration that promises a look-up or keys and nobody described how.

    Raises:
        SettingsError: They do not go together.
    """
    if declaration.can_look_up != (form is not None):
        raise SettingsError(
            f"the declaration of {declaration.name} says can_look_up={declaration.can_look_up}, but its look-up is "
            f"{'described' if form else 'not described'}; give both or neither",
            service=declaration.name,
        )
    if declaration.honours_idempotency_keys and key_header is None:
        raise SettingsError(
            f"{declaration.name} is declared to honour idempotency keys; say in which header (key_header)",
            service=declaration.name,
        )
