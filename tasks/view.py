"""What a stage sees of stored frames: RGB, upright, progressive, whatever they are kept as.

The conversion happens once, on the worker, when frames are read; the store keeps them as they were coded.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from datasets.frame_spec import Box, FrameSpec, Pixels
from datasets.frames import FrameReader
from datasets.outputs import FramesEntry, OutputPlace
from tasks.ops.geometry import Region, Shape
from tasks.ops.video.clip import ClipInfo
from tasks.ops.video.colour import conversion_bytes, to_rgb
from tasks.ops.video.deinterlace import REACH, deinterlace
from tasks.ops.video.hdr import tonemap
from tasks.ops.video.orientation import upright
from tasks.passes import ChunkPass

CLIP = "clip"  # attribute: the clip's facts
DEINTERLACE = "deinterlace"  # attribute: whether the view weaves no fields
TONEMAP = "tonemap"  # attribute: whether the view shows a high dynamic range as an ordinary one


class View(Protocol):
    """Frames as (T, H, W, C) in RGB, straight alpha last."""

    @property
    def shape(self) -> tuple[int, int, int, int]: ...

    @property
    def dtype(self) -> np.dtype[np.uint8] | np.dtype[np.uint16]: ...

    def read(self, box: Box | None = None) -> Pixels:
        """The values of a box of (frames, rows, columns), all channels; the whole without one."""
        ...


@dataclass(frozen=True)
class ViewFacts:
    """How a store is seen: what its entry in the manifest and its attributes say.

    Attributes:
        spec: How the frames are kept.
        clip: The clip's facts; None for photographs and for what stages make of them.
    """

    spec: FrameSpec
    clip: ClipInfo | None

    @classmethod
    def of(cls, entry: FramesEntry) -> "ViewFacts":
        spec = FrameSpec(entry.shape, entry.dtype, entry.chunks[:3], entry.attributes)
        clip = entry.attributes.get(CLIP)
        return cls(spec, ClipInfo.from_json(clip) if isinstance(clip, dict) else None)

    @property
    def converted(self) -> bool:
        """Whether what is kept is not what is seen."""
        return self.spec.planar is not None or (self.clip is not None and self._turned)

    @property
    def _turned(self) -> bool:
        assert self.clip is not None
        return bool(self.clip.rotation or self.clip.mirrored)

    @property
    def deinterlaced(self) -> bool:
        woven = self.clip is not None and self.clip.field_order != "progressive"
        return woven and self.spec.planar is not None and bool(self.spec.attributes.get(DEINTERLACE, True))

    @property
    def reach(self) -> int:
        """Frames on each side of others that have to be read to see these."""
        return REACH if self.deinterlaced else 0

    @property
    def tonemapped(self) -> bool:
        return bool(self.spec.attributes.get(TONEMAP, False))

    @property
    def shape(self) -> tuple[int, int, int, int]:
        frames, height, width, channels = self.spec.shape
        if self.clip is not None and self.clip.rotation in (90, 270):
            height, width = width, height
        return frames, height, width, channels

    def bytes_of(self, frames: int) -> int:
        """Memory in bytes that seeing some frames takes besides their RGB."""
        if not self.converted or self.clip is None:
            return 0
        kept = (frames + 2 * REACH * self.deinterlaced) * self.spec.frame_bytes * 2
        seen = (
            frames * self.spec.shape[1] * self.spec.shape[2] * self.spec.shape[3] * np.dtype(self.spec.dtype).itemsize
        )
        return kept + seen + frames * conversion_bytes(self.clip) * (1 if self.spec.planar else 0)


class ConvertedView:
    """A planar or turned store as RGB."""

    def __init__(self, reader: FrameReader, facts: ViewFacts) -> None:
        assert facts.clip is not None
        self._reader, self._facts, self._clip = reader, facts, facts.clip

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self._facts.shape

    @property
    def dtype(self) -> np.dtype[np.uint8] | np.dtype[np.uint16]:
        return self._reader.dtype

    def read(self, box: Box | None = None) -> Pixels:
        frames, rows, columns = box or tuple(slice(0, extent) for extent in self.shape[:3])
        seen = upright(self._rgb(frames.start, frames.stop), self._clip)
        return np.ascontiguousarray(seen[:, rows, columns])

    def _rgb(self, start: int, stop: int) -> Pixels:
        if self._facts.spec.planar is None:
            _, height, width, _ = self._facts.spec.shape
            return self._reader.read((slice(start, stop), slice(0, height), slice(0, width)))
        if self._facts.deinterlaced:
            low, high = max(0, start - REACH), min(self.shape[0], stop + REACH)
            woven = self._reader.read_planes(low, high)
            planes = deinterlace(woven, self._clip, wanted=slice(start - low, stop - low))
        else:
            planes = self._reader.read_planes(start, stop)
        rgb = to_rgb(planes, self._clip)
        return _ordinary(rgb, self._clip) if self._facts.tonemapped else rgb


def _ordinary(rgb: Pixels, clip: ClipInfo) -> Pixels:
    """A high dynamic range as an ordinary one, in the depth it came in."""
    if rgb.dtype == np.uint16:
        return tonemap(rgb, clip.colour.transfer)
    deep = tonemap(rgb.astype(np.uint16) * 257, clip.colour.transfer)
    return (deep // 257).astype(np.uint8)


def open_view(place: OutputPlace, entry: FramesEntry | None = None) -> View:
    """The frames of an output as stages see them.

    Args:
        entry: Of the chunks that are finished, where the output itself is not.

    Raises:
        OutputIncompleteError: The output has no manifest or holds no frames.
        OutputDamagedError: Its description was changed.
    """
    return view_of(FrameReader(place, entry))


def view_of(reader: FrameReader) -> View:
    """What a reader reads, as stages see it."""
    facts = ViewFacts.of(reader.entry)
    return ConvertedView(reader, facts) if facts.converted else reader


@dataclass(frozen=True)
class ViewedPass:
    """A pass that is charged, in the memory plan, for what seeing its source takes."""

    inner: ChunkPass
    facts: ViewFacts

    def output_shape(self, shape: Shape) -> Shape:
        return self.inner.output_shape(shape)

    def read_region(self, region: Region, shape: Shape) -> Region:
        return self.inner.read_region(region, shape)

    def apply(self, frames: Pixels, *, read: Region, region: Region, shape: Shape) -> Pixels:
        return self.inner.apply(frames, read=read, region=region, shape=shape)

    def working_bytes(self, read: Region, shape: Shape, itemsize: int) -> int:
        return self.inner.working_bytes(read, shape, itemsize) + self.facts.bytes_of(read.frames)
