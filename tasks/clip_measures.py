"""Per-frame measures of a clip and its cuts, taken once, while it is decoded; from small copies of the planes."""

import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.frame_spec import Pixels
from datasets.outputs import OutputPlace, StoredFile
from datasets.planar import PLANAR, Planes
from tasks.ops.cuts import CutFinder
from tasks.ops.video.clip import ClipInfo
from tasks.ops.video.colour import to_rgb
from tasks.ops.video.posters import FrameMeasures, concatenate, glance, measure_frames

MEASURES = "measures.npz"
SMALL_SIDE = 256  # px of the longer side of what is measured


@dataclass(frozen=True)
class ClipMeasures:
    """Measures of all frames, and when these are shown.

    Attributes:
        frames: One number each per frame.
        times_s: float64 (T,), seconds from the first frame.
        cuts: Indices of the first frames of all shots but the first.
    """

    frames: FrameMeasures
    times_s: NDArray[np.float64]
    cuts: tuple[int, ...] = ()

    def save(self, place: OutputPlace) -> StoredFile:
        """Keep them as a file of an output; the same measures give the same bytes."""
        arrays = {each.name: getattr(self.frames, each.name) for each in fields(FrameMeasures)}
        stream = io.BytesIO()
        np.savez(stream, times_s=self.times_s, cuts=np.array(self.cuts, np.int64), **arrays)
        return place.write_file(MEASURES, stream.getvalue())

    @classmethod
    def load(cls, place: OutputPlace, files: Mapping[str, StoredFile]) -> "ClipMeasures":
        """Those that an output keeps.

        Raises:
            OutputDamagedError: They are not what was written.
        """
        with np.load(io.BytesIO(place.read_file(MEASURES, files[MEASURES]))) as held:
            frames = FrameMeasures(*(held[each.name] for each in fields(FrameMeasures)))
            return cls(frames, held["times_s"], tuple(int(cut) for cut in held["cuts"]))


@dataclass(frozen=True)
class MeasureNote:
    """What was measured in one chunk, as numbers that JSON keeps exactly.

    Attributes:
        measures: The fields of ``FrameMeasures``, a number for every frame each.
        changes: As the cut finder has them.
        cuts: Those that were certain when the chunk had been seen, of the whole clip until then.
    """

    measures: dict[str, list[float]]
    changes: list[float]
    cuts: list[int]


class Measuring:
    """Takes the measures of chunks in the order of the frames; holds a few numbers for each frame."""

    def __init__(self) -> None:
        self._parts: list[FrameMeasures] = []
        self._before: NDArray[np.float32] | None = None
        self._cuts = CutFinder()

    def add(self, planes: Planes, info: ClipInfo) -> None:
        """Measure the next chunk, (T, h, w) each."""
        small = small_rgb(planes, info)
        self._parts.append(measure_frames(small, before=self._before))
        self._before = glance(small[-1])
        self._cuts.add(small)

    @classmethod
    def resumed(cls, notes: Sequence[MeasureNote], last: Planes, info: ClipInfo) -> "Measuring":
        """One that goes on behind chunks whose notes were kept.

        Args:
            notes: Of all chunks so far; at least one.
            last: Planes of the last ``KEPT`` frames of these chunks, or of all if they are fewer.
        """
        measuring, small = cls(), small_rgb(last, info)
        measuring._parts = [FrameMeasures.from_json(note.measures) for note in notes]
        measuring._before = glance(small[-1])
        changes = list(itertools.chain.from_iterable(note.changes for note in notes))
        measuring._cuts = CutFinder.resumed(changes, notes[-1].cuts, small)
        return measuring

    def note(self) -> MeasureNote:
        """What to keep of the chunk that was added last, to go on behind it."""
        part = self._parts[-1]
        measures = {each.name: getattr(part, each.name).tolist() for each in fields(FrameMeasures)}
        return MeasureNote(measures, self._cuts.changes[-len(part) :], list(self._cuts.found))

    @property
    def decided(self) -> tuple[int, tuple[int, ...]]:
        """Frames before which all cuts are known, and these cuts."""
        return self._cuts.decided, self._cuts.found

    def done(self, times_s: NDArray[np.float64]) -> ClipMeasures:
        return ClipMeasures(concatenate(self._parts), times_s, self._cuts.cuts())


def small_rgb(planes: Planes, info: ClipInfo) -> Pixels:
    """Small copies of frames in RGB, (T, h, w, 3|4): every plane shrunk by area, then converted."""
    ratio = min(1.0, SMALL_SIDE / max(info.height, info.width))
    height, width = (max(1, round(side * ratio)) for side in (info.height, info.width))
    form = replace(PLANAR[info.pixel_format], name="", shift_x=0, shift_y=0)
    name = next(each.name for each in PLANAR.values() if replace(each, name="") == form)
    shrunk = {plane: np.stack([_shrunk(each, height, width) for each in values]) for plane, values in planes.items()}
    return to_rgb(shrunk, replace(info, pixel_format=name, height=height, width=width))


def _shrunk(image: Pixels, height: int, width: int) -> Pixels:
    if image.shape[:2] == (height, width):
        return image
    made = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(made, dtype=image.dtype)


def shots(cuts: Sequence[int], total: int) -> list[tuple[int, int]]:
    """Half open ranges of frames between cuts."""
    edges = [0, *(cut for cut in cuts if 0 < cut < total), total]
    return list(itertools.pairwise(edges))
