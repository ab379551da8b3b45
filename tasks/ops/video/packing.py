"""Planes of one frame into the frame an encoder takes."""

import av
import numpy as np
from av.video.plane import VideoPlane
from numpy.typing import NDArray

from datasets.errors import FrameShapeError
from datasets.planar import PLANAR, PlanarFormat, Planes

_FULL_RANGE = {f"yuvj{each}p": f"yuv{each}p" for each in ("420", "422", "440", "444", "411")}
_PACKED = {"gbrp": "bgr0", "gbrap": "bgra"}  # FFV1 takes 8 bit RGB only interleaved


def coded_format(encoder: str, pixel_format: str) -> str:
    """FFmpeg's name of the frames that an encoder takes for a planar format: the same samples, ordered otherwise."""
    if encoder == "ffv1":
        return _PACKED.get(pixel_format) or _FULL_RANGE.get(pixel_format, pixel_format)
    return _FULL_RANGE.get(pixel_format, pixel_format)


def frame_of(planes: Planes, index: int, source: PlanarFormat, coded: str) -> av.VideoFrame:
    """Frame ``index`` of a chunk of planes.

    Grey planes become luma with neutral colour where the encoder has no grey.

    Args:
        planes: (T, h, w) each.
        index: Which of the T.
        source: What the planes are.
        coded: From ``coded_format``.

    Raises:
        FrameShapeError: A plane is missing or has another size or dtype than its format says.
    """
    luma = planes[source.planes[0]]
    height, width = luma.shape[1:]
    for name in source.planes:
        expected = source.plane_size(name, height, width)
        if name not in planes or planes[name].shape[1:] != expected or planes[name].dtype != source.dtype:
            raise FrameShapeError(
                f"expected plane {name!r} of {source.name} as {source.dtype} {expected}, got "
                f"{planes[name].dtype if name in planes else None} {planes[name].shape if name in planes else None}",
                plane=name,
            )
    frame = av.VideoFrame(width, height, coded)
    if coded in ("bgr0", "bgra"):
        channels = [planes[name][index] for name in ("b", "g", "r")]
        channels.append(planes["a"][index] if source.alpha else np.full_like(channels[0], 255))
        _fill(frame.planes[0], np.stack(channels, axis=-1).reshape(height, width * 4))
        return frame
    target = PLANAR[coded]
    for name, plane in zip(target.planes, frame.planes, strict=True):
        if name in planes:
            _fill(plane, planes[name][index])
        else:
            neutral = np.full(target.plane_size(name, height, width), 1 << (target.depth - 1), target.dtype)
            _fill(plane, neutral)
    return frame


def _fill(plane: VideoPlane, values: NDArray[np.generic]) -> None:
    rows = np.zeros((plane.height, plane.line_size // values.itemsize), values.dtype)
    rows[: values.shape[0], : values.shape[1]] = values
    plane.update(rows.tobytes())
