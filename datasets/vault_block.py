"""The Prefect Block that carries a sealed credential. It can be seen in the UI and tells nothing there."""

from typing import Any, ClassVar

from prefect.blocks.core import Block
from pydantic import Field


class StillmotionSecret(Block):
    """One version of one credential, sealed. Made and read by the vault; a change by hand makes it unreadable."""

    _block_type_name: ClassVar[str] = "Stillmotion secret"
    _block_type_slug: ClassVar[str] = "stillmotion-secret"

    tenant: str = Field(description="Whose it is.")
    secret_name: str = Field(description="What it is called.")
    label: dict[str, Any] = Field(description="When it was made and ends; sealed with it against changes.")
    nonce: str = Field(description="Number used once, base64 of 12 bytes.")
    ciphertext: str = Field(description="AES-256-GCM ciphertext and tag, base64; empty once the version is retired.")
