"""The one engine that maps an array function over the chunks of a frame store.

It knows the halo, the memory and disk plan, what an interrupted run already finished, retries and worker resources.
What is stored is a chunk, what is computed is a block of whole chunks, so that their common halo is computed once.
Every chunk of the target is written once, by one worker.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from datasets.errors import FrameShapeError
from datasets.frame_spec import FrameSpec, Index, Pixels, chunk_key
from datasets.frames import FrameReader, Times, create_frames, finished_chunks, frames_entry, write_chunk
from datasets.outputs import FramesEntry, OutputPlace
from tasks.executor import Executor, Resources, peak_memory_bytes
from tasks.growing import Growing, Teller, partial_entry
from tasks.ops.geometry import Region, Shape
from tasks.passes import ChunkPass
from tasks.plan import HALO_SHARE, BlockPlan, block_region, plan_blocks, plan_chunks, refuse_disk

if TYPE_CHECKING:
    from tasks.view import ViewFacts

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
    entry: FramesEntry | None = None


@dataclass(frozen=True)
class _BlockResult:
    checksums: Mapping[str, int]
    peak_bytes: int


@dataclass(frozen=True)
class _Layout:
    """The target's store, how its chunks are computed together, and those that are finished."""

    spec: FrameSpec
    blocks: BlockPlan
    checksums: dict[str, int]

    @property
    def missing(self) -> Iterator[tuple[Region, tuple[Index, ...]]]:
        """What has to be computed: a region, and its chunks that are not there."""
        for block, indices in self.blocks.members(self.spec):
            missing = tuple(index for index in indices if chunk_key(index) not in self.checksums)
            if missing:
                yield block_region(self.spec, self.blocks.size, block), missing


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
    teller: Teller | None = None,
) -> ChunkWork:
    """Map a pass over a source and leave all chunks of the target written, the manifest not yet.

    Args:
        source: A finished output with frames.
        target: Where the result goes; chunks that an interrupted run left there are kept.
        spec: What the target holds; its chunks are an upper bound, the plan may make them smaller.
        report: Told how many chunks are finished and how many there are, after each.
        times: When the frames of the result are shown and for how long; those of a photograph without.
        teller: Told of the layout and of every finished chunk.

    Raises:
        FrameShapeError: The pass does not make the shape that ``spec`` promises.
        PlanTooLargeError, DiskTooSmallError: It cannot fit; nothing was written.
        OutputDamagedError: A chunk of the source is missing or damaged.
    """
    from tasks.view import ViewFacts  # with FFmpeg; a run whose stages are all cached needs neither

    facts = ViewFacts.of(FrameReader(source).entry)
    chunk_pass = _charged(chunk_pass, facts)
    layout = _laid_out(facts, target, chunk_pass, spec, executor=executor, limits=limits, times=times)
    reused, total = len(layout.checksums), layout.spec.count
    todo = [_BlockTask(source, target, layout.spec, chunk_pass, region, missing) for region, missing in layout.missing]
    peak = _run(layout, target, todo, executor=executor, resources=resources, report=report, teller=teller)
    return ChunkWork(
        frames_entry(layout.spec, layout.checksums), total - reused, reused, layout.blocks.peak_bytes, peak
    )


def run_growing(
    source: Growing,
    target: OutputPlace,
    pass_of: Callable[[tuple[int, ...]], ChunkPass],
    spec: FrameSpec,
    *,
    executor: Executor,
    limits: Limits,
    resources: Resources | None = None,
    report: Report = _silent,
    times: Times | None = None,
    teller: Teller | None = None,
) -> None:
    """Do of ``run_chunks`` what can be done while the source is still being made; it goes on behind that.

    Args:
        source: Told of every chunk of the source that is finished.
        pass_of: The pass, given the cuts that are known. Chunks wait for the cuts before the end of what they read.

    Raises:
        As ``run_chunks`` does.
    """
    from tasks.view import ViewFacts

    begun = source.begun()
    if begun is None:
        return
    place, kept, _ = begun
    facts = ViewFacts.of(partial_entry(kept, {}))
    charged = lru_cache(maxsize=1)(lambda cuts: _charged(pass_of(cuts), facts))
    layout = _laid_out(facts, target, charged(()), spec, executor=executor, limits=limits, times=times)

    def ready() -> Iterator[_BlockTask]:
        shape = Shape(*facts.shape)

        def span(region: Region) -> tuple[int, int]:
            read = charged(source.cuts).read_region(region, shape)
            return max(0, read.t0 - facts.reach), read.t1 + facts.reach

        for region, missing in layout.missing:
            entry = source.wait_for(partial(span, region))
            if entry is None:
                return
            yield _BlockTask(place, target, layout.spec, charged(source.cuts), region, missing, entry)

    _run(layout, target, ready(), executor=executor, resources=resources, report=report, teller=teller)


def _charged(chunk_pass: ChunkPass, facts: "ViewFacts") -> ChunkPass:
    from tasks.view import ViewedPass

    return ViewedPass(chunk_pass, facts) if facts.converted else chunk_pass


def _laid_out(
    facts: "ViewFacts",
    target: OutputPlace,
    chunk_pass: ChunkPass,
    spec: FrameSpec,
    *,
    executor: Executor,
    limits: Limits,
    times: Times | None,
) -> _Layout:
    """Plan and lay out the target, or find it as an interrupted run left it."""
    shape = Shape(*facts.shape)
    _check_shape(chunk_pass.output_shape(shape), spec)
    plan = plan_chunks(chunk_pass, shape, spec.dtype, spec.chunks, limits.memory_bytes)
    refuse_disk(target.storage, spec.raw_bytes, limits.disk_reserve_bytes)
    planned = replace(spec, chunks=plan.chunks)
    blocks_of = partial(
        plan_blocks,
        chunk_pass,
        shape,
        limit_bytes=limits.memory_bytes,
        workers=executor.workers,
        halo_share=limits.halo_share,
    )
    spec = create_frames(target, planned, times)
    blocks = blocks_of(spec)
    if blocks.peak_bytes > limits.memory_bytes:  # begun when there was more memory
        target.discard()
        spec = create_frames(target, planned, times)
        blocks = blocks_of(spec)
    return _Layout(spec, blocks, finished_chunks(target, spec))


def _run(
    layout: _Layout,
    target: OutputPlace,
    tasks: Iterable[_BlockTask],
    *,
    executor: Executor,
    resources: Resources | None,
    report: Report,
    teller: Teller | None,
) -> int:
    """Compute blocks, tell of their chunks; returns the largest resident memory a worker had."""
    peak, total = 0, layout.spec.count
    if teller is not None:
        teller.begin(target, layout.spec)
        for key, checksum in layout.checksums.items():
            teller.add(key, checksum)
    for _, result in executor.run(_make_block, tasks, resources=resources):
        layout.checksums.update(result.checksums)
        peak = max(peak, result.peak_bytes)
        if teller is not None:
            for key, checksum in result.checksums.items():
                teller.add(key, checksum)
        report(len(layout.checksums), total)
    return peak


def _make_block(task: _BlockTask) -> _BlockResult:
    """Read and compute one block, write those of its chunks that are missing. Runs on a worker.

    The whole block is computed even if some of its chunks are there: what floating point makes of a pixel may depend on
    the size of the array it stands in.
    """
    from tasks.view import open_view

    view = open_view(task.source, task.entry)
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
