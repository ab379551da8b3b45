"""Removes what a mask covers from a clip: its background from the frames that saw it, else from its surroundings."""

from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datasets.errors import FrameShapeError
from model_blocks.embedded.background_motion import common_motion, refined_places
from model_blocks.embedded.patches import fill_with_patches
from model_blocks.embedded.smooth_fill import fill_smoothly
from model_blocks.embedded.tracking_flow import inside, sample

UInt8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]
Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

EDGE = 4  # pixels around the mask that are made anew with it and blended: soft edges and what they leave behind
SOLID = 1  # of these pixels, those that are replaced wholly
AROUND = 48  # pixels around a hole in which the background's motion is looked at
DISTANCES = (1, 2, 3, 4, 6, 8, 10, 12)  # frames: far ones see what is long covered, and differ little among themselves
ENOUGH = 3  # frames that saw a pixel; more would only blur it
NEARER = 0.35  # log weight that a frame loses for each frame of distance
ALIKE = 4.0  # of 255: how far off, around the hole, a frame may be before it loses weight
UNLIKE = 40.0  # of 255: a frame that is farther off is not used
DRIFT = 60.0  # of 255: largest correction of brightness and colour


class EmbeddedInpainter:
    """Video inpainting by classical vision. The same bytes for the same frames, in any process and any chunks."""

    reach = DISTANCES[-1]

    def inpaint(self, images: Tensor, masks: Tensor, wanted: slice) -> Tensor:
        """The frames ``images[wanted]`` with what the masks cover replaced; pixels farther off than ``EDGE`` stay.

        Args:
            images: (T, 3, H, W), RGB, 0..1.
            masks: (T, 1, H, W), 0..1; above 0.5 is removed, a soft edge is blended.
            wanted: Of the T frames. For each of them, those within ``reach`` that exist must be given.

        Raises:
            FrameShapeError: Images and masks do not belong together.
        """
        count, channels, height, width = images.shape
        if channels != 3 or masks.shape != (count, 1, height, width):
            raise FrameShapeError(
                f"expected images (T, 3, H, W) and masks (T, 1, H, W), got {tuple(images.shape)} and "
                f"{tuple(masks.shape)}",
                images=list(images.shape),
                masks=list(masks.shape),
            )
        window = _Window(images, masks)
        made = [window.made(index) for index in range(*wanted.indices(count))]
        return torch.stack(made) if made else images[wanted].clone()


@dataclass
class _Seen:
    """What other frames show of a piece: weighted colours, weights, and how many saw each pixel."""

    colours: Float32
    weight: Float32
    count: NDArray[np.int32]


