"""Turn frames as coded into frames as seen, and back."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.errors import FrameShapeError
from tasks.ops.video.clip import ClipInfo

Frames = NDArray[Any]


def upright(frames: Frames, info: ClipInfo) -> Frames:
    """Frames as they are seen: mirrored left to right first if the clip says so, then turned clockwise.

    Args:
        frames: (T, H, W, C) as coded, any dtype.
        info: its ``rotation`` and ``mirrored`` are undone.

    Returns:
        (T, *info.upright, C), contiguous; ``frames`` itself if there is nothing to do.

    Raises:
        FrameShapeError: not four-dimensional.
    """
    _check(frames)
    seen = frames[:, :, ::-1] if info.mirrored else frames
    return np.ascontiguousarray(np.rot90(seen, _quarters(info), axes=(2, 1)))


def as_coded(frames: Frames, info: ClipInfo) -> Frames:
    """The inverse of ``upright``: (T, *info.upright, C) to (T, H, W, C) as the clip's planes lie."""
    _check(frames)
    coded = np.rot90(frames, _quarters(info), axes=(1, 2))
    return np.ascontiguousarray(coded[:, :, ::-1] if info.mirrored else coded)


def _quarters(info: ClipInfo) -> int:
    if info.rotation % 90:
        raise FrameShapeError(
            f"expected a rotation of 0, 90, 180 or 270 degrees; got {info.rotation}; round it where the clip is read",
            rotation=info.rotation,
        )
    return info.rotation // 90


def _check(frames: Frames) -> None:
    if frames.ndim != 4:
        raise FrameShapeError(
            f"expected frames (T, H, W, C); got shape {frames.shape}; add the missing axis", shape=list(frames.shape)
        )
