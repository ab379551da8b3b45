"""Bit depths: exact conversions between 8 bit, 16 bit and floats of 0..1."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from datasets.errors import FrameShapeError

Pixels = NDArray[Any]

_STEP = 257  # 65535 / 255: every 8-bit code has exactly one 16-bit code


def full_scale(dtype: DTypeLike) -> float:
    """The number that stands for 1.0: 255, 65535, or 1 for floats.

    Raises:
        FrameShapeError: neither uint8, uint16 nor a float.
    """
    kind = np.dtype(dtype)
    if kind == np.uint8:
        return 255.0
    if kind == np.uint16:
        return 65535.0
    if kind.kind == "f":
        return 1.0
    raise FrameShapeError(f"expected pixels of uint8, uint16 or float, got {kind}", dtype=str(kind))


def to_uint8(pixels: Pixels) -> NDArray[np.uint8]:
    """Any depth to 8 bit: ``round(v / 257)`` from 16 bit, ``round(v * 255)`` from floats, which are clipped to 0..1."""
    if full_scale(pixels.dtype) == 255.0:
        return pixels
    if pixels.dtype == np.uint16:
        return ((pixels.astype(np.uint32) + _STEP // 2) // _STEP).astype(np.uint8)
    return np.rint(np.clip(pixels, 0.0, 1.0) * 255.0).astype(np.uint8)


def to_uint16(pixels: Pixels) -> NDArray[np.uint16]:
    """Any depth to 16 bit: ``v * 257`` from 8 bit, ``round(v * 65535)`` from floats, which are clipped to 0..1."""
    if full_scale(pixels.dtype) == 65535.0:
        return pixels
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint16) * np.uint16(_STEP)
    return np.rint(np.clip(pixels, 0.0, 1.0) * 65535.0).astype(np.uint16)


def to_float(pixels: Pixels) -> NDArray[np.float32]:
    """Any depth to float32, 0..1. Floats keep their values."""
    scale = full_scale(pixels.dtype)
    if scale == 1.0:
        return pixels.astype(np.float32, copy=False)
    return pixels.astype(np.float32) / np.float32(scale)


def to_depth(pixels: Pixels, dtype: DTypeLike) -> Pixels:
    """To the depth of ``dtype``: uint8, uint16 or float32."""
    scale = full_scale(dtype)
    if scale == 255.0:
        return to_uint8(pixels)
    if scale == 65535.0:
        return to_uint16(pixels)
    return to_float(pixels)
