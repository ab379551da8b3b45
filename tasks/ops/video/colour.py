"""A decoder's planes to RGB and back.

One frame after the other, in strips that fit a core's cache, with plain float32 arithmetic: no pixel depends on how
many frames come at once, on threads or on the processor.
"""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.errors import FrameShapeError
from datasets.planar import PlanarFormat, Planes
from tasks.ops.video.chroma import Floats, around, grow_columns, grow_rows, shrink_columns, shrink_rows
from tasks.ops.video.clip import ClipInfo
from tasks.ops.video.matrices import Coding, chroma_site, coding

Frames = NDArray[Any]

_STRIP_PIXELS = 1 << 16  # 256 KiB as float32: fewer calls for small strips, less cache for large ones; measured
_STRIP_ARRAYS = 12  # most arrays of a strip's size that live at once, of float32; measured by the tests
_GROUP_ROWS = 4  # most rows that share a colour sample: strips are whole groups


def to_rgb(planes: Planes, info: ClipInfo) -> Frames:
    """Planes to RGB by the clip's tags.

    Missing tags are filled as ``tasks.ops.video.matrices`` says. Values are rounded to nearest and clipped;
    primaries and transfer stay the clip's own. Alpha is full range whatever the tags say, as FFmpeg keeps it. Gray
    becomes three equal channels.

    Args:
        planes: each (T, h, w), uint8, or uint16 with the value in the low bits.
        info: ``pixel_format`` names the planes.

    Returns:
        (T, H, W, 3), or 4 with alpha; uint8 0..255 from 8-bit planes, else uint16 0..65535 (``v / (2^depth - 1)``).

    Raises:
        FrameShapeError: the planes are not those of the format and size.
        ColourUnsupportedError: the matrix is not known.
    """
    fmt = planar_of(info)
    count = check_planes(planes, info, fmt)
    rgb = np.empty((count, info.height, info.width, fmt.channels), np.uint8 if fmt.depth == 8 else np.uint16)
    numbers = coding(info, fmt)
    site = chroma_site(info)
    for frame in range(count):
        one = {name: plane[frame] for name, plane in planes.items()}
        for first, last in _strips(info):
            _strip_to_rgb(one, fmt, numbers, site, first, rgb[frame, first:last])
    return rgb


def from_rgb(rgb: Frames, info: ClipInfo) -> Planes:
    """RGB to planes by the clip's tags; the inverse of ``to_rgb``.

    Args:
        rgb: (T, H, W, 3|4), uint8 or uint16. Alpha is dropped if the format has none, opaque if
            only the format has it.
        info: ``pixel_format`` names the planes wanted, ``colour`` their tags.

    Returns:
        The planes by name, each (T, h, w).

    Raises:
        FrameShapeError: other shape, size or dtype.
        ColourUnsupportedError: the matrix is not known.
    """
    fmt = planar_of(info)
    _check_rgb(rgb, info)
    planes: Planes = {
        name: np.empty((rgb.shape[0], *fmt.plane_size(name, info.height, info.width)), fmt.dtype) for name in fmt.planes
    }
    numbers = coding(info, fmt)
    site = chroma_site(info)
    for frame in range(rgb.shape[0]):
        one = {name: plane[frame] for name, plane in planes.items()}
        for first, last in _strips(info):
            _strip_from_rgb(rgb[frame], fmt, numbers, site, first, last, one)
    return planes


def conversion_bytes(info: ClipInfo) -> int:
    """Bytes that ``to_rgb`` or ``from_rgb`` takes for one frame: its RGB, its planes, and one strip's work.

    The work is that of one strip however many frames come at once.
    """
    fmt = planar_of(info)
    size = 1 if fmt.depth == 8 else 2
    rows = min(_strip_rows(info), info.height + _GROUP_ROWS) + 2 * _GROUP_ROWS
    work = (rows * (info.width + 3 * _GROUP_ROWS) * 4) * _STRIP_ARRAYS
    return info.height * info.width * fmt.channels * size + fmt.frame_bytes(info.height, info.width) + work


def planar_of(info: ClipInfo) -> PlanarFormat:
    """The clip's planar format.

    Raises:
        FrameShapeError: it is kept as RGB.
    """
    fmt = info.planar
    if fmt is None:
        raise FrameShapeError(
            f"expected a clip of planes; got one kept as {info.pixel_format}: its frames need no conversion",
            pixel_format=info.pixel_format,
        )
    return fmt


def check_planes(planes: Planes, info: ClipInfo, fmt: PlanarFormat) -> int:
    """How many frames the planes hold.

    Raises:
        FrameShapeError: other names, shapes or dtypes than the format has, or different counts.
    """
    count = next(iter(planes.values())).shape[0] if planes else 0
    wanted = {name: (count, *fmt.plane_size(name, info.height, info.width)) for name in fmt.planes}
    came = {name: plane.shape for name, plane in planes.items()}
    dtypes = {str(plane.dtype) for plane in planes.values()}
    if came != wanted or dtypes != {fmt.dtype}:
        raise FrameShapeError(
            f"expected {fmt.name} planes of {fmt.dtype}: {wanted}; got {sorted(dtypes)}: {came};"
            " pass the frames' own clip facts",
            expected=str(wanted),
            came=str(came),
        )
    return count


