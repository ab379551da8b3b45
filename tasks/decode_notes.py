"""What decoding keeps about every finished chunk, so that an interrupted run goes on behind it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from datasets.errors import NotFoundError
from datasets.frame_spec import FrameSpec, Index, chunk_key
from datasets.frames import read_finished_planes
from datasets.outputs import NOTES, OutputPlace
from datasets.planar import Planes
from tasks.clip_measures import MeasureNote, Measuring
from tasks.ops.cuts import KEPT
from tasks.ops.video.clip import ClipInfo


@dataclass(frozen=True)
class ChunkNote:
    """One finished chunk: when its frames are shown, and what was measured."""

    pts: list[int]
    measured: MeasureNote

    def save(self, place: OutputPlace, index: Index) -> None:
        data = json.dumps(asdict(self)).encode()
        place.storage.write_bytes(place.inside(_name(index)), data, durable=False)  # half a note is no note

    @classmethod
    def load(cls, place: OutputPlace, index: Index, frames: int) -> "ChunkNote | None":
        """The note of a chunk of so many frames; None if there is none that can be read."""
        try:
            value = json.loads(place.storage.read_bytes(place.inside(_name(index))))
            note = cls([int(each) for each in value["pts"]], MeasureNote(**value["measured"]))
            whole = all(len(each) == frames for each in (note.pts, note.measured.changes))
        except (NotFoundError, ValueError, TypeError, KeyError):
            return None
        return note if whole else None


def _name(index: Index) -> str:
    return f"{NOTES}/{chunk_key(index)}.json"


@dataclass(frozen=True)
class Beginning:
    """The chunks from the clip's first on that an interrupted run finished, and how to go on behind them."""

    notes: tuple[ChunkNote, ...]
    measuring: Measuring

    @property
    def pts(self) -> list[int]:
        return [each for note in self.notes for each in note.pts]

    @classmethod
    def of(cls, place: OutputPlace, spec: FrameSpec, finished: Mapping[str, int], info: ClipInfo) -> "Beginning":
        """As far as chunks and notes reach without a gap; empty if the last frames are not what was written."""
        notes: list[ChunkNote] = []
        for index in spec.indices():
            note = ChunkNote.load(place, index, spec.chunks[0]) if chunk_key(index) in finished else None
            if note is None:
                break
            notes.append(note)
        last = _last_planes(place, spec, finished, len(notes)) if notes else None
        if last is None:
            return cls.none()
        return cls(tuple(notes), Measuring.resumed([note.measured for note in notes], last, info))

    @classmethod
    def none(cls) -> "Beginning":
        return cls((), Measuring())


def _last_planes(place: OutputPlace, spec: FrameSpec, finished: Mapping[str, int], chunks: int) -> Planes | None:
    """The last frames of the chunks, as many as finding cuts looks back to."""
    parts: list[Planes] = []
    for number in range(max(0, chunks - -(-KEPT // spec.chunks[0])), chunks):
        index = (number, 0, 0)
        planes = read_finished_planes(place, spec, index, finished[chunk_key(index)])
        if planes is None:
            return None
        parts.append(planes)
    return {name: np.concatenate([part[name] for part in parts])[-KEPT:] for name in parts[0]}
