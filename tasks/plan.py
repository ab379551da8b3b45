"""Memory and disk are planned before any work: what does not fit is made smaller or refused, with both numbers."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from datasets.errors import DiskTooSmallError, PlanTooLargeError
from datasets.settings import MEBIBYTE, Settings
from datasets.storage import Storage
from tasks.ops.geometry import Region, Shape
from tasks.passes import ChunkPass

SMALLEST_TILE = 64  # pixels; below this the halo outweighs the work
MEMORY_SHARE = 0.6  # of what is free; the rest is for the interpreter, libraries and the system's cache


@dataclass(frozen=True)
class ChunkPlan:
    """Chunks of the output and the largest memory in bytes that one of them needs in a worker."""

    chunks: tuple[int, int, int]
    peak_bytes: int


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
