"""XMem behind the propagator's contract: one object, frames of any size, the authors' file."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets.errors import FrameShapeError
from model_blocks.nets.xmem import XMemNet
from model_blocks.official import filled, read_state
from model_blocks.registry import Precision, find_model
from model_blocks.xmem.settings import MemorySettings
from model_blocks.xmem.state import XMemState
from model_blocks.xmem.tracker import XMemTracker

WORKING_SIDE = 480  # pixels of the shorter side, the authors' choice
OBJECT = 0.5  # of a mask; above it is the object


class XMemPropagator:
    """Follows one object through a shot, on copies whose shorter side is at most ``working_side``.

    Args:
        tracker: What follows it.
        working_side: Pixels; None: every frame at its own size. Smaller frames are never enlarged.
    """

    def __init__(self, tracker: XMemTracker, working_side: int | None = WORKING_SIDE) -> None:
        self.tracker = tracker
        self.working_side = working_side

    @torch.inference_mode()
    def begin(self, image: Tensor, mask: Tensor, *, frames: int = 0) -> XMemState:
        """Remembers the object of a shot's first frame.

        Args:
            image: (3, H, W), RGB, 0..1.
            mask: (1, H, W), 0..1; above 0.5 is the object.
            frames: Not used; this model does not go by how long a shot is.

        Raises:
            FrameShapeError: The two do not belong together.
        """
        if image.ndim != 3 or image.shape[0] != 3 or mask.shape != (1, *image.shape[1:]):
            raise FrameShapeError(
                f"expected an image (3, H, W) and its mask (1, H, W), got {tuple(image.shape)} and {tuple(mask.shape)}",
                image=list(image.shape),
                mask=list(mask.shape),
            )
        picture = self._working_copy(image)
        whole = (mask > OBJECT).float()
        small = whole if picture.shape[1:] == whole.shape[1:] else F.interpolate(whole[None], picture.shape[1:])[0]
        _, state = self.tracker.step(None, picture, {0: small[0]})
        return replace(state, size=(image.shape[1], image.shape[2]))

    @torch.inference_mode()
    def step(self, state: XMemState, image: Tensor) -> tuple[Tensor, XMemState]:
        """The mask (1, H, W), float32, 0..1, of the next frame (3, H, W), and what is known after it.

        Raises:
            FrameShapeError: The frame's size is not that of the first one.
        """
        if image.shape != (3, *state.size):
            raise FrameShapeError(
                f"expected a frame of the shot's size (3, {state.size[0]}, {state.size[1]}), got {tuple(image.shape)}",
                image=list(image.shape),
                size=list(state.size),
            )
        found, after = self.tracker.step(state, self._working_copy(image))
        mask = found[1:2]
        if mask.shape[1:] != image.shape[1:]:
            mask = F.interpolate(mask[None], image.shape[1:], mode="bilinear", align_corners=False)[0]
        return mask.to(image.device), after

    def restore(self, arrays: Mapping[str, Any]) -> XMemState:
        """The state that ``XMemState.to_arrays`` was asked of."""
        return XMemState.from_arrays(arrays, self.tracker.device)

    def _working_copy(self, image: Tensor) -> Tensor:
        height, width = image.shape[1:]
        if self.working_side is None or min(height, width) <= self.working_side:
            return image
        ratio = self.working_side / min(height, width)
        size = (round(height * ratio), round(width * ratio))
        pixels = image.to(self.tracker.device, torch.float32)[None]
        return F.interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=True)[0]


def open_xmem(
    name: str,
    path: str | Path,
    *,
    sha256: str | None = None,
    device: str = "cpu",
    precision: Precision = "float32",
    settings: MemorySettings | None = None,
    working_side: int | None = WORKING_SIDE,
) -> XMemPropagator:
    """XMem from the file of its authors.

    Args:
        name: As in the registry.
        path: The authors' file.
        sha256: What its bytes must hash to; None: whatever they do.
        device: Where it runs.
        precision: What the network computes in.
        settings: How memory is kept; None: as its authors do.
        working_side: Shorter side in pixels at which frames are seen; None: their own.

    Raises:
        ModelUnknownError: Nothing of that name is registered.
        WeightsKeysError: The file holds something else.
    """
    with torch.device("meta"):  # nothing is drawn at random only to be overwritten
        empty = XMemNet()
    network = filled(empty.to_empty(device="cpu"), read_state(find_model(name), path, sha256))
    tracker = XMemTracker(network, settings or MemorySettings(), device=device, precision=precision)
    return XMemPropagator(tracker, working_side)
