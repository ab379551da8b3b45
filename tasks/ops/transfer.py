"""sRGB to linear light and back. Source: IEC 61966-2-1:1999.

Integers go through tables, so that a result never depends on how an array lies in memory or on its neighbours.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tasks.ops.depth import Pixels, full_scale, to_float, to_uint16

Linear = NDArray[np.float32]

_KNEE = 0.04045  # encoded value where the straight part meets the power


def srgb_to_linear(pixels: Pixels) -> Linear:
    """Decode sRGB.

    Args:
        pixels: any shape; uint8, uint16, or float 0..1 (taken at 16 bit, the finest depth that files have).

    Returns:
        Same shape, float32, linear light, 0..1.
    """
    codes = to_uint16(pixels) if full_scale(pixels.dtype) == 1.0 else pixels
    return np.take(_decode_table(int(full_scale(codes.dtype))), codes)


def linear_to_srgb_uint8(linear: NDArray[Any]) -> NDArray[np.uint8]:
    """Encode linear light to the nearest 8-bit sRGB code; values outside 0..1 are clipped."""
    return _nearest_code(linear, 255).astype(np.uint8)


def linear_to_srgb_uint16(linear: NDArray[Any]) -> NDArray[np.uint16]:
    """Encode linear light to the nearest 16-bit sRGB code; values outside 0..1 are clipped."""
    return _nearest_code(linear, 65535)


def linear_to_srgb_float(linear: NDArray[Any]) -> NDArray[np.float32]:
    """Encode linear light to sRGB as float32, 0..1, in steps of one 16-bit code."""
    return to_float(linear_to_srgb_uint16(linear))


def linear_to_srgb(linear: NDArray[Any], dtype: DTypeLike) -> Pixels:
    """Encode linear light at the depth of ``dtype``."""
    scale = full_scale(dtype)
    if scale == 255.0:
        return linear_to_srgb_uint8(linear)
    return linear_to_srgb_uint16(linear) if scale == 65535.0 else linear_to_srgb_float(linear)


def _decode(encoded: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(encoded <= _KNEE, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


@cache
def _decode_table(top: int) -> Linear:
    table = _decode(np.arange(top + 1) / top).astype(np.float32)
    table.flags.writeable = False
    return table


@cache
def _encode_tables(top: int) -> tuple[NDArray[np.uint16], Linear, int]:
    """For each bucket of linear light the code at its low end, and for each code where the next one begins.

    Buckets are narrower than the narrowest code (1 / 12.92 / top), so that a bucket holds at most one border.
    """
    buckets = 1 << int(np.ceil(np.log2(12.92 * top)) + 1)
    borders = _decode((np.arange(top) + 0.5) / top).astype(np.float32)
    low_ends = np.arange(buckets + 1, dtype=np.float32) / np.float32(buckets)
    codes = np.searchsorted(borders, low_ends, side="right").astype(np.uint16)
    return codes, np.append(borders, np.float32(np.inf)), buckets


def _nearest_code(linear: NDArray[Any], top: int) -> NDArray[np.uint16]:
    codes, borders, buckets = _encode_tables(top)
    clipped = np.clip(linear, 0.0, 1.0).astype(np.float32, copy=False)
    guess: NDArray[np.uint16] = np.take(codes, (clipped * np.float32(buckets)).astype(np.int32))
    guess += clipped >= np.take(borders, guess)
    return guess
