"""What a run of the video flow is asked to do."""

from typing import Any, ClassVar

from pydantic import Field

from flows.clip_recipes import ClipRecipeName
from flows.order import Order


class VideoOrder(Order):
    """Clips, a recipe, and where the results go."""

    flow: ClassVar[str] = "video"
    clips: tuple[str, ...] = Field(min_length=1, description="Paths of the clips.")
    recipe: ClipRecipeName | str | tuple[dict[str, Any], ...] = Field(
        default=ClipRecipeName.UPSCALE,
        description="A recipe's name, the path of a .json file with a list of stages, or such a list.",
    )

    mask: str | None = Field(
        default=None, description="Path of a PNG for the first frame: white is the object to cut out or to remove."
    )

    @property
    def sources(self) -> tuple[str, ...]:
        return self.clips
