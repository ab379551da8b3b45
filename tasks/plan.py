"""Memory and disk are planned before any work: what does not fit is made smaller or refused, with both numbers."""

import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import psutil

from datasets.errors import DiskTooSmallError, PlanTooLargeError
from datasets.frame_spec import FrameSpec, Index
from datasets.settings import MEBIBYTE, Settings
from datasets.storage import Storage
from tasks.ops.geometry import Region, Shape
from tasks.passes import ChunkPass

SMALLEST_TILE = 64  # pixels; below this the halo outweighs the work
HALO_SHARE = 0.1  # of the source is read again as halos at most, where memory allows
SPLIT_SHARE = 0.25  # read again rather than leaving a worker idle
MEMORY_SHARE = 0.6  # of what is free; the rest is for the interpreter, libraries and the system's cache


@dataclass(frozen=True)
class ChunkPlan:
    """Chunks of the output and the largest memory in bytes that one of them needs in a worker."""

    chunks: tuple[int, int, int]
    peak_bytes: int


@dataclass(frozen=True)
class BlockPlan:
    """Which chunks are computed together.

    Attributes:
        size: Chunks of a block along frames, rows and columns; blocks at the end may have fewer.
        halo_share: Pixels read more than once over the pixels of the source.
        peak_bytes: The largest memory that one block needs in a worker.
    """

    size: Index
    halo_share: float
    peak_bytes: int

    def members(self, spec: FrameSpec) -> Iterator[tuple[Index, Iterator[Index]]]:
        """Every block's index, and those of its chunks, in the order of the frames."""
        for block in product(*map(range, _blocks(spec, self.size))):
            t, y, x = (
                range(i * side, min((i + 1) * side, extent))
                for i, side, extent in zip(block, self.size, spec.grid, strict=True)
            )
            yield (block[0], block[1], block[2]), product(t, y, x)


def memory_limit(settings: Settings, workers: int) -> int:
    """Bytes that one worker may plan with: the setting, else a share of what is free now."""
    if settings.memory_limit_mb is not None:
        return settings.memory_limit_mb * MEBIBYTE
    return int(psutil.virtual_memory().available * MEMORY_SHARE / workers)


