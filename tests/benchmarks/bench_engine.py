"""What reading, checking, marking and writing chunks costs, against the bare array function in memory."""

import statistics
import tempfile
import time
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.frame_spec import FrameSpec, chunk_key
from datasets.frames import FrameReader, create_frames, frames_entry, write_chunk
from datasets.identity import digest_bytes
from datasets.outputs import Manifest, OutputPlace
from datasets.storage import Storage, open_storage
from tasks.chunks import Limits, run_chunks
from tasks.executor import InProcess
from tasks.passes import LocalPass

Frames = NDArray[np.uint8]
HALO = 4  # pixels


def blur(frames: Frames) -> Frames:
    """A cheap local function: 9 by 9 Gaussian."""
    return np.stack([cv2.GaussianBlur(frame, (9, 9), 0) for frame in frames])


def heavy(frames: Frames) -> Frames:
    """The same, as often as a small network takes."""
    for _ in range(12):
        frames = blur(frames)
    return frames


def run(side: int = 2048, tile: int = 1024, repeats: int = 5) -> list[str]:
    """Print, and return, milliseconds per chunk: bare, through the engine, their ratio, and its parts."""
    lines = [
        f"{'function':<10}{'chunks':>7}{'bare ms':>9}{'engine ms':>11}{'ratio':>7}{'spread':>8}   {side}x{side} RGB"
    ]
    values = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        storage = open_storage(folder, "bench")
        source = _stored(storage, values, tile)
        for name, function in (("blur", blur), ("heavy", heavy)):
            lines.append(_compared(storage, source, values, tile, repeats, name, function))
        lines.append(_parts(storage, source, values, tile))
    for line in lines:
        print(line)
    return lines


def _stored(storage: Storage, values: Frames, tile: int) -> OutputPlace:
    place = OutputPlace(storage, digest_bytes(b"source"))
    spec = FrameSpec((1, *values.shape[1:3], 3), "uint8", (1, tile, tile))
    create_frames(place, spec)
    sums = {chunk_key(index): write_chunk(place, spec, index, values[spec.box(index)]) for index in spec.indices()}
    place.finish(Manifest(place.fingerprint, "source", place.stored_objects(), frames_entry(spec, sums)))
    return place


def _compared(
    storage: Storage,
    source: OutputPlace,
    values: Frames,
    tile: int,
    repeats: int,
    name: str,
    function: Callable[[Frames], Frames],
) -> str:
    shape = (1, values.shape[1], values.shape[2], 3)
    spec = FrameSpec(shape, "uint8", (1, tile, tile))
    count = len(list(spec.indices()))
    bare, engine = [], []
    for turn in range(repeats):
        begun = time.perf_counter()
        for index in spec.indices():
            function(values[spec.box(index)])
        bare.append((time.perf_counter() - begun) * 1000 / count)
        target = OutputPlace(storage, digest_bytes(f"{name}{turn}".encode()))
        begun = time.perf_counter()
        run_chunks(source, target, LocalPass(function, HALO), spec, executor=InProcess(), limits=Limits(1 << 32))
        engine.append((time.perf_counter() - begun) * 1000 / count)
        target.discard()
    ratio = statistics.median(engine) / statistics.median(bare)
    spread = f"{min(engine):.0f}-{max(engine):.0f}"
    return (
        f"{name:<10}{count:>7}{statistics.median(bare):>9.1f}{statistics.median(engine):>11.1f}{ratio:>7.2f}{spread:>8}"
    )


def _parts(storage: Storage, source: OutputPlace, values: Frames, tile: int) -> str:
    """Reading and writing one chunk, its checksum included."""
    reader = FrameReader(source)
    box = (slice(0, 1), slice(0, tile), slice(0, tile))
    begun = time.perf_counter()
    for _ in range(8):
        chunk = reader.read(box)
    read = (time.perf_counter() - begun) * 1000 / 8
    place = OutputPlace(storage, digest_bytes(b"written"))
    spec = create_frames(place, FrameSpec((1, values.shape[1], values.shape[2], 3), "uint8", (1, tile, tile)))
    begun = time.perf_counter()
    for _ in range(8):
        write_chunk(place, spec, (0, 0, 0), chunk)
    write = (time.perf_counter() - begun) * 1000 / 8
    return f"of it: read {read:.1f} ms, write with checksum and mark {write:.1f} ms a chunk of {tile} px"
