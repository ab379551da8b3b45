"""What is remembered of an object in a shot: its first frame, the last six, and sixteen pointers; never more."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model_blocks.sam2.configs import CHANNELS, GRID, MEMORY_CHANNELS

RECENT = 6  # frames before the current one whose features are kept, beside the first
POINTERS = 16  # frames whose pointers are kept, the first included


@dataclass(frozen=True)
class Remembered:
    """What is kept of one frame.

    Attributes:
        features: (64, 64, 64), bfloat16, as the authors keep them.
        pointer: (256,), float32.
    """

    features: Tensor
    pointer: Tensor


@dataclass(frozen=True)
class Sam2State:
    """What is remembered after a frame, on the model's device.

    Attributes:
        size: (H, W) of the frames.
        index: The frame's number in the shot; the first is 0.
        frames: Frames of the shot, or 0 where that is not known.
        first: Of the frame with the prompt.
        features: Of the last six frames, the latest last, without the first one.
        pointers: Of the last fifteen frames, the latest last, without the first one.
    """

    size: tuple[int, int]
    index: int
    frames: int
    first: Remembered
    features: tuple[Tensor, ...] = ()
    pointers: tuple[Tensor, ...] = ()

    @property
    def pointer_reach(self) -> int:
        """How many frames' pointers may be looked at; in a shorter shot as many as it has frames."""
        return min(self.frames or POINTERS, POINTERS)

    def after(self, seen: Remembered) -> "Sam2State":
        """The state after the next frame; what is too old is let go of."""
        return replace(
            self,
            index=self.index + 1,
            features=(*self.features, seen.features)[-RECENT:],
            pointers=(*self.pointers, seen.pointer)[-(POINTERS - 1) :],
        )

    def to_arrays(self) -> dict[str, Any]:
        """Everything as numpy arrays, by name; bfloat16 as its bits."""
        return {
            "size": np.array(self.size, dtype=np.int64),
            "index": np.array(self.index, dtype=np.int64),
            "frames": np.array(self.frames, dtype=np.int64),
            "features": _stacked((self.first.features, *self.features)).view(torch.int16).numpy(),
            "pointers": _stacked((self.first.pointer, *self.pointers)).numpy(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], device: str) -> "Sam2State":
        """The state that ``to_arrays`` was asked of, to the last bit."""
        height, width = (int(side) for side in arrays["size"])
        features = torch.tensor(np.asarray(arrays["features"])).view(torch.bfloat16)
        first, *recent = features.view(-1, MEMORY_CHANNELS, GRID, GRID).to(device).unbind()
        pointer, *pointers = torch.tensor(np.asarray(arrays["pointers"])).view(-1, CHANNELS).to(device).unbind()
        return cls(
            size=(height, width),
            index=int(arrays["index"]),
            frames=int(arrays["frames"]),
            first=Remembered(first, pointer),
            features=tuple(recent),
            pointers=tuple(pointers),
        )


def _stacked(tensors: tuple[Tensor, ...]) -> Tensor:
    return torch.stack(tensors).cpu()