def plan_chunks(
    chunk_pass: ChunkPass, source: Shape, dtype: str, chunks: tuple[int, int, int], limit_bytes: int
) -> ChunkPlan:
    """The largest chunks, at most the ones asked for, whose peak memory stays within the limit.

    Raises:
        PlanTooLargeError: Even the smallest chunks need more; the message holds both numbers.
    """
    shape = chunk_pass.output_shape(source)
    t, y, x = (min(chunk, extent) for chunk, extent in zip(chunks, shape.as_tuple()[:3], strict=True))
    peak = _peak(chunk_pass, source, dtype, (t, y, x))
    while peak > limit_bytes:
        if t > 1:
            t = -(-t // 2)
        elif max(y, x) > SMALLEST_TILE:
            y, x = (max(min(side, SMALLEST_TILE), side // 2) for side in (y, x))
        else:
            refuse_memory(peak, limit_bytes, f"a tile of {y}×{x} pixels")
        peak = _peak(chunk_pass, source, dtype, (t, y, x))
    return ChunkPlan((t, y, x), peak)


def plan_blocks(
    chunk_pass: ChunkPass,
    source: Shape,
    spec: FrameSpec,
    limit_bytes: int,
    *,
    workers: int = 1,
    halo_share: float = HALO_SHARE,
) -> BlockPlan:
    """Blocks of chunks whose halos cost little: larger ones as long as memory allows and every worker has one.

    Args:
        spec: What is to be made; its chunks are final.
        limit_bytes: What one worker may use.
        workers: How many there are; a picture gets fewer blocks than that only where halos would cost too much.
        halo_share: How much may be read more than once; blocks of one chunk that need no more stay as they are.
    """
    size: Index = (1, 1, 1)
    if spec.grid == size:  # most stills
        return BlockPlan(size, 0.0, _block_peak(chunk_pass, source, spec, size))
    share = _halo_share(chunk_pass, source, spec, size)
    while share > halo_share:
        bigger = [
            (_halo_share(chunk_pass, source, spec, larger), larger)
            for larger in _larger(spec, size)
            if _block_peak(chunk_pass, source, spec, larger) <= limit_bytes
        ]
        if not bigger:
            break
        best_share, best = min(bigger)
        if math.prod(_blocks(spec, best)) < workers and share <= SPLIT_SHARE:
            break
        size, share = best, best_share
    return BlockPlan(size, share, _block_peak(chunk_pass, source, spec, size))


def block_region(spec: FrameSpec, size: Index, block: Index) -> Region:
    """What a block covers of the output."""
    edges = [
        edge
        for i, chunks, chunk, extent in zip(block, size, spec.chunks, spec.shape[:3], strict=True)
        for edge in (i * chunks * chunk, min((i + 1) * chunks * chunk, extent))
    ]
    return Region(*edges)


def _blocks(spec: FrameSpec, size: Index) -> Index:
    """Number of blocks along frames, rows and columns."""
    t, y, x = (-(-extent // side) for extent, side in zip(spec.grid, size, strict=True))
    return t, y, x


def _larger(spec: FrameSpec, size: Index) -> Iterator[Index]:
    """The next larger blocks: one less of them along one axis, as even as can be."""
    for axis, (count, extent) in enumerate(zip(_blocks(spec, size), spec.grid, strict=True)):
        if count > 1:
            t, y, x = (-(-extent // (count - 1)) if axis == at else side for at, side in enumerate(size))
            yield t, y, x


def _halo_share(chunk_pass: ChunkPass, source: Shape, spec: FrameSpec, size: Index) -> float:
    """Pixels that all blocks together read, over those there are, less one. Regions are boxes, so axes are apart."""
    counts, share = _blocks(spec, size), 1.0
    for axis, count in enumerate(counts):
        indices = ([i if at == axis else 0 for at in range(3)] for i in range(count))
        regions = (chunk_pass.read_region(block_region(spec, size, (t, y, x)), source) for t, y, x in indices)
        share *= sum((r.frames, r.height, r.width)[axis] for r in regions) / source.as_tuple()[axis]
    return share - 1


def _block_peak(chunk_pass: ChunkPass, source: Shape, spec: FrameSpec, size: Index) -> int:
    t, y, x = (min(n * chunk, end) for n, chunk, end in zip(size, spec.chunks, spec.shape[:3], strict=True))
    return _peak(chunk_pass, source, spec.dtype, (t, y, x))


def _peak(chunk_pass: ChunkPass, source: Shape, dtype: str, chunks: tuple[int, int, int]) -> int:
    """Bytes for the chunk in the middle of the clip, whose halo is whole on every side."""
    shape, itemsize = chunk_pass.output_shape(source), np.dtype(dtype).itemsize
    starts = [
        (extent // chunk) // 2 * chunk if extent > chunk else 0
        for extent, chunk in zip(shape.as_tuple()[:3], chunks, strict=True)
    ]
    edges = [
        edge
        for start, chunk, extent in zip(starts, chunks, shape.as_tuple()[:3], strict=True)
        for edge in (start, min(start + chunk, extent))
    ]
    region = Region(*edges)
    read = chunk_pass.read_region(region, source)
    held = read.frames * read.height * read.width * source.channels * itemsize
    made = region.frames * region.height * region.width * shape.channels * itemsize
    return held * 2 + made * 2 + chunk_pass.working_bytes(read, source, itemsize)


def refuse_memory(needed_bytes: int, limit_bytes: int, what: str) -> None:
    """Raise if something needs more memory than a worker may plan with."""
    if needed_bytes > limit_bytes:
        raise PlanTooLargeError(
            f"{what} needs {needed_bytes / MEBIBYTE:,.0f} MiB of memory and {limit_bytes / MEBIBYTE:,.0f} MiB may be "
            "used; use fewer workers, a smaller size, or raise STILLMOTION_MEMORY_LIMIT_MB",
            needed_bytes=needed_bytes,
            limit_bytes=limit_bytes,
        )


def refuse_disk(storage: Storage, needed_bytes: int, reserve_bytes: int) -> None:
    """Raise if a local storage has too little space left for an output, a reserve kept free."""
    folder = storage.local_path("")
    if folder is None:
        return
    free = shutil.disk_usage(_nearest_existing(folder)).free - reserve_bytes
    if needed_bytes > free:
        raise DiskTooSmallError(
            f"the output needs up to {needed_bytes / MEBIBYTE:,.0f} MiB of disk and {max(0, free) / MEBIBYTE:,.0f} MiB "
            f"may be used below {storage.root}; free some space or set STILLMOTION_STORAGE_ROOT",
            needed_bytes=needed_bytes,
            free_bytes=free,
        )


def _nearest_existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
