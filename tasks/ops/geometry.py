"""Boxes of a clip in frames and pixels, half open, and the arithmetic of halos."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """The shape of a clip: (T, H, W, C). A photograph has T = 1."""

    frames: int
    height: int
    width: int
    channels: int

    def as_tuple(self) -> tuple[int, int, int, int]:
        return (self.frames, self.height, self.width, self.channels)

    @property
    def whole(self) -> "Region":
        return Region(0, self.frames, 0, self.height, 0, self.width)


@dataclass(frozen=True, order=True)
class Region:
    """Frames ``t0 <= t < t1``, rows ``y0 <= y < y1``, columns ``x0 <= x < x1``."""

    t0: int
    t1: int
    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def frames(self) -> int:
        return self.t1 - self.t0

    @property
    def height(self) -> int:
        return self.y1 - self.y0

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        return slice(self.t0, self.t1), slice(self.y0, self.y1), slice(self.x0, self.x1)

    def grown(self, frames: int, pixels: int, within: Shape) -> "Region":
        """This region and its neighbourhood, cut off at the edges of the clip."""
        return Region(
            max(0, self.t0 - frames),
            min(within.frames, self.t1 + frames),
            max(0, self.y0 - pixels),
            min(within.height, self.y1 + pixels),
            max(0, self.x0 - pixels),
            min(within.width, self.x1 + pixels),
        )

    def inside(self, outer: "Region") -> tuple[slice, slice, slice]:
        """Where this region lies in an array that holds ``outer``."""
        return (
            slice(self.t0 - outer.t0, self.t1 - outer.t0),
            slice(self.y0 - outer.y0, self.y1 - outer.y0),
            slice(self.x0 - outer.x0, self.x1 - outer.x0),
        )

    def tiles(self, side: int) -> Iterator["Region"]:
        """This region cut at the multiples of a side, row by row; frames stay together."""
        for y in range(self.y0 // side * side, self.y1, side):
            for x in range(self.x0 // side * side, self.x1, side):
                yield Region(
                    self.t0, self.t1, max(y, self.y0), min(y + side, self.y1), max(x, self.x0), min(x + side, self.x1)
                )

    def overlaps(self, other: "Region") -> bool:
        return (
            self.t0 < other.t1 and other.t0 < self.t1
            and self.y0 < other.y1 and other.y0 < self.y1
            and self.x0 < other.x1 and other.x0 < self.x1
        )  # fmt: skip
