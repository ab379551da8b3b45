"""Chunk passes: what an array function must see to make one chunk, and nothing else.

A pass is small and picklable: it travels to the workers. The rule at the edges of the picture stays in the array
function; a pass only says how far it looks, and the engine cuts that off where the picture ends.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tasks.ops.depth import Pixels
from tasks.ops.geometry import Region, Shape
from tasks.ops.resample import Kernel, resample_frames, resample_input_span


class ChunkPass(Protocol):
    """One array function, or several fused, mapped over the chunks of a clip."""

    def output_shape(self, shape: Shape) -> Shape:
        """The shape made from a source of this shape."""
        ...

    def read_region(self, region: Region, shape: Shape) -> Region:
        """What must be read of a source of this shape to make a region of the output."""
        ...

    def apply(self, frames: Pixels, *, read: Region, region: Region, shape: Shape) -> Pixels:
        """Make a region of the output from what was read."""
        ...

    def working_bytes(self, read: Region, shape: Shape, itemsize: int) -> int:
        """Memory in bytes that ``apply`` needs besides its input."""
        ...


@dataclass(frozen=True)
class LocalPass:
    """An array function with a fixed halo that keeps the size or enlarges it by a whole factor.

    Attributes:
        function: (T, H, W, C) to (T, scale*H, scale*W, channels), same dtype, picklable.
        halo_pixels: Input pixels on each side that an output pixel depends on.
        halo_frames: Frames on each side.
        scale: Output pixels per input pixel along one side.
        channels: Channels of the output; None: those of the input.
        memory_factor: Working bytes per output value, measured for the function.
        fixed_bytes: What the function takes besides, whatever its input.
        tile: Where the function's halo holds less than all it sees: side in input pixels of the tiles, on one grid for
            every picture, in which it is called, so that the result does not depend on what is asked for.
    """

    function: Callable[[Pixels], Pixels]
    halo_pixels: int = 0
    halo_frames: int = 0
    scale: int = 1
    channels: int | None = None
    memory_factor: float = 16.0
    fixed_bytes: int = 0
    tile: int | None = None

    def output_shape(self, shape: Shape) -> Shape:
        return Shape(shape.frames, shape.height * self.scale, shape.width * self.scale, self.channels or shape.channels)

    def read_region(self, region: Region, shape: Shape) -> Region:
        return self._core(region, shape).grown(self.halo_frames, self.halo_pixels, shape)

    def _core(self, region: Region, shape: Shape) -> Region:
        """The input pixels under a region of the output, in whole tiles."""
        s, tile = self.scale, self.tile or 1
        y0, x0 = (edge // s // tile * tile for edge in (region.y0, region.x0))
        y1, x1 = (-(-edge // (s * tile)) * tile for edge in (region.y1, region.x1))
        return Region(region.t0, region.t1, y0, min(y1, shape.height), x0, min(x1, shape.width))

    def apply(self, frames: Pixels, *, read: Region, region: Region, shape: Shape) -> Pixels:
        if self.tile is None:
            return self.function(frames)[region.inside(self._scaled(read))]
        core = self._core(region, shape)
        made: Pixels | None = None
        for tile in core.tiles(self.tile):
            seen = tile.grown(self.halo_frames, self.halo_pixels, shape)
            part = self.function(frames[seen.inside(read)])[self._scaled(tile).inside(self._scaled(seen))]
            if made is None:
                sides = self.output_shape(Shape(core.frames, core.height, core.width, shape.channels))
                made = np.empty(sides.as_tuple(), part.dtype)
            made[self._scaled(tile).inside(self._scaled(core))] = part
        assert made is not None
        return made[region.inside(self._scaled(core))]

    def _scaled(self, region: Region) -> Region:
        edges = (edge * self.scale for edge in (region.y0, region.y1, region.x0, region.x1))
        return Region(region.t0, region.t1, *edges)

    def working_bytes(self, read: Region, shape: Shape, itemsize: int) -> int:
        values = read.frames * read.height * read.width * shape.channels * self.scale**2
        side = read.height * read.width if self.tile is None else (self.tile + 2 * self.halo_pixels) ** 2
        at_once = min(values, read.frames * side * shape.channels * self.scale**2)
        return self.fixed_bytes + int(at_once * self.memory_factor) + values * itemsize


@dataclass(frozen=True)
class ResamplePass:
    """Antialiased resampling to an exact size; every output pixel is the same however the picture is tiled."""

    height: int
    width: int
    kernel: Kernel = "lanczos3"

    def output_shape(self, shape: Shape) -> Shape:
        return Shape(shape.frames, self.height, self.width, shape.channels)

    def read_region(self, region: Region, shape: Shape) -> Region:
        y0, y1 = resample_input_span(
            region.y0, region.y1, in_size=shape.height, out_size=self.height, kernel=self.kernel
        )
        x0, x1 = resample_input_span(region.x0, region.x1, in_size=shape.width, out_size=self.width, kernel=self.kernel)
        return Region(region.t0, region.t1, y0, y1, x0, x1)

    def apply(self, frames: Pixels, *, read: Region, region: Region, shape: Shape) -> Pixels:
        return resample_frames(
            frames,
            read=read,
            region=region,
            in_size=(shape.height, shape.width),
            out_size=(self.height, self.width),
            kernel=self.kernel,
        )

    def working_bytes(self, read: Region, shape: Shape, itemsize: int) -> int:
        return read.frames * read.height * read.width * shape.channels * 16  # float32 in, premultiplied, rows, out


@dataclass(frozen=True)
class FusedPass:
    """Several passes in one: one read, several array functions, one write."""

    passes: tuple[ChunkPass, ...]

    def _shapes(self, shape: Shape) -> list[Shape]:
        shapes = [shape]
        for each in self.passes:
            shapes.append(each.output_shape(shapes[-1]))
        return shapes

    def _regions(self, region: Region, shape: Shape) -> list[Region]:
        """What every pass reads, first to last, and the region asked for at the end."""
        regions = [region]
        for each, source in zip(reversed(self.passes), reversed(self._shapes(shape)[:-1]), strict=True):
            regions.append(each.read_region(regions[-1], source))
        return regions[::-1]

    def output_shape(self, shape: Shape) -> Shape:
        return self._shapes(shape)[-1]

    def read_region(self, region: Region, shape: Shape) -> Region:
        return self._regions(region, shape)[0]

    def apply(self, frames: Pixels, *, read: Region, region: Region, shape: Shape) -> Pixels:
        needed = self._regions(region, shape)
        held = read
        for each, source, wanted in zip(self.passes, self._shapes(shape)[:-1], needed[1:], strict=True):
            frames = each.apply(frames, read=held, region=wanted, shape=source)
            held = wanted
        return frames

    def working_bytes(self, read: Region, shape: Shape, itemsize: int) -> int:
        """The hungriest pass, with the largest tile it will see held beside it."""
        peak, held = 0, read
        for each, source in zip(self.passes, self._shapes(shape)[:-1], strict=True):
            peak = max(peak, each.working_bytes(held, source, itemsize))
            made = each.output_shape(source)
            ratio_y, ratio_x = made.height / source.height, made.width / source.width
            held = Region(
                held.t0, held.t1, 0, min(made.height, round(held.height * ratio_y + 1)),
                0, min(made.width, round(held.width * ratio_x + 1)),
            )  # fmt: skip
        return peak


def fuse(passes: Sequence[ChunkPass]) -> ChunkPass:
    """One pass that does what these do one after the other."""
    return passes[0] if len(passes) == 1 else FusedPass(tuple(passes))
