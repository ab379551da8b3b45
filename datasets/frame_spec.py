"""What a frame store is to hold: its shape, its layout, its chunks."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from numpy.typing import NDArray

from datasets.errors import FrameShapeError
from datasets.planar import PLANAR, PlanarFormat

DTYPES = ("uint8", "uint16")
STILL_TILE = 1024  # pixels; larger stills are cut into tiles of this side
CLIP_CHUNK = 8  # frames
SRGB = {"primaries": "bt709", "transfer": "srgb", "matrix": "rgb", "range": "full"}
PIXELS = "pixels"
LAYOUT = "layout"  # the attribute that says how frames are kept: "planar", or RGB without it
PIXEL_FORMAT = "pixel_format"
KEPT = "kept"  # the attribute of stores that are compressed to be kept; those of a run's own are not

Pixels = NDArray[Any]  # uint8 or uint16
Index = tuple[int, int, int]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class FrameSpec:
    """What a frame store is to hold.

    Attributes:
        shape: (T, H, W, C), every extent at least 1; of planar frames the size as coded and the channels of their view
            in RGB.
        dtype: ``uint8`` or ``uint16``.
        chunks: (frames, height, width) of a chunk; channels are never cut, planar frames are always whole.
        attributes: JSON-ready: layout, colour, time base, sample aspect, source digest.
    """

    shape: tuple[int, int, int, int]
    dtype: str
    chunks: tuple[int, int, int]
    attributes: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or min(self.chunks) < 1 or self.dtype not in DTYPES:
            raise FrameShapeError(
                f"frames are (T, H, W, C) of at least 1 each in {' or '.join(DTYPES)}, got {self.shape} {self.dtype}",
                shape=list(self.shape),
                dtype=self.dtype,
            )
        if self.planar is not None and self.chunks[1:] != self.shape[1:3]:
            raise FrameShapeError("planar frames are kept whole", shape=list(self.shape), chunks=list(self.chunks))

    @property
    def planar(self) -> PlanarFormat | None:
        """The format of the planes; None where pixels are kept as RGB."""
        return PLANAR[str(self.attributes[PIXEL_FORMAT])] if self.attributes.get(LAYOUT) == "planar" else None

    @property
    def kept(self) -> bool:
        """Whether the pixels are compressed, to lie for long."""
        return bool(self.attributes.get(KEPT, True))

    @property
    def arrays(self) -> dict[str, tuple[int, ...]]:
        """Shape of every Zarr array that holds pixels, by its name."""
        planar = self.planar
        if planar is None:
            return {PIXELS: self.shape}
        frames, height, width, _ = self.shape
        return {plane: (frames, *planar.plane_size(plane, height, width)) for plane in planar.planes}

    def array_chunks(self, name: str) -> tuple[int, ...]:
        """Chunk shape of one of the arrays."""
        if name == PIXELS:
            return (*self.chunks, self.shape[3])
        return (self.chunks[0], *self.arrays[name][1:])

    def array_box(self, name: str, index: Index) -> tuple[slice, ...]:
        """The slices of one chunk in one of the arrays."""
        frames, rows, columns = self.box(index)
        if name == PIXELS:
            return frames, rows, columns
        return frames, slice(None), slice(None)

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame, not compressed."""
        _, height, width, channels = self.shape
        planar = self.planar
        if planar is not None:
            return planar.frame_bytes(height, width)
        return height * width * channels * (2 if self.dtype == "uint16" else 1)

    @property
    def raw_bytes(self) -> int:
        """Bytes of all frames, not compressed; stores that are not compressed have whole chunks to the end."""
        frames = self.shape[0] if self.kept else self.grid[0] * self.chunks[0]
        return frames * self.frame_bytes

    @property
    def grid(self) -> tuple[int, int, int]:
        """Number of chunks along frames, rows and columns."""
        t, y, x = (-(-extent // chunk) for extent, chunk in zip(self.shape[:3], self.chunks, strict=True))
        return t, y, x

    @property
    def count(self) -> int:
        """Number of chunks."""
        t, y, x = self.grid
        return t * y * x

    def indices(self) -> Iterator[Index]:
        """All chunks, in the order of the frames."""
        t, y, x = self.grid
        return product(range(t), range(y), range(x))

    def box(self, index: Index) -> Box:
        """The slices of one chunk."""
        t, y, x = (
            slice(i * chunk, min((i + 1) * chunk, extent))
            for i, chunk, extent in zip(index, self.chunks, self.shape[:3], strict=True)
        )
        return t, y, x


def still_spec(height: int, width: int, channels: int, dtype: str, **attributes: object) -> FrameSpec:
    """The frame store of one photograph, cut into tiles when it is large."""
    colour = {"colour": SRGB, "bit_depth": 16 if dtype == "uint16" else 8, "alpha": channels == 4}
    return FrameSpec(
        (1, height, width, channels),
        dtype,
        (1, min(height, STILL_TILE), min(width, STILL_TILE)),
        {**colour, "time_base": "1/1", "sample_aspect": "1/1", **attributes},
    )


def planar_spec(frames: int, height: int, width: int, planar: PlanarFormat, **attributes: object) -> FrameSpec:
    """The frame store of a clip in the decoder's own planes, not compressed: a run's own, for a while."""
    return FrameSpec(
        (frames, height, width, planar.channels),
        planar.dtype,
        (min(frames, CLIP_CHUNK), height, width),
        {KEPT: False, LAYOUT: "planar", PIXEL_FORMAT: planar.name, **attributes},
    )


def rgb_spec(frames: int, height: int, width: int, channels: int, dtype: str, **attributes: object) -> FrameSpec:
    """The frame store of a clip in RGB, not compressed."""
    return FrameSpec(
        (frames, height, width, channels), dtype, (min(frames, CLIP_CHUNK), height, width), {KEPT: False, **attributes}
    )


def chunk_key(index: Index) -> str:
    return ".".join(map(str, index))
