"""What mask propagation remembers between two frames of a shot."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_blocks.embedded.appearance import colour_shares
from model_blocks.embedded.pose import STILL

UInt8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]
Float = NDArray[np.float64]

RENEWAL = 5  # frames after which the object is remembered anew
LEARNING = 0.03  # share of a frame in the remembered colours
SURE = 0.9  # a mask beyond this, or below one minus this, is learnt from
ENOUGH = 20  # pixels; fewer teach nothing


@dataclass(frozen=True)
class PropagationState:
    """Sizes are those of the working copy but for ``size``, which is the clip's (H, W).

    Attributes:
        size: (H, W) of the frames.
        reference: (h, w, 3), sRGB, 0..255, the first frame.
        reference_mask: (h, w), 0..1, its mask.
        image: (h, w, 3), the last frame.
        mask: (h, w), 0..1, its mask.
        pose: (2, 3), from the reference's pixels to the last frame's.
        motion: (2, 3), from the frame before the last to the last.
        gain: (3,), the object's brightness in the last frame over that in the reference.
        object_colours: Share of each colour in the object.
        ground_colours: Share of each colour in its surroundings.
        recent: (h, w, 3), the frame in which the object was last remembered as it looked then.
        recent_mask: (h, w), 0..1, its mask.
        recent_pose: (2, 3), from that frame's pixels to the last frame's.
        age: Frames since then.
        lost: For how many frames the object was out of sight.
    """

    size: tuple[int, int]
    reference: UInt8
    reference_mask: Float32
    image: UInt8
    mask: Float32
    pose: Float
    motion: Float
    gain: Float
    object_colours: Float32
    ground_colours: Float32
    recent: UInt8
    recent_mask: Float32
    recent_pose: Float
    age: int
    lost: int

    @classmethod
    def beginning(cls, size: tuple[int, int], image: UInt8, mask: Float32) -> "PropagationState":
        """What there is to remember of a first frame (h, w, 3) and its mask (h, w)."""
        return cls(
            size=size,
            reference=image,
            reference_mask=mask,
            image=image,
            mask=mask,
            pose=STILL,
            motion=STILL,
            gain=np.ones(3),
            object_colours=colour_shares(image, mask),
            ground_colours=colour_shares(image, 1 - mask),
            recent=image,
            recent_mask=mask,
            recent_pose=STILL,
            age=0,
            lost=0,
        )

    def recently(self) -> "PropagationState":
        """The same with the object's late look in the place of its first one."""
        return replace(
            self,
            reference=self.recent,
            reference_mask=self.recent_mask,
            pose=self.recent_pose,
            gain=np.ones(3),
        )

    def looking(self, image: UInt8, mask: Float32) -> "PropagationState":
        """The same, the object remembered as it looks in the last frame, where that is long enough ago."""
        if self.age < RENEWAL:
            return self
        return replace(self, recent=image, recent_mask=mask, recent_pose=STILL, age=0)

    def after(
        self, *, image: UInt8, mask: Float32, pose: Float, recent_pose: Float, motion: Float, gain: Float, lost: int
    ) -> "PropagationState":
        """The next state: what was seen replaces what was, the colours are learnt slowly."""
        return replace(
            self,
            image=image,
            mask=mask,
            pose=pose,
            recent_pose=recent_pose,
            age=self.age + 1,
            motion=motion,
            gain=gain,
            lost=lost,
            object_colours=_learnt(self.object_colours, image, mask > SURE),
            ground_colours=_learnt(self.ground_colours, image, mask < 1 - SURE),
        )

    def to_arrays(self) -> dict[str, Any]:
        """Everything as numpy arrays and plain numbers, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**values, "size": np.array(self.size, dtype=np.int64)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> "PropagationState":
        """The state that ``to_arrays`` was asked of, to the last bit."""
        height, width = (int(side) for side in arrays["size"])
        values: dict[str, Any] = {field.name: np.asarray(arrays[field.name]) for field in fields(cls)}
        return cls(**{**values, "size": (height, width), "lost": int(arrays["lost"]), "age": int(arrays["age"])})


def _learnt(known: Float32, image: UInt8, where: NDArray[np.bool_]) -> Float32:
    if np.count_nonzero(where) < ENOUGH:
        return known
    seen = colour_shares(image, where.astype(np.float32))
    return np.asarray(known + np.float32(LEARNING) * (seen - known), dtype=np.float32)
