"""Closed segments of a clip, encoded on the workers and kept as they are finished, so that none is lost."""

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from datasets.errors import OutputIncompleteError
from datasets.frames import FrameReader
from datasets.identity import digest_bytes, digest_file
from datasets.outputs import NOTES, FramesEntry, OutputPlace, StoredFile
from datasets.planar import Planes
from tasks.clip_local import ClipState
from tasks.clip_target import Target
from tasks.context import current_run
from tasks.executor import peak_memory_bytes
from tasks.growing import Growing
from tasks.ops.video.cadence import Timing
from tasks.ops.video.colour import from_rgb
from tasks.ops.video.encoding import encode_segment
from tasks.view import ViewFacts, view_of

SEGMENTS = "segments"


@dataclass(frozen=True)
class Segment:
    """One closed part of a clip.

    Attributes:
        source: The frames.
        place: Where the encoded segment goes.
        timing: Of its frames.
        start, stop: Its first frame, and the one behind its last.
        reach: Frames on each side that have to be read to see some.
        entry: Of the chunks that are finished, where the source is still being made.
        growing: The source itself, where it is being made in this process.
    """

    source: OutputPlace
    place: OutputPlace
    target: Target
    timing: Timing
    number: int
    start: int
    stop: int
    reach: int = 0
    entry: FramesEntry | None = None
    growing: Growing | None = None

    @property
    def name(self) -> str:
        return f"{self.number:06d}.mkv"

    @property
    def digest(self) -> str:
        """Of what is to be encoded besides the frames; a segment that was encoded for other times is of no use."""
        return digest_bytes(f"{self.timing.digest} {self.target}".encode())

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """What has to be read to see some of its frames; those behind the clip's end are nobody's."""
        return max(0, start - self.reach), stop + self.reach


@dataclass(frozen=True)
class _Encoded:
    name: str
    entry: StoredFile
    peak_bytes: int


def segments(
    source: OutputPlace, place: OutputPlace, target: Target, state: ClipState, facts: ViewFacts, frames: int
) -> list[Segment]:
    """All segments of a clip, in their order."""
    edges = [*range(0, state.shape.frames, frames), state.shape.frames]
    return [
        Segment(source, place, target, state.timing.part(start, stop), number, start, stop, facts.reach)
        for number, (start, stop) in enumerate(itertools.pairwise(edges))
    ]


def finished_segments(place: OutputPlace, wanted: Sequence[Segment]) -> dict[str, StoredFile]:
    """Those that were encoded before, by an interrupted run or while the frames were still being made."""
    sizes = place.storage.list_tree(place.inside(SEGMENTS))
    marks = set(place.storage.list_names(place.inside(NOTES)))
    found: dict[str, StoredFile] = {}
    for segment in wanted:
        if f"{segment.name}.json" not in marks:
            continue
        try:
            mark = json.loads(place.storage.read_bytes(place.inside(f"{NOTES}/{segment.name}.json")))
            entry = StoredFile(mark["sha256"], mark["bytes"])
        except (ValueError, TypeError, KeyError):
            continue  # half a mark is no mark
        if sizes.get(segment.name) == entry.bytes and mark.get("of") == segment.digest:
            found[segment.name] = entry
    return found


def encode_segments(item: str, todo: Iterable[Segment], done: dict[str, StoredFile], total: int) -> int:
    """Encode segments and note them; returns the largest resident memory that a worker had."""
    run, peak = current_run(), 0
    for _, made in run.executor.run(_encode, todo):
        done[made.name] = made.entry
        peak = max(peak, made.peak_bytes)
        run.chunk_done(item, "encode", len(done), total)
    return peak


def ready_segments(todo: Iterable[Segment], source: Growing, *, in_process: bool) -> Iterator[Segment]:
    """The segments whose frames are finished, as they come; in the same process those whose first frames are."""
    for segment in todo:
        stop = segment.start + 1 if in_process else segment.stop
        entry = source.wait_for(partial(segment.span, segment.start, stop))
        if entry is None:
            return
        yield replace(segment, growing=source) if in_process else replace(segment, entry=entry)


def _encode(segment: Segment) -> _Encoded:
    """Read, convert and encode one segment, chunk by chunk. Runs on a worker."""
    storage, timing = segment.place.storage, segment.timing
    with storage.temporary_file() as part:
        encode_segment(
            _ahead(_chunks(segment)),
            timing.pts.tolist(),
            timing.durations.tolist(),
            segment.target.info,
            segment.target.settings,
            part,
        )
        entry = StoredFile(digest_file(part), part.stat().st_size)
        storage.move_in(segment.place.inside(f"{SEGMENTS}/{segment.name}"), part)
    mark = json.dumps({"sha256": entry.sha256, "bytes": entry.bytes, "of": segment.digest}).encode()
    storage.write_bytes(segment.place.inside(f"{NOTES}/{segment.name}.json"), mark, durable=False)
    return _Encoded(segment.name, entry, peak_memory_bytes())


def _ahead(chunks: Iterator[Planes]) -> Iterator[Planes]:
    """The same chunks, the next one read and converted while the encoder works on this one."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read") as pool:
        coming = pool.submit(next, chunks, None)
        while (chunk := coming.result()) is not None:
            coming = pool.submit(next, chunks, None)
            yield chunk


def _chunks(segment: Segment) -> Iterator[Planes]:
    """The segment's frames as they are to be encoded, a chunk at a time."""
    reader, start = _reader(segment, segment.start, segment.start + 1), segment.start
    while start < segment.stop:
        stop = min(segment.stop, start - start % reader.spec.chunks[0] + reader.spec.chunks[0])
        if segment.growing is not None:
            reader = _reader(segment, start, stop)
        if segment.target.direct:
            yield reader.read_planes(start, stop)
        else:
            view = view_of(reader)
            _, height, width, _ = view.shape
            rgb = view.read((slice(start, stop), slice(0, height), slice(0, width)))
            yield from_rgb(rgb, segment.target.info)
        start = stop


def _reader(segment: Segment, start: int, stop: int) -> FrameReader:
    """A reader of some frames; waits for them where they are still being made."""
    if segment.growing is None:
        return FrameReader(segment.source, segment.entry)
    entry = segment.growing.wait_for(partial(segment.span, start, stop))
    if entry is None and not segment.growing.finished:
        raise OutputIncompleteError("the frames that were to be encoded did not come")
    return FrameReader(segment.source, entry)
