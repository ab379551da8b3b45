"""How a paid placement stands in a recipe."""

from typing import Any, Literal

from pydantic import Field

from datasets.identity import fingerprint
from tasks.config import StageConfig
from tasks.ops.compose import ComposeConfig


class PlaceConfig(StageConfig):
    """Have the product set into a scene by the paid service of the installation."""

    stage: Literal["place"] = "place"
    prompt: str = Field(
        default="Place this product in a bright, tidy studio scene with soft daylight. Keep the product exactly as it "
        "is: its shape, colours, texts, size and position.",
        min_length=1,
        max_length=4000,
        description="What the scene is like, in words.",
    )
    width: int = Field(default=1024, ge=64, le=4096, description="Width of the canvas that is sent, px.")
    height: int = Field(default=1024, ge=64, le=4096, description="Height of the canvas that is sent, px.")
    fill: float = Field(
        default=0.6, ge=0.1, le=1, description="Share of the canvas that the product's longer side takes."
    )
    align: Literal["centre", "bottom"] = Field(default="centre", description="Vertical place of the product.")
    backdrop: str = Field(
        default="transparent",
        pattern=r"^(transparent|#[0-9a-fA-F]{6})$",
        description="What is behind the product on the canvas that is sent: transparent, or a colour as #rrggbb.",
    )
    options: dict[str, Any] = Field(default_factory=dict, description="Handed to the service as they are.")
    variation: int = Field(default=0, ge=0, description="Another number buys another picture of the same.")

    @property
    def canvas(self) -> ComposeConfig:
        """The same as a configuration for composing."""
        behind: dict[str, Any] = (
            {"preset": "transparent"}
            if self.backdrop == "transparent"
            else {"preset": "colour", "colour": self.backdrop}
        )
        return ComposeConfig(width=self.width, height=self.height, fill=self.fill, align=self.align, **behind)

    @property
    def bought(self) -> dict[str, object]:
        """What decides about the purchase, besides the picture."""
        return {"prompt": self.prompt, "options": self.options, "variation": self.variation}

    def wish(self, service: str, version: str) -> str:
        """Digest of what is asked for, whatever the picture."""
        return fingerprint({"service": service, "version": version, **self.parameters()})
