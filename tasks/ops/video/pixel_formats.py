"""From a decoder's frame to planes: padding taken off, packed pixels taken apart, no value changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from datasets.planar import PLANAR, PlanarFormat

Array = NDArray[Any]
Samples = Mapping[str, Array]


@dataclass(frozen=True)
class _Packed:
    """How the samples of a packed format lie.

    Attributes:
        kept: The planar format that holds the same values.
        places: For each plane of it: (plane of the frame, first sample, samples from one to the next).
        dtype: Of the samples.
        shift: Bits below the value.
    """

    kept: str
    places: Mapping[str, tuple[int, int, int]]
    dtype: str = "u1"
    shift: int = 0


def _semi(kept: str, *, swapped: bool = False, dtype: str = "u1", shift: int = 0) -> _Packed:
    u, v = (1, 0) if swapped else (0, 1)
    return _Packed(kept, {"y": (0, 0, 1), "u": (1, u, 2), "v": (1, v, 2)}, dtype, shift)


def _rgb(order: str, dtype: str = "u1") -> _Packed:
    """``order`` names what lies side by side; ``x`` is filler, ``l`` is luminance for all three."""
    depth = "" if dtype == "u1" else "16le"
    kept = ("gbrap" if "a" in order else "gbrp") + depth
    names = "gbra" if "a" in order else "gbr"
    places = {name: (0, order.index(name if name in order else "l"), len(order)) for name in names}
    return _Packed(kept, places, dtype)


def _yuv422(order: str) -> _Packed:
    return _Packed(
        "yuv422p",
        {"y": (0, order.index("y"), 2), "u": (0, order.index("u"), 4), "v": (0, order.index("v"), 4)},
    )


def _table() -> dict[str, _Packed]:
    table = {
        "nv12": _semi("yuv420p"), "nv21": _semi("yuv420p", swapped=True),
        "nv16": _semi("yuv422p"), "nv24": _semi("yuv444p"), "nv42": _semi("yuv444p", swapped=True),
        "yuyv422": _yuv422("yuyv"), "uyvy422": _yuv422("uyvy"), "yvyu422": _yuv422("yvyu"),
        "ya8": _rgb("la"),
    }  # fmt: skip
    for order in ("rgb", "bgr"):
        table[f"{order}24"] = _rgb(order)
    for order in ("rgba", "bgra", "argb", "abgr"):
        table[order] = _rgb(order)
        table[order.replace("a", "0")] = _rgb(order.replace("a", "x"))
    for end, sign in (("le", "<u2"), ("be", ">u2")):
        for order in ("rgb", "bgr"):
            table[f"{order}48{end}"] = _rgb(order, sign)
            table[f"{order}a64{end}"] = _rgb(order + "a", sign)
        table[f"ya16{end}"] = _rgb("la", sign)
        for name, chroma in (("0", "420"), ("2", "422"), ("4", "444")):
            for depth in (10, 12, 16):
                table[f"p{name}{depth}{end}"] = _semi(f"yuv{chroma}p{depth}le", dtype=sign, shift=16 - depth)
    return table


_PACKED = _table()
_SWAPPED = {
    name[:-2] + "be": name for name in PLANAR if name.endswith("le")
}  # the same planes with the higher byte first
_ONE_BIT = ("monow", "monob")


def kept_format(name: str) -> str | None:
    """FFmpeg's name of the planar format that keeps every value of a decoder's format; None where there is none."""
    if name in PLANAR:
        return name
    if name in _PACKED:
        return _PACKED[name].kept
    if name == "pal8":
        return "gbrap"
    if name in _ONE_BIT:
        return "gray"
    return _SWAPPED.get(name)


def planes_of(frame: av.VideoFrame) -> dict[str, Array]:
    """A frame as contiguous planes (h, w) in the order of its kept format, uint8 or uint16.

    Raises:
        KeyError: no planar format keeps its values; ``kept_format`` says so before.
    """
    name = frame.format.name
    if name in PLANAR:
        return _planar(frame, PLANAR[name], "<u2")
    if name in _SWAPPED:
        return _planar(frame, PLANAR[_SWAPPED[name]], ">u2")
    if name == "pal8":
        return _indexed(frame)
    if name in _ONE_BIT:
        return _one_bit(frame, inverted=name == "monow")
    return _unpacked(frame, _PACKED[name])


def _planar(frame: av.VideoFrame, kept: PlanarFormat, deep: str) -> dict[str, Array]:
    dtype = np.dtype("u1" if kept.depth == 8 else deep)
    planes: dict[str, Array] = {}
    for index, plane in enumerate(kept.planes):
        height, width = kept.plane_size(plane, frame.height, frame.width)
        planes[plane] = _native(_rows(frame, index, height, dtype)[:, :width])
    return planes


def _unpacked(frame: av.VideoFrame, packed: _Packed) -> dict[str, Array]:
    kept = PLANAR[packed.kept]
    planes: dict[str, Array] = {}
    for plane in kept.planes:
        index, first, step = packed.places[plane]
        height, width = kept.plane_size(plane, frame.height, frame.width)
        rows = _rows(frame, index, height, np.dtype(packed.dtype))
        planes[plane] = _native(rows[:, first : first + step * width : step][:, :width] >> packed.shift)
    return planes


def _indexed(frame: av.VideoFrame) -> dict[str, Array]:
    """Colours of the palette, which FFmpeg keeps as native 32-bit ARGB: blue lies first."""
    palette = np.frombuffer(memoryview(frame.planes[1]), np.uint8).reshape(256, 4)
    index = _rows(frame, 0, frame.height, np.dtype("u1"))[:, : frame.width]
    return {plane: _native(palette[:, at][index]) for plane, at in (("g", 1), ("b", 0), ("r", 2), ("a", 3))}


def _one_bit(frame: av.VideoFrame, *, inverted: bool) -> dict[str, Array]:
    rows = _rows(frame, 0, frame.height, np.dtype("u1"))
    bits = np.unpackbits(rows, axis=1)[:, : frame.width]
    return {"y": _native(np.where(bits ^ inverted, np.uint8(255), np.uint8(0)))}


def _rows(frame: av.VideoFrame, index: int, height: int, dtype: np.dtype[Any]) -> Array:
    """A plane with its padding; FFmpeg keeps pictures that are stored bottom up with a negative line size."""
    plane = frame.planes[index]
    rows = np.frombuffer(memoryview(plane), np.uint8)[: abs(plane.line_size) * height].reshape(height, -1)
    usable = rows.shape[1] - rows.shape[1] % dtype.itemsize
    lines: Array = rows[:, :usable].view(dtype)
    return lines[::-1] if plane.line_size < 0 else lines


def _native(samples: Array) -> Array:
    """A contiguous copy that does not hold on to FFmpeg's buffer."""
    return np.array(samples, dtype=samples.dtype.newbyteorder("="), order="C", copy=True)
