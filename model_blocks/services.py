"""Paid services by name: a Prefect Block or a JSON file says what a service is, the vault holds its key."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from prefect.blocks.core import Block
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from datasets.errors import SettingsError
from datasets.known_secrets import told_block
from model_blocks.adapters.adapter import PaidAdapter
from model_blocks.adapters.declaration import NAME, declared
from model_blocks.adapters.generate_content import generate_content
from model_blocks.adapters.generic_http import generic_http

Kind = Literal["generate_content", "generic_http"]
ReadSecret = Callable[[str], SecretStr]  # the name of a credential to its value


class ServiceMissingError(SettingsError):
    """A recipe has a paid stage and no service is set up for it."""

    code = "service_missing"


class ServiceFacts(BaseModel):
    """A paid service as it is written down. No secret stands here, only the name of one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind = Field(description="How it is spoken to: Google's generateContent, or a described HTTP form.")
    credential: str | None = Field(
        default=None,
        pattern=f"^{NAME.pattern}$",  # as the vault has it: a key that was pasted here hardly fits
        description="Name of its key, kept by `stillmotion secrets set`; empty: it needs none.",
    )
    declaration: dict[str, Any] = Field(description="Price, keys, look-up, deadlines; see the service declaration.")
    model: str = Field(default="", description="generateContent: the service's name of the model.")
    key_header: str | None = Field(default=None, description="generateContent: a gateway's header for keys.")
    look_up: dict[str, Any] | None = Field(default=None, description="generateContent: a gateway's look-up.")
    form: dict[str, Any] = Field(default_factory=dict, description="generic_http: how it is spoken to.")


class PaidServiceBlock(Block):
    """A paid image service: what it costs, what it promises, and how it is spoken to."""

    _block_type_name: ClassVar[str] = "Stillmotion paid service"
    _block_type_slug: ClassVar[str] = "stillmotion-paid-service"

    facts: dict[str, Any] = Field(description="The service's facts: kind, credential, declaration, model or form.")


def make_service(facts: Mapping[str, Any], read_secret: ReadSecret) -> PaidAdapter:
    """The adapter of a service.

    Args:
        facts: As ``ServiceFacts`` describes them.
        read_secret: Yields a credential by its name; asked for each try.

    Raises:
        SettingsError: Something does not hold; the message names the field.
    """
    checked = declared(ServiceFacts, facts, what="the paid service")
    name = checked.credential
    secret = (lambda: read_secret(name)) if name else None
    if checked.kind == "generic_http":
        return generic_http(checked.declaration, checked.form, secret)
    return generate_content(
        checked.declaration, model=checked.model, secret=secret, key_header=checked.key_header, look_up=checked.look_up
    )


def find_facts(name: str) -> Mapping[str, Any]:
    """What a Block of that name or a JSON file at that path says of a service, as it stands there.

    Raises:
        ServiceMissingError: No name is given, or nothing is there.
        SettingsError: What is there cannot be read.
    """
    if not name:
        raise ServiceMissingError(
            "this recipe has its product placed by a paid image service, and none is set up: describe one in a JSON "
            "file (README: Scenes that cost money), keep its key with `stillmotion secrets set NAME`, and set "
            "STILLMOTION_PLACE_SERVICE to the file or to a Prefect block of type stillmotion-paid-service; or stay "
            "local: `--recipe packshot`, or a stage compose with the preset 'picture' instead of place"
        )
    return _from_file(Path(name)) if name.endswith(".json") else _from_block(name)


def _from_file(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ServiceMissingError(
            f"the paid service {str(path)!r} is not there; check STILLMOTION_PLACE_SERVICE", path=str(path)
        ) from error
    except (OSError, ValueError) as error:
        raise SettingsError(f"the paid service {str(path)!r} cannot be read as JSON: {error}", path=str(path)) from None
    if not isinstance(found, dict):
        raise SettingsError(f"the paid service {str(path)!r} is no JSON object", path=str(path))
    return found


def _from_block(name: str) -> Mapping[str, Any]:
    try:
        block = PaidServiceBlock.load(name)
    except ValueError:
        raise ServiceMissingError(
            f"there is no saved paid service called {told_block(name)}; save one as a block of type "
            f"{PaidServiceBlock._block_type_slug} in the Prefect UI, or set STILLMOTION_PLACE_SERVICE to a JSON file",
        ) from None
    assert isinstance(block, PaidServiceBlock)
    return block.facts
