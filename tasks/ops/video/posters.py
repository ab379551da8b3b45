"""What a frame looks like at a glance, in numbers, and which frame stands for its clip.

Every number depends on its frame and the one before it alone, so a clip may be measured in chunks of any size.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.errors import FrameShapeError
from tasks.ops.depth import Pixels
from tasks.ops.video.tiles import shrunk

Numbers = NDArray[np.float32]
Flags = NDArray[np.bool_]

GLANCE_SIDE = 320  # px of the longer side: motion blur of a few pixels of 720p still shows, noise no longer does
LUMA = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)  # ITU-R BT.709, on coded values
BEHIND = 128.0  # under transparent pixels: neither black nor white
DARK, BRIGHT = 16.0, 240.0  # mean luma of a frame that may be black or blown out
FAINT = 16.0  # contrast below which such a frame shows nothing
FLAT = 4.0  # contrast of one colour all over, with noise
FADED = 0.92  # of the contrast at which a fade ends; less is still fading
RISE = 1.002  # contrast from frame to frame; a slower fade is not told from light that changes
AROUND = 1 / 8  # of the clip, on both sides of its first third


@dataclass(frozen=True)
class FrameMeasures:
    """One number for each frame, float32 (T,), in codes of 0..255 whatever the depth.

    Attributes:
        luma_mean: Mean BT.709 luma.
        luma_std: Its standard deviation: contrast.
        sharpness: Variance of the Laplacian.
        difference: Mean absolute difference of luma to the frame before; 0 for the first frame of a clip.
    """

    luma_mean: Numbers
    luma_std: Numbers
    sharpness: Numbers
    difference: Numbers

    def __len__(self) -> int:
        return len(self.luma_mean)

    def to_json(self) -> dict[str, list[float]]:
        return {name: [round(float(value), 4) for value in values] for name, values in asdict(self).items()}

    @classmethod
    def from_json(cls, value: dict[str, list[float]]) -> "FrameMeasures":
        return cls(**{name: np.array(values, dtype=np.float32) for name, values in value.items()})


def glance(frame: Pixels) -> Numbers:
    """The luma of a frame (H, W, 3|4), uint8 or uint16, shrunk by area to ``GLANCE_SIDE``: (h, w) float32, 0..255."""
    small = shrunk(frame, GLANCE_SIDE)
    luma: Numbers = np.asarray(small[..., :3] @ LUMA, dtype=np.float32)
    if small.shape[2] == 4:
        luma += np.float32(BEHIND) * (1 - small[..., 3] / 255)
    return luma


def measure_frames(frames: Pixels, *, before: Numbers | None = None) -> FrameMeasures:
    """Measure frames (T, H, W, 3|4), sRGB, uint8 or uint16, straight alpha.

    Args:
        before: ``glance`` of the frame before the first one; None at the beginning of the clip.

    Raises:
        FrameShapeError: Not frames of this shape and depth.
    """
    if frames.ndim != 4 or frames.shape[3] not in {3, 4} or frames.dtype.name not in {"uint8", "uint16"}:
        raise FrameShapeError(
            f"expected frames (T, H, W, 3|4) of uint8 or uint16, got {frames.shape} of {frames.dtype}",
            shape=frames.shape,
        )
    rows = np.zeros((4, len(frames)), dtype=np.float32)
    for number, frame in enumerate(frames):
        now = glance(frame)
        laplacian = cv2.Laplacian(now, cv2.CV_32F, borderType=cv2.BORDER_REPLICATE)
        moved = 0.0 if before is None else np.abs(now - before).mean()
        rows[:, number] = now.mean(), now.std(), np.var(laplacian), moved
        before = now
    return FrameMeasures(*rows)


def concatenate(parts: Sequence[FrameMeasures]) -> FrameMeasures:
    """The measures of chunks that follow each other as those of one clip."""
    names = ("luma_mean", "luma_std", "sharpness", "difference")
    empty = np.zeros(0, dtype=np.float32)
    return FrameMeasures(*(np.concatenate([empty, *(getattr(part, name) for part in parts)]) for name in names))


def choose_poster(measures: FrameMeasures) -> int:
    """The index of the sharpest frame near a third of the clip that shows something.

    Frames are given up in this order, as far as others remain: black and blown out ones, faded ones, ones of a
    single colour. Of equally sharp frames the one nearest to the third wins.

    Raises:
        FrameShapeError: There are no frames.
    """
    if not len(measures):
        raise FrameShapeError("a poster needs at least one frame, got none", shape=(0,))
    wanted = _presentable(measures)
    third = (len(measures) - 1) / 3
    distance = np.abs(wanted - third)
    centre = third if distance.min() <= AROUND * len(measures) else float(wanted[distance.argmin()])
    near = wanted[np.abs(wanted - centre) <= AROUND * len(measures)]
    order = np.lexsort((np.abs(near - third), -measures.sharpness[near]))
    return int(near[order[0]])


def _presentable(measures: FrameMeasures) -> NDArray[np.int64]:
    """Indices of the best kind of frame that there is."""
    faint = measures.luma_std < FAINT
    empty = faint & ((measures.luma_mean < DARK) | (measures.luma_mean > BRIGHT))
    flat = measures.luma_std < FLAT
    faded = fading(measures)
    for refused in (empty | flat | faded, empty | faded, empty):
        if not refused.all():
            return np.flatnonzero(~refused)
    return np.flatnonzero(measures.luma_std == measures.luma_std.max())


def fading(measures: FrameMeasures) -> Flags:
    """Which frames (T,) belong to a fade: contrast that grows away from an empty frame or from an end of the clip."""
    contrast = measures.luma_std
    empty = contrast < FLAT
    faded = np.zeros(len(contrast), dtype=bool)
    for starts, values, marks in ((empty, contrast, faded), (empty[::-1], contrast[::-1], faded[::-1])):
        before = np.concatenate([[True], starts[:-1]])
        for start in np.flatnonzero(before & ~starts):
            _mark_rise(values, marks, int(start))
    return faded


def _mark_rise(contrast: Numbers, marks: Flags, start: int) -> None:
    """Mark, in place, the frames from ``start`` on whose contrast is still on its way up."""
    end = start
    while end + 1 < len(contrast) and contrast[end + 1] > contrast[end] * RISE:
        end += 1
    marks[start : end + 1] |= contrast[start : end + 1] < contrast[end] * FADED
