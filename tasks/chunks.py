"""The one engine that maps an array function over the chunks of a frame store.

It knows the halo, the memory and disk plan, what an interrupted run already finished, retries and worker resources.
Every chunk of the target is written once, by one worker.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from datasets.errors import FrameShapeError
from datasets.frames import (
    FrameReader,
    FrameSpec,
    Index,
    Pixels,
    chunk_key,
    create_frames,
    finished_chunks,
    frames_entry,
    write_chunk,
)
from datasets.outputs import FramesEntry, OutputPlace
from tasks.executor import Executor, Resources, peak_memory_bytes
from tasks.ops.geometry import Region, Shape
from tasks.passes import ChunkPass
from tasks.plan import plan_chunks, refuse_disk

Report = Callable[[int, int], None]  # chunks done, chunks in all


def _silent(done: int, total: int) -> None:
    """For callers that show no progress."""


@dataclass(frozen=True)
class Limits:
    """What a plan may use: bytes of memory per worker, bytes of disk to be left free."""

    memory_bytes: int
    disk_reserve_bytes: int = 0


@dataclass(frozen=True)
class ChunkWork:
    """What mapping a pass came to.

    Attributes:
        entry: The finished frames, for the manifest.
        made: Chunks computed now.
        reused: Chunks found finished by an interrupted run.
        planned_bytes: Memory the plan allows one worker.
        peak_bytes: The largest resident memory a worker had.
    """

    entry: FramesEntry
    made: int
    reused: int
    planned_bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class _ChunkTask:
    source: OutputPlace
    target: OutputPlace
    spec: FrameSpec
    chunk_pass: ChunkPass
    index: Index


@dataclass(frozen=True)
class _ChunkResult:
    index: Index
    crc32c: int
    peak_bytes: int


def run_chunks(
    source: OutputPlace,
    target: OutputPlace,
    chunk_pass: ChunkPass,
    spec: FrameSpec,
    *,
    executor: Executor,
    limits: Limits,
    resources: Resources | None = None,
    report: Report = _silent,
) -> ChunkWork:
    """Map a pass over a source and leave all chunks of the target written, the manifest not yet.

    Args:
        source: A finished output with frames.
        target: Where the result goes; chunks that an interrupted run left there are kept.
        spec: What the target holds; its chunks are an upper bound, the plan may make them smaller.
        report: Told how many chunks are finished and how many there are, after each.

    Raises:
        FrameShapeError: The pass does not make the shape that ``spec`` promises.
        PlanTooLargeError, DiskTooSmallError: It cannot fit; nothing was written.
        OutputDamagedError: A chunk of the source is missing or damaged.
    """
    reader = FrameReader(source)
    shape = Shape(*reader.shape)
    _check_shape(chunk_pass.output_shape(shape), spec)
    plan = plan_chunks(chunk_pass, shape, spec.dtype, spec.chunks, limits.memory_bytes)
    refuse_disk(target.storage, _raw_bytes(spec), limits.disk_reserve_bytes)
    spec = create_frames(target, replace(spec, chunks=plan.chunks))
    checksums = finished_chunks(target, spec)
    reused, peak = len(checksums), 0
    todo = [
        _ChunkTask(source, target, spec, chunk_pass, index)
        for index in spec.indices()
        if chunk_key(index) not in checksums
    ]
    for _, result in executor.run(_make_chunk, todo, resources=resources):
        checksums[chunk_key(result.index)] = result.crc32c
        peak = max(peak, result.peak_bytes)
        report(len(checksums), reused + len(todo))
    return ChunkWork(frames_entry(spec, checksums), len(todo), reused, plan.peak_bytes, peak)


def _make_chunk(task: _ChunkTask) -> _ChunkResult:
    """Read, compute, write one chunk. Runs on a worker."""
    reader = FrameReader(task.source)
    shape = Shape(*reader.shape)
    (t, y, x) = task.spec.box(task.index)
    region = Region(t.start, t.stop, y.start, y.stop, x.start, x.stop)
    read = task.chunk_pass.read_region(region, shape)
    made: Pixels = task.chunk_pass.apply(reader.read(read.slices), read=read, region=region, shape=shape)
    crc = write_chunk(task.target, task.spec, task.index, made)
    return _ChunkResult(task.index, crc, peak_memory_bytes())


def _check_shape(made: Shape, spec: FrameSpec) -> None:
    if made.as_tuple() != spec.shape:
        raise FrameShapeError(
            f"the pass makes {made.as_tuple()}, the target holds {spec.shape}", shape=list(spec.shape)
        )


def _raw_bytes(spec: FrameSpec) -> int:
    t, h, w, c = spec.shape
    return t * h * w * c * (2 if spec.dtype == "uint16" else 1)
