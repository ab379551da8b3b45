"""The one engine that maps an array function over the chunks of a frame store.

It knows the halo, the memory and disk plan, what an interrupted run already finished, retries and worker resources.
What is stored is a chunk, what is computed is a block of whole chunks, so that their common halo is computed once.
Every chunk of the target is written once, by one worker.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from datasets.errors import FrameShapeError
from datasets.frame_spec import FrameSpec, Index, Pixels, chunk_key
from datasets.frames import FrameReader, Times, create_frames, finished_chunks, frames_entry, write_chunk
from datasets.outputs import FramesEntry, OutputPlace
from tasks.executor import Executor, Resources, peak_memory_bytes
from tasks.ops.geometry import Region, Shape
from tasks.passes import ChunkPass
from tasks.plan import HALO_SHARE, block_region, plan_blocks, plan_chunks, refuse_disk

Report = Callable[[int, int], None]  # chunks done, chunks in all


def _silent(done: int, total: int) -> None:
    """For callers that show no progress."""


@dataclass(frozen=True)
class Limits:
    """What a plan may use.

    Attributes:
        memory_bytes: Per worker.
        disk_reserve_bytes: Disk to be left free.
        halo_share: Most pixels that may be read again as halos, over those of the source, before chunks are computed
            together.
    """

    memory_bytes: int
    disk_reserve_bytes: int = 0
    halo_share: float = HALO_SHARE


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
class _BlockTask:
    source: OutputPlace
    target: OutputPlace
    spec: FrameSpec
    chunk_pass: ChunkPass
    region: Region
    missing: tuple[Index, ...]


@dataclass(frozen=True)
class _BlockResult:
    checksums: Mapping[str, int]
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
    times: Times | None = None,
) -> ChunkWork:
    """Map a pass over a source and leave all chunks of the target written, the manifest not yet.

    Args:
        source: A finished output with frames.
        target: Where the result goes; chunks that an interrupted run left there are kept.
        spec: What the target holds; its chunks are an upper bound, the plan may make them smaller.
        report: Told how many chunks are finished and how many there are, after each.
        times: When the frames of the result are shown and for how long; those of a photograph without.

    Raises:
        FrameShapeError: The pass does not make the shape that ``spec`` promises.
        PlanTooLargeError, DiskTooSmallError: It cannot fit; nothing was written.
        OutputDamagedError: A chunk of the source is missing or damaged.
    """
    from tasks.view import ViewedPass, ViewFacts  # with FFmpeg; a run whose stages are all cached needs neither

    entry = FrameReader(source).entry
    facts = ViewFacts.of(entry)
    shape = Shape(*facts.shape)
    chunk_pass = ViewedPass(chunk_pass, facts) if facts.converted else chunk_pass
    _check_shape(chunk_pass.output_shape(shape), spec)
    plan = plan_chunks(chunk_pass, shape, spec.dtype, spec.chunks, limits.memory_bytes)
    refuse_disk(target.storage, spec.raw_bytes, limits.disk_reserve_bytes)
    spec = create_frames(target, replace(spec, chunks=plan.chunks), times)
    blocks = plan_blocks(
        chunk_pass, shape, spec, limits.memory_bytes, workers=executor.workers, halo_share=limits.halo_share
    )
    checksums = finished_chunks(target, spec)
    reused, total, peak = len(checksums), len(list(spec.indices())), 0
    todo = [
        _BlockTask(source, target, spec, chunk_pass, block_region(spec, blocks.size, block), missing)
        for block, indices in blocks.members(spec)
        if (missing := tuple(index for index in indices if chunk_key(index) not in checksums))
    ]
    for _, result in executor.run(_make_block, todo, resources=resources):
        checksums.update(result.checksums)
        peak = max(peak, result.peak_bytes)
        report(len(checksums), total)
    return ChunkWork(frames_entry(spec, checksums), total - reused, reused, blocks.peak_bytes, peak)


def _make_block(task: _BlockTask) -> _BlockResult:
    """Read and compute one block, write those of its chunks that are missing. Runs on a worker.

    The whole block is computed even if some of its chunks are there: what floating point makes of a pixel may depend on
    the size of the array it stands in.
    """
    from tasks.view import open_view

    view = open_view(task.source)
    shape, region = Shape(*view.shape), task.region
    read = task.chunk_pass.read_region(region, shape)
    made: Pixels = task.chunk_pass.apply(view.read(read.slices), read=read, region=region, shape=shape)
    checksums: dict[str, int] = {}
    for index in task.missing:
        chunk = Region(*(edge for part in task.spec.box(index) for edge in (part.start, part.stop)))
        checksums[chunk_key(index)] = write_chunk(task.target, task.spec, index, made[chunk.inside(region)])
    return _BlockResult(checksums, peak_memory_bytes())


def _check_shape(made: Shape, spec: FrameSpec) -> None:
    if made.as_tuple() != spec.shape:
        raise FrameShapeError(
            f"the pass makes {made.as_tuple()}, the target holds {spec.shape}", shape=list(spec.shape)
        )
