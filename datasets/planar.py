"""Planar pixel formats: what a decoder's planes look like, so that frames can be kept as they are coded.

Names are FFmpeg's. Samples of more than 8 bits are uint16 with the value in the low bits.
"""

from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

Plane = Literal["y", "u", "v", "g", "b", "r", "a"]
Planes = dict[str, NDArray[Any]]  # (T, h, w) uint8 or uint16 by the plane's name, in the format's order
Family = Literal["yuv", "gray", "rgb"]
_COLOUR: dict[Family, tuple[Plane, ...]] = {"yuv": ("y", "u", "v"), "gray": ("y",), "rgb": ("g", "b", "r")}


@dataclass(frozen=True)
class PlanarFormat:
    """A planar format.

    Attributes:
        name: FFmpeg's name.
        family: ``yuv``: luma and two colour differences; ``gray``: luma; ``rgb``: three colour planes, green first.
        depth: Bits of a sample.
        shift_x: log2 of how many times narrower the colour difference planes are.
        shift_y: log2 of how many times lower they are.
        alpha: Whether a plane of straight alpha comes last; it is as large as the luma.
    """

    name: str
    family: Family
    depth: int
    shift_x: int = 0
    shift_y: int = 0
    alpha: bool = False

    @property
    def planes(self) -> tuple[Plane, ...]:
        return (*_COLOUR[self.family], "a") if self.alpha else _COLOUR[self.family]

    @property
    def dtype(self) -> str:
        return "uint8" if self.depth == 8 else "uint16"

    @property
    def channels(self) -> int:
        """Of the picture in RGB: a grey clip, too, becomes three equal channels."""
        return 4 if self.alpha else 3

    def plane_size(self, plane: str, height: int, width: int) -> tuple[int, int]:
        """(rows, columns) of a plane of a picture; odd pictures have their last colour sample whole."""
        if plane in ("u", "v"):
            return -(-height >> self.shift_y), -(-width >> self.shift_x)
        return height, width

    def frame_bytes(self, height: int, width: int) -> int:
        """Bytes of one frame."""
        sizes = (self.plane_size(plane, height, width) for plane in self.planes)
        return sum(rows * columns for rows, columns in sizes) * (1 if self.depth == 8 else 2)


def _formats() -> dict[str, PlanarFormat]:
    shifts = {"420": (1, 1), "422": (1, 0), "440": (0, 1), "444": (0, 0), "411": (2, 0), "410": (2, 2)}
    depths = {
        "420": (8, 9, 10, 12, 14, 16),
        "422": (8, 9, 10, 12, 14, 16),
        "444": (8, 9, 10, 12, 14, 16),
        "440": (8, 10, 12),
        "411": (8,),
        "410": (8,),
    }
    found = [
        PlanarFormat(f"yuv{name}p{_suffix(depth)}", "yuv", depth, *shifts[name])
        for name, each in depths.items()
        for depth in each
    ]
    found += [PlanarFormat(f"yuvj{name}p", "yuv", 8, *shifts[name]) for name in ("420", "422", "440", "444", "411")]
    alpha = {"420": (8, 9, 10, 16), "422": (8, 9, 10, 12, 16), "444": (8, 9, 10, 12, 16)}
    found += [
        PlanarFormat(f"yuva{name}p{_suffix(depth)}", "yuv", depth, *shifts[name], alpha=True)
        for name, each in alpha.items()
        for depth in each
    ]
    found += [PlanarFormat(f"gray{_suffix(depth)}", "gray", depth) for depth in (8, 9, 10, 12, 14, 16)]
    found += [PlanarFormat(f"gbrp{_suffix(depth)}", "rgb", depth) for depth in (8, 9, 10, 12, 14, 16)]
    found += [PlanarFormat(f"gbrap{_suffix(depth)}", "rgb", depth, alpha=True) for depth in (8, 10, 12, 14, 16)]
    return {each.name: each for each in found}


def _suffix(depth: int) -> str:
    return "" if depth == 8 else f"{depth}le"


PLANAR = _formats()
