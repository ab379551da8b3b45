"""What adapters that make frames have in common: what each declares, what it is asked for, what it promises."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from datasets.identity import canonical_json, digest_bytes
from model_blocks.adapters.declaration import NAME

Frames = NDArray[Any]  # uint8 or uint16
Report = Callable[[int], None]  # per cent of one call that are done


def unheard(percent: int) -> None:
    """For callers that show no progress."""


class AdapterDeclaration(BaseModel):
    """What is written down about any adapter. No secret stands here."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kind: str
    name: str = Field(pattern=f"^{NAME.pattern}$", description="Name in records and messages.")
    version: str = Field(min_length=1, max_length=64, description="Raised whenever the same input gives other pixels.")
    price_micro_usd: int = Field(
        default=0, ge=0, strict=True, description="Price of a frame in millionths of a US dollar."
    )
    frames_per_call: int = Field(default=8, ge=1, le=64, description="Most frames of a clip in one call.")
    deadline_s: float = Field(default=300, gt=0, le=86_400, description="Longest call with all its tries, in seconds.")
    max_megapixels: float = Field(default=64, gt=0, le=1000, description="Largest frame taken back, in megapixels.")

    def deciding(self) -> dict[str, object]:
        """The fields, besides name and version, that decide pixels, as plain values without paths."""
        return {}

    @property
    def identity(self) -> dict[str, object]:
        """What of the adapter decides pixels, for a fingerprint."""
        deciding = {"frames_per_call": self.frames_per_call, **self.deciding()}
        return {
            "name": self.name,
            "version": self.version,
            "kind": self.kind,
            "digest": digest_bytes(canonical_json(deciding).encode()),
        }


@dataclass(frozen=True)
class FramesRequest:
    """What is asked for.

    Attributes:
        prompt: In words; may be empty.
        style: Name of a style that the adapter knows; may be empty.
        seed: For what the adapter draws by chance.
        still: Whether the frame is a photograph, not the one frame of a clip.
    """

    prompt: str = ""
    style: str = ""
    seed: int = 0
    still: bool = False

    @property
    def texts(self) -> dict[str, Any]:
        return {"prompt": self.prompt, "style": self.style, "seed": self.seed}


class FramesAdapter(Protocol):
    """A process or service that makes frames of frames."""

    @property
    def declaration(self) -> AdapterDeclaration: ...

    def restyle(self, frames: Frames, request: FramesRequest, report: Report = unheard) -> Frames:
        """Other frames of the same number.

        Args:
            frames: (T, H, W, 3), uint8 or uint16, sRGB; not more than ``frames_per_call``.
            request: What is asked for.
            report: Told how far the call is, where the adapter says so.

        Returns:
            (T, H', W', 3), uint8 or uint16; size and depth are the adapter's choice, the same for all frames of a call.

        Raises:
            AdapterError: One of its leaves; nothing of what the call began is left behind.
        """
        ...

    def ping(self) -> str:
        """How things stand with the adapter, in a word: ``ready``, or what keeps it.

        Raises:
            AdapterError: It is not there.
        """
        ...
