"""From the decoder into the store: chunks are measured and written while the next ones are decoded."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Self, cast

import numpy as np

from datasets.frame_spec import FrameSpec, Index, chunk_key
from datasets.frames import finished_chunks, frames_entry, resize_frames, write_chunk, write_times
from datasets.outputs import FramesEntry, OutputPlace
from datasets.planar import Planes
from tasks.clip_measures import ClipMeasures, MeasureNote, Measuring
from tasks.decode_notes import Beginning, ChunkNote
from tasks.growing import Growing
from tasks.ops.video.cadence import Timing, durations_of
from tasks.ops.video.decoding import DecodedFrame
from tasks.ops.video.reading import Clip

AHEAD = 2  # chunks that are measured and written while the next one is decoded


class DecodedFrames:
    """The frames of one clip on their way into the store; what an interrupted run finished stays as it is."""

    def __init__(
        self,
        place: OutputPlace,
        spec: FrameSpec,
        promised: Timing,
        clip: Clip,
        growing: Growing,
        report: Callable[[int, int], None],
    ) -> None:
        """
        Args:
            place: Where they go.
            spec: How they are laid out there; their number is what the packets promise.
            promised: When they are shown by what the packets promise.
            clip: Where they come from.
            growing: Told of every chunk.
            report: Told how many chunks are finished and how many there are.
        """
        self._place, self._spec, self._promised, self._clip = place, spec, promised, clip
        self._growing, self._report = growing, report
        wanted = set(map(chunk_key, spec.indices()))  # what lies behind is cut off when the store grows again
        self._checksums = {key: crc for key, crc in finished_chunks(place, spec).items() if key in wanted}
        self._measuring, self._pts, self._short = Measuring(), list[int](), cast("Planes | None", None)
        self._chunks = 0
        self._under_way: list[tuple[str, Future[int]]] = []
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        pools = (ThreadPoolExecutor(max_workers=1, thread_name_prefix=name) for name in ("measure", "write"))
        self._measurer, self._writer = (self._closing.enter_context(pool) for pool in pools)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Wait for what is being written: nothing may come after the output's lease was given back."""
        self._closing.close()

    @property
    def count(self) -> int:
        """Frames so far."""
        return len(self._pts)

    def take(self) -> None:
        """Decode everything behind what is finished; all of it again if only that tells what is wrong with it."""
        self._take(Beginning.of(self._place, self._spec, self._checksums, self._clip.info))
        if self._pts and not self._clip.seen_whole(self._pts[0], len(self._pts)):
            self._take(Beginning.none())

    def done(self) -> tuple[FramesEntry, Timing]:
        """Write what is left and the times; the store has exactly the frames that came."""
        self._spec = resize_frames(self._place, self._spec, len(self._pts))
        if self._short is not None:
            index = (self._chunks, 0, 0)
            self._checksums[chunk_key(index)] = write_chunk(self._place, self._spec, index, self._short)
        pts = np.array(self._pts, dtype=np.int64)
        timing = Timing(pts, durations_of(pts, int(self._promised.durations[-1])), self._clip.info.time_base)
        if not timing.same_as(self._promised):
            self._growing.end(broken=True)
        write_times(self._place, timing.pts, timing.durations)
        keys = set(map(chunk_key, self._spec.indices()))
        return frames_entry(self._spec, {key: crc for key, crc in self._checksums.items() if key in keys}), timing

    def measures(self, timing: Timing) -> ClipMeasures:
        """What was measured on the way; to be asked once, in the end."""
        return self._measuring.done((timing.pts - timing.pts[0]) * float(timing.time_base))

    def _take(self, beginning: Beginning) -> None:
        self._measuring, self._pts, self._short = beginning.measuring, beginning.pts, None
        self._chunks = len(beginning.notes)
        for number in range(self._chunks):
            key = chunk_key((number, 0, 0))
            self._growing.add(key, self._checksums[key])
        self._growing.decide(*self._measuring.decided)
        coming = self._clip.frames(len(self._pts), after=self._pts[-1] if self._pts else None)
        measured: Future[MeasureNote] | None = None
        while chunk := _gathered(islice(coming, self._spec.chunks[0]), self._spec):
            planes, pts = chunk
            measured = self._measurer.submit(self._measure, planes)
            self._add(planes, pts, measured)
            del chunk, planes  # before the next ones are gathered
        self._settle(0)
        if measured is not None:
            measured.result()

    def _measure(self, planes: Planes) -> MeasureNote:
        self._measuring.add(planes, self._clip.info)
        self._growing.decide(*self._measuring.decided)
        return self._measuring.note()

    def _add(self, planes: Planes, pts: list[int], measured: "Future[MeasureNote]") -> None:
        """Take the next chunk; only the last one may be short."""
        if not np.array_equal(self._promised.pts[len(self._pts) : len(self._pts) + len(pts)], pts):
            self._growing.end(broken=True)
        self._pts += pts
        if len(pts) < self._spec.chunks[0]:
            self._short = planes
            return
        index, self._chunks = (self._chunks, 0, 0), self._chunks + 1
        grown = self._chunks * self._spec.chunks[0]
        if grown > self._spec.shape[0]:  # more frames than packets promised
            self._settle(0)
            self._spec = resize_frames(self._place, self._spec, grown)
        self._settle(AHEAD - 1)
        write = partial(self._write, self._spec, index, planes, pts, measured, clean=self._clip.clean)
        self._under_way.append((chunk_key(index), self._writer.submit(write)))
        self._report(self._chunks, self._spec.grid[0])

    def _write(
        self,
        spec: FrameSpec,
        index: Index,
        planes: Planes,
        pts: list[int],
        measured: "Future[MeasureNote]",
        *,
        clean: bool,
    ) -> int:
        """Write a chunk unless it is there, then its note, so that a note never speaks of what is missing."""
        known = self._checksums.get(chunk_key(index))
        crc = write_chunk(self._place, spec, index, planes) if known is None else known
        note = measured.result()
        if clean:  # else only a run from the start tells what is wrong with the clip
            ChunkNote(pts, note).save(self._place, index)
        self._growing.add(chunk_key(index), crc)
        return crc

    def _settle(self, left: int) -> None:
        while len(self._under_way) > left:
            key, written = self._under_way.pop(0)
            self._checksums[key] = written.result()


def _gathered(frames: Iterable[DecodedFrame], spec: FrameSpec) -> tuple[Planes, list[int]] | None:
    """The next frames in one array for each plane, and when they are shown; None if there are no more."""
    planes = {name: np.empty(spec.array_chunks(name), spec.dtype) for name in spec.arrays}
    pts = list[int]()
    for number, frame in enumerate(frames):
        for name, values in planes.items():
            values[number] = frame.planes[name]
        pts.append(frame.pts)
    return ({name: values[: len(pts)] for name, values in planes.items()}, pts) if pts else None
