"""Prefect Blocks: a choice of models, kept on the server under a name and edited in its UI."""

from typing import ClassVar

from prefect.blocks.core import Block
from pydantic import Field

from datasets.errors import ModelUnknownError
from model_blocks.registry import Purpose


class ModelSelection(Block):
    """Which model does what. ``auto`` takes the best one that is present and whose licence allows the purpose."""

    _block_type_name: ClassVar[str] = "Stillmotion models"
    _block_type_slug: ClassVar[str] = "stillmotion-models"

    segment: str = Field(default="auto", description="Finds the product: auto, official, embedded, or a model's name.")
    matte: str = Field(default="auto", description="Makes its edge soft: auto, official, embedded, or a model's name.")
    upscale: str = Field(default="auto", description="Enlarges: auto, official, embedded, or a model's name.")
    purpose: Purpose = Field(default="commercial", description="What the run is for; licences are checked against it.")

    def selection(self) -> dict[str, str]:
        """The choice as plain values, a name or policy per capability."""
        return {"segment": self.segment, "matte": self.matte, "upscale": self.upscale}


def load_selection(name: str) -> dict[str, str]:
    """The saved choice of that name.

    Raises:
        ModelUnknownError: The Prefect server has no such block.
    """
    try:
        block = ModelSelection.load(name)
    except ValueError as error:
        raise ModelUnknownError(
            f"there is no saved choice of models called {name!r}; save one as a block of type "
            f"{ModelSelection._block_type_slug} in the Prefect UI",
            name=name,
        ) from error
    assert isinstance(block, ModelSelection)
    return block.selection()