@dataclass
class _Window:
    """Frames and masks with what was found out about them."""

    images: Tensor
    masks: Tensor
    pixels: dict[int, UInt8] = field(default_factory=dict)
    holes: dict[int, Bool] = field(default_factory=dict)
    motions: dict[int, Float] = field(default_factory=dict)

    def made(self, index: int) -> Tensor:
        """A frame (3, H, W) without what its mask covers."""
        hole = self.hole(index)
        if not hole.any():
            return self.images[index].clone()
        filled = self.filled(index)
        share = torch.from_numpy(blending(self.masks[index, 0].float().cpu().numpy())).to(self.images.device)
        new = torch.from_numpy(np.ascontiguousarray(filled.transpose(2, 0, 1))).to(self.images) / 255
        own = self.images[index]
        return torch.where(share > 0, own + share.to(own) * (new - own), own)

    def filled(self, index: int) -> Float32:
        """The whole frame (H, W, 3), 0..255, its hole filled from other frames and then from its surroundings."""
        image, hole = self.frame(index), self.hole(index)
        result = image.astype(np.float32)
        missing = hole.copy()
        if len(self.images) > 1:
            box = _around(hole)
            seen = self._seen(index, box)
            known = seen.count > 0
            colours = seen.colours / np.maximum(seen.weight, 1e-9)[..., None]
            result[box] = np.where((known & hole[box])[..., None], colours, result[box])
            missing[box] &= ~known
        if not missing.any():
            return result
        rounded = np.clip(np.rint(result), 0, 255).astype(np.uint8)
        return np.where(missing[..., None], self._made_up(rounded, missing), result).astype(np.float32)

    def _made_up(self, image: UInt8, missing: Bool) -> UInt8:
        """What no frame saw. In a clip it is smooth: made-up detail would be another in every frame, and flicker."""
        if len(self.images) == 1:
            return fill_with_patches(image, missing)
        return np.asarray(cv2.inpaint(image, missing.astype(np.uint8), 3, cv2.INPAINT_TELEA), dtype=np.uint8)

    def _seen(self, index: int, box: tuple[slice, slice]) -> _Seen:
        """What the frames within reach show of a piece, from the nearest on, until enough of them saw every pixel."""
        hole = self.hole(index)[box]
        seen = _Seen(
            np.zeros((*hole.shape, 3), np.float32), np.zeros(hole.shape, np.float32), np.zeros(hole.shape, np.int32)
        )
        for distance in DISTANCES:
            for other in (index + distance, index - distance):
                if 0 <= other < len(self.images):
                    self._look(seen, index, other, box)
            if (seen.count[hole] >= ENOUGH).all():
                break
        return seen

    def _look(self, seen: _Seen, index: int, other: int, box: tuple[slice, slice]) -> None:
        image, hole = self.frame(index)[box], self.hole(index)[box]
        there_hole = self.hole(other)
        matrix = self.motion(index, other)
        places = refined_places(image, hole, self.frame(other), there_hole, matrix, (box[0].start, box[1].start))
        usable = inside(places, *there_hole.shape) & (sample(there_hole.astype(np.float32), places) < 0.01)
        colours = sample(self.frame(other), places, cubic=True)
        known = usable & ~hole
        if not known.any():
            return
        drift, error = _compared(image.astype(np.float32), colours, known)
        use = usable & hole & (error < UNLIKE)
        weight = np.where(use, np.exp(-error / ALIKE - NEARER * abs(other - index)) + 1e-6, 0).astype(np.float32)
        seen.colours += np.clip(colours + drift, 0, 255) * weight[..., None]
        seen.weight += weight
        seen.count += use

    def frame(self, index: int) -> UInt8:
        """(H, W, 3), 0..255."""
        if index not in self.pixels:
            values = self.images[index].float().clamp(0, 1).cpu().permute(1, 2, 0).numpy()
            self.pixels[index] = np.ascontiguousarray(np.rint(values * 255).astype(np.uint8))
        return self.pixels[index]

    def hole(self, index: int) -> Bool:
        """(H, W): what is made anew, the blended edge included."""
        if index not in self.holes:
            self.holes[index] = blending(self.masks[index, 0].float().cpu().numpy()) > 0
        return self.holes[index]

    def motion(self, start: int, end: int) -> Float:
        """The background's common motion (3, 3) from one frame to another, by way of those between them."""
        matrix = np.eye(3)
        for index in range(min(start, end), max(start, end)):
            matrix = self._step(index) @ matrix
        return matrix if end >= start else np.asarray(np.linalg.inv(matrix))

    def _step(self, index: int) -> Float:
        if index not in self.motions:
            frames, holes = zip(*((self.frame(i), self.hole(i)) for i in (index, index + 1)), strict=True)
            self.motions[index] = common_motion(*frames, *holes)
        return self.motions[index]


def blending(mask: Float32) -> Float32:
    """Share (H, W), 0..1, of what is made anew: 1 where the mask is above 0.5 and next to it, 0 beyond ``EDGE``."""
    solid = mask > 0.5
    if not solid.any():
        return np.zeros(mask.shape, dtype=np.float32)
    distance = cv2.distanceTransform((~solid).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    ramp = np.clip((EDGE + 1 - distance) / (EDGE + 1 - SOLID), 0, 1)
    soft = np.where(distance <= EDGE, np.clip(2 * mask, 0, 1), 0)
    return np.asarray(np.maximum(ramp * (distance <= EDGE), soft), dtype=np.float32)


def _around(hole: Bool) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    top, left = max(0, int(rows[0]) - AROUND), max(0, int(columns[0]) - AROUND)
    return slice(top, int(rows[-1]) + AROUND + 1), slice(left, int(columns[-1]) + AROUND + 1)


def _compared(image: Float32, colours: Float32, known: Bool) -> tuple[Float32, Float32]:
    """The drift of brightness and colour to be added (h, w, 3), and the error (h, w) that is left, both in the hole."""
    drift = cv2.blur(fill_smoothly(image - colours, known), (9, 9))
    left = np.abs(image - colours - drift).mean(axis=-1, keepdims=True)
    error = fill_smoothly(np.asarray(cv2.blur(left, (5, 5))[..., None], dtype=np.float32), known)
    return np.clip(drift, -DRIFT, DRIFT).astype(np.float32), np.asarray(error[..., 0])
