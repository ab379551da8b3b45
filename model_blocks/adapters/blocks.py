"""A Prefect Block that declares an adapter: kept on the server under a name and edited in its UI."""

from typing import Any, ClassVar

from prefect.blocks.core import Block
from pydantic import Field


class FramesAdapterBlock(Block):
    """A process or service that restyles frames. No secret stands here."""

    _block_type_name: ClassVar[str] = "Stillmotion adapter"
    _block_type_slug: ClassVar[str] = "stillmotion-adapter"

    facts: dict[str, Any] = Field(description="The declaration: kind (subprocess, http, sagemaker), name, version, ...")
