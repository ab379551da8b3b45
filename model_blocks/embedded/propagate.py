"""Follows an object through a shot without weights: from the first frame's mask to a mask for every frame.

Three witnesses are heard: the mask of the frame before, carried along by dense motion where going there and back
agrees; the object as the first frame showed it, laid where it is now, which does not drift; and the colours of the
object and of its surroundings. A guided filter brings the result to the picture's edges.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datasets.errors import FrameShapeError
from model_blocks.embedded.following import Followed, follow
from model_blocks.embedded.neighbourhood import guided_filter
from model_blocks.embedded.propagation_state import PropagationState
from model_blocks.embedded.segment import shrink

UInt8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]

FLAT = 1e-4  # variance of the guide below which the filter sees no edge
SMOOTHING = 3  # pixels of the working size
SHARPENING = 1.6  # the filter softens edges by about this factor


class EmbeddedPropagator:
    """Mask propagation by classical vision. The same bytes for the same frames, in any process.

    Works on a copy whose longer side is at most ``working_side``; masks have the size of the pictures.
    """

    working_side = 480

    def begin(self, image: Tensor, mask: Tensor, *, frames: int = 0) -> PropagationState:
        """Remembers the object of a shot's first frame.

        Args:
            image: (3, H, W), RGB, 0..1.
            mask: (1, H, W), 0..1.
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
        pixels = _working_pixels(image, self.working_side)
        cover = shrink(np.ascontiguousarray(mask[0].float().clamp(0, 1).cpu().numpy()), self.working_side)
        return PropagationState.beginning((image.shape[1], image.shape[2]), pixels, cover)

    def restore(self, arrays: Mapping[str, Any]) -> PropagationState:
        """The state that ``PropagationState.to_arrays`` was asked of."""
        return PropagationState.from_arrays(arrays)

    def step(self, state: PropagationState, image: Tensor) -> tuple[Tensor, PropagationState]:
        """The mask (1, H, W), 0..1, of the next frame (3, H, W), and what is remembered for the one after it.

        Raises:
            FrameShapeError: The frame's size is not that of the first one.
        """
        if image.shape != (3, *state.size):
            raise FrameShapeError(
                f"expected a frame of the shot's size (3, {state.size[0]}, {state.size[1]}), got {tuple(image.shape)}",
                image=list(image.shape),
                size=list(state.size),
            )
        pixels = _working_pixels(image, self.working_side)
        followed = follow(state, pixels)
        mask = _refined(pixels, followed.mask)
        return _enlarged(image, mask).to(image.device), _remembered(state, followed, pixels, mask)


def _working_pixels(image: Tensor, side: int) -> UInt8:
    pixels = np.ascontiguousarray(image.float().clamp(0, 1).cpu().permute(1, 2, 0).numpy())
    return np.rint(shrink(pixels, side) * 255).astype(np.uint8)


def _refined(pixels: UInt8, mask: Float32) -> Float32:
    guide = torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None]
    values = torch.from_numpy(mask)[None, None]
    smooth = guided_filter(guide, values, torch.ones_like(values), radius=SMOOTHING, smoothness=FLAT)
    return np.asarray(((smooth[0, 0] - 0.5) * SHARPENING + 0.5).clamp(0, 1).numpy(), dtype=np.float32)


def _enlarged(image: Tensor, mask: Float32) -> Tensor:
    """The mask at the picture's own size, with its edges where the picture has them."""
    values = torch.from_numpy(mask)[None, None]
    if values.shape[2:] == image.shape[1:]:
        return values[0]
    large = torch.nn.functional.interpolate(values, size=image.shape[1:], mode="bilinear")
    radius = max(1, round(max(image.shape[1:]) / max(mask.shape)))
    guide = image.float().clamp(0, 1).cpu()[None]
    smooth = guided_filter(guide, large, torch.ones_like(large), radius=radius, smoothness=FLAT)
    return ((smooth[0] - 0.5) * SHARPENING + 0.5).clamp(0, 1)


def _remembered(state: PropagationState, followed: Followed, pixels: UInt8, mask: Float32) -> PropagationState:
    later = state.after(
        image=pixels,
        mask=mask,
        pose=followed.pose,
        recent_pose=followed.recent_pose,
        motion=followed.motion,
        gain=followed.gain,
        lost=followed.lost,
    )
    return later.looking(pixels, mask) if followed.whole else later