def _check_rgb(rgb: Frames, info: ClipInfo) -> None:
    size = (info.height, info.width)
    if rgb.ndim != 4 or rgb.shape[1:3] != size or rgb.shape[3] not in (3, 4) or rgb.dtype not in (np.uint8, np.uint16):
        raise FrameShapeError(
            f"expected frames (T, {info.height}, {info.width}, 3 or 4) of uint8 or uint16; got {rgb.shape}"
            f" of {rgb.dtype}; describe them with the clip's with_pixels()",
            shape=list(rgb.shape),
            dtype=str(rgb.dtype),
        )


def _strip_rows(info: ClipInfo) -> int:
    return max(1, _STRIP_PIXELS // info.width // _GROUP_ROWS) * _GROUP_ROWS


def _strips(info: ClipInfo) -> Iterator[tuple[int, int]]:
    rows = _strip_rows(info)
    for first in range(0, info.height, rows):
        yield first, min(first + rows, info.height)


def _strip_to_rgb(
    planes: Planes, fmt: PlanarFormat, numbers: Coding, site: tuple[float, float], first: int, out: Frames
) -> None:
    """Rows ``first`` to ``first + len(out)`` of one frame."""
    height, width = out.shape[:2]
    top = float(np.iinfo(out.dtype).max)
    parts = []
    for name, zero in zip(fmt.planes, numbers.zeros, strict=False):  # the zeros are those of the colours
        shifts = (fmt.shift_x, fmt.shift_y) if name in ("u", "v") else (0, 0)
        parts.append(_full_size(planes[name], np.float32(zero), shifts, site, first, height, width))
    weights = numbers.inverse * top / numbers.spans
    distinct = weights if fmt.family != "gray" else weights[:1]
    channels = [_codes(_weighted(parts, row), top, out.dtype) for row in distinct]
    channels = channels if len(channels) == 3 else channels * 3
    if fmt.alpha:
        channels.append(_rescaled(planes["a"][first : first + height], 2**fmt.depth - 1, out.dtype))
    cv2.merge(channels, dst=out)


def _full_size(
    plane: Frames,
    zero: np.float32,
    shifts: tuple[int, int],
    site: tuple[float, float],
    first: int,
    height: int,
    width: int,
) -> Floats:
    """Rows of a plane as float32 without its offset, at the picture's size."""
    if shifts == (0, 0):
        return np.subtract(plane[first : first + height], zero, dtype=np.float32)
    low, high = first >> shifts[1], -(-(first + height) >> shifts[1])
    near = plane[around(low, high, 1, plane.shape[0])]
    centred = np.empty((near.shape[0], near.shape[1] + 2), np.float32)
    np.subtract(near, zero, out=centred[:, 1:-1], dtype=np.float32)
    centred[:, 0], centred[:, -1] = centred[:, 1], centred[:, -2]
    grown = grow_columns(grow_rows(centred, shifts[1], site[1]), shifts[0], site[0])
    return grown[:height, :width]


def _strip_from_rgb(
    rgb: Frames, fmt: PlanarFormat, numbers: Coding, site: tuple[float, float], first: int, last: int, out: Planes
) -> None:
    """Rows ``first`` to ``last`` of one frame; of the colour planes the rows that stand for them."""
    group = 1 << fmt.shift_y
    whole = -(-last // group) * group
    inner = slice(group, group + last - first)
    channels = cv2.split(rgb[around(first, whole, group, rgb.shape[0])])
    parts = [channel.astype(np.float32) for channel in channels[:3]]
    weights = numbers.matrix * (numbers.spans / np.iinfo(rgb.dtype).max)[:, None]
    full = [part[inner] for part in parts]
    small = full
    if fmt.shift_x or fmt.shift_y:
        small = [shrink_columns(shrink_rows(part, fmt.shift_y, site[1]), fmt.shift_x, site[0]) for part in parts]
    for name, row, zero in zip(fmt.planes, weights, numbers.zeros, strict=False):
        chroma = name in ("u", "v")
        values = _weighted(small if chroma else full, row)
        values += np.float32(zero)
        rows = slice(first >> fmt.shift_y, whole >> fmt.shift_y) if chroma else slice(first, last)
        out[name][rows] = _codes(values, float(2**fmt.depth - 1), out[name].dtype)
    if fmt.alpha:
        top = 2**fmt.depth - 1
        out["a"][first:last] = _rescaled(channels[3][inner], top, rgb.dtype, back=True) if len(channels) == 4 else top


def _weighted(parts: list[Floats], weights: NDArray[np.float64]) -> Floats:
    """The weighted sum, leaving out what weighs nothing."""
    used = [(part, np.float32(weight)) for part, weight in zip(parts, weights, strict=True) if abs(weight) > 1e-9]
    total: Floats = np.multiply(used[0][0], used[0][1])
    work = np.empty_like(total) if len(used) > 1 else total
    for part, weight in used[1:]:
        total += np.multiply(part, weight, out=work)
    return total


def _codes(values: Floats, top: float, dtype: Any) -> Frames:
    """The nearest codes of 0..top; halves go up. ``values`` are used up."""
    values += np.float32(0.5)
    np.clip(values, np.float32(0), np.float32(top + 0.5), out=values)
    return values.astype(dtype)


def _rescaled(alpha: Frames, top: int, rgb_dtype: Any, *, back: bool = False) -> Frames:
    """Alpha from 0..top to the full scale of the RGB, or back."""
    full = int(np.iinfo(rgb_dtype).max)
    old, new = (full, top) if back else (top, full)
    dtype = np.uint8 if new == 255 else np.uint16
    if old == new:
        return np.ascontiguousarray(alpha)
    return _codes(alpha.astype(np.float32) * np.float32(new / old), float(new), dtype)
