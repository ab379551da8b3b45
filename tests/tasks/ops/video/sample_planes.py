"""Small clips of planes for tests."""

from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.planar import PLANAR, Planes
from tasks.ops.video.clip import ClipInfo, Colour


def info_of(name: str, height: int = 8, width: int = 12, **colour: str) -> ClipInfo:
    return ClipInfo(width, height, name, name, Fraction(1, 25), Colour(**colour))


def noise(info: ClipInfo, count: int = 1, seed: int = 0) -> Planes:
    """Any codes at all."""
    rng, fmt = np.random.default_rng(seed), PLANAR[info.pixel_format]
    return {
        name: rng.integers(0, 2**fmt.depth, (count, *fmt.plane_size(name, info.height, info.width))).astype(fmt.dtype)
        for name in fmt.planes
    }


def soft(info: ClipInfo, low: float = 0.3, high: float = 0.7, seed: int = 0) -> Planes:
    """One frame of soft shapes, of colours that exist in RGB when the bounds are tight."""
    rng, fmt = np.random.default_rng(seed), PLANAR[info.pixel_format]

    def plane(name: str) -> NDArray[Any]:
        rows, columns = fmt.plane_size(name, info.height, info.width)
        grown = cv2.resize(rng.random((5, 6)).astype(np.float32), (columns, rows), interpolation=cv2.INTER_LINEAR)
        codes: NDArray[Any] = np.rint((grown * (high - low) + low) * (2**fmt.depth - 1)).astype(fmt.dtype)[None]
        return codes

    return {name: plane(name) for name in fmt.planes}


def flat(info: ClipInfo, **codes: int) -> Planes:
    fmt = PLANAR[info.pixel_format]
    return {
        name: np.full((1, *fmt.plane_size(name, info.height, info.width)), codes[name], fmt.dtype)
        for name in fmt.planes
    }


def av_frame(planes: Planes, info: ClipInfo) -> av.VideoFrame:
    """The first frame, written row by row into FFmpeg's own memory."""
    frame = av.VideoFrame(info.width, info.height, info.pixel_format)
    for target, plane in zip(frame.planes, planes.values(), strict=True):
        lines = np.frombuffer(memoryview(target), np.uint8).reshape(-1, target.line_size)
        for line, row in zip(lines, plane[0], strict=False):
            line[: row.nbytes] = np.frombuffer(row.tobytes(), np.uint8)
    return frame
