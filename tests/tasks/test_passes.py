"""Passes and the engine: the result does not depend on how the picture is cut."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from datasets.errors import DiskTooSmallError, PlanTooLargeError, StorageUnavailableError
from datasets.frame_spec import FrameSpec, chunk_key
from datasets.frames import FrameReader, create_frames, frames_entry, write_chunk
from datasets.identity import digest_bytes
from datasets.outputs import Manifest, OutputPlace
from datasets.storage import open_storage
from tasks.chunks import ChunkWork, Limits, run_chunks
from tasks.executor import InProcess
from tasks.ops.geometry import Region, Shape
from tasks.passes import ChunkPass, FusedPass, LocalPass, ResamplePass, fuse

ROOMY = Limits(memory_bytes=1 << 30)
Frames = NDArray[np.uint8]


def box_mean(radius: int, frames_radius: int = 0) -> "Blur":
    return Blur(radius, frames_radius)


class Blur:
    """Mean over a square window cut off at the edges, written from its definition."""

    def __init__(self, radius: int, frames_radius: int) -> None:
        self.radius, self.frames_radius = radius, frames_radius

    def __call__(self, frames: Frames) -> Frames:
        result = np.empty_like(frames)
        t_count, height, width, _ = frames.shape
        for t in range(t_count):
            for y in range(height):
                for x in range(width):
                    window = frames[
                        max(0, t - self.frames_radius) : t + self.frames_radius + 1,
                        max(0, y - self.radius) : y + self.radius + 1,
                        max(0, x - self.radius) : x + self.radius + 1,
                    ]
                    result[t, y, x] = window.reshape(-1, frames.shape[3]).mean(axis=0)
        return result


def double(frames: Frames) -> Frames:
    return frames.repeat(2, axis=1).repeat(2, axis=2)


def negative(frames: Frames) -> Frames:
    return (255 - frames).astype(np.uint8)


def put(place: OutputPlace, values: Frames, chunks: tuple[int, int, int]) -> OutputPlace:
    t, h, w, c = values.shape
    spec = FrameSpec((t, h, w, c), values.dtype.name, chunks)
    create_frames(place, spec)
    sums = {chunk_key(index): write_chunk(place, spec, index, values[spec.box(index)]) for index in spec.indices()}
    place.finish(Manifest(place.fingerprint, "source", place.stored_objects(), frames_entry(spec, sums)))
    return place


def finish(place: OutputPlace, work: ChunkWork) -> Frames:
    place.finish(Manifest(place.fingerprint, "target", place.stored_objects(), work.entry))
    return FrameReader(place).read()


def mapped(
    root: str,
    values: Frames,
    chunk_pass: ChunkPass,
    read: tuple[int, int, int],
    write: tuple[int, int, int],
    halo_share: float = math.inf,  # every chunk a block of its own
    dtype: str = "uint8",
) -> Frames:
    storage = open_storage(root, "default")
    key = digest_bytes(repr((values.tobytes(), values.shape, repr(chunk_pass), read, write)).encode())
    source, target = OutputPlace(storage, key), OutputPlace(storage, key[::-1])
    put(source, values, read)
    shape = chunk_pass.output_shape(Shape(*values.shape))
    work = run_chunks(
        source,
        target,
        chunk_pass,
        FrameSpec(shape.as_tuple(), dtype, write),
        executor=InProcess(),
        limits=Limits(memory_bytes=1 << 30, halo_share=halo_share),
    )
    made = finish(target, work)
    source.discard()
    target.discard()
    return made


def whole(values: Frames, chunk_pass: ChunkPass) -> Frames:
    shape = Shape(*values.shape)
    made = chunk_pass.output_shape(shape)
    result: Frames = chunk_pass.apply(values, read=shape.whole, region=made.whole, shape=shape)
    return result


PASSES: list[ChunkPass] = [
    LocalPass(negative),
    LocalPass(box_mean(2), halo_pixels=2),
    LocalPass(box_mean(1, 2), halo_pixels=1, halo_frames=2),
    LocalPass(double, scale=2),
    LocalPass(double, halo_pixels=1, scale=2, tile=3),
    ResamplePass(17, 5),
    ResamplePass(19, 16, "bicubic"),
    FusedPass(
        (LocalPass(box_mean(1), halo_pixels=1), LocalPass(double, scale=2), LocalPass(box_mean(3), halo_pixels=3))
    ),
    FusedPass((LocalPass(double, scale=2), ResamplePass(13, 21), LocalPass(box_mean(1), halo_pixels=1))),
]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("chunk_pass", PASSES, ids=lambda value: type(value).__name__)
@given(data=st.data())
def test_chunked_equals_whole(tmp_path: Path, chunk_pass: ChunkPass, data: st.DataObject) -> None:
    """Chunks smaller than the halo and clips shorter than the window among them."""
    shape = tuple(data.draw(st.integers(1, limit)) for limit in (4, 13, 13))
    seed = data.draw(st.integers(0, 2**16))
    values = np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)
    read, write = (tuple(data.draw(st.integers(least, 12)) for least in (1, 3, 3)) for _ in range(2))
    share = data.draw(st.sampled_from([math.inf, 0.5, 0.1, 0.0]))
    made = mapped(
        f"memory://{tmp_path.name}",
        values,
        chunk_pass,
        (read[0], read[1], read[2]),
        (write[0], write[1], write[2]),
        share,
    )
    assert np.array_equal(made, whole(values, chunk_pass))


def test_a_halo_one_pixel_too_small_shows() -> None:
    values = np.random.default_rng(0).integers(0, 256, (1, 12, 12, 3), dtype=np.uint8)
    short = LocalPass(box_mean(2), halo_pixels=1)
    assert not np.array_equal(mapped("memory://short", values, short, (1, 4, 4), (1, 4, 4)), whole(values, short))


def test_fused_equals_one_after_the_other() -> None:
    values = np.random.default_rng(1).integers(0, 256, (2, 9, 11, 3), dtype=np.uint8)
    passes: list[ChunkPass] = [LocalPass(box_mean(1), halo_pixels=1), LocalPass(double, scale=2), ResamplePass(13, 7)]
    step = values
    for each in passes:
        step = whole(step, each)
    assert np.array_equal(mapped("memory://fused", values, fuse(passes), (1, 4, 4), (1, 3, 5)), step)


def test_finished_chunks_are_not_made_again(tmp_path: Path) -> None:
    calls: list[int] = []

    def counted(frames: Frames) -> Frames:
        calls.append(1)
        if len(calls) == 3:
            raise ValueError("a bug in the array function")
        return negative(frames)

    storage = open_storage(str(tmp_path), "default")
    source, target = OutputPlace(storage, "0" * 64), OutputPlace(storage, "1" * 64)
    values = np.random.default_rng(2).integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    put(source, values, (1, 8, 8))
    spec = FrameSpec((1, 8, 8, 3), "uint8", (1, 4, 4))
    with pytest.raises(ValueError, match="a bug"):
        run_chunks(source, target, LocalPass(counted), spec, executor=InProcess(), limits=ROOMY)
    work = run_chunks(source, target, LocalPass(counted), spec, executor=InProcess(), limits=ROOMY)
    assert (work.reused, work.made, len(calls)) == (2, 2, 5)
    assert np.array_equal(finish(target, work), 255 - values)


def test_only_what_may_help_is_tried_again(tmp_path: Path) -> None:
    script: list[Exception | None] = [StorageUnavailableError("later"), StorageUnavailableError("later"), None]

    def scripted(frames: Frames) -> Frames:
        step = script.pop(0)
        if step is not None:
            raise step
        return negative(frames)

    values = np.zeros((1, 4, 4, 3), np.uint8)
    assert mapped(str(tmp_path), values, LocalPass(scripted), (1, 4, 4), (1, 4, 4))[0, 0, 0, 0] == 255
    script[:] = [ValueError("never"), None]
    with pytest.raises(ValueError, match="never"):
        mapped(str(tmp_path), values, LocalPass(scripted), (1, 4, 3), (1, 4, 4))
    assert len(script) == 1


def test_a_plan_over_the_limit_gets_smaller_chunks_and_the_same_pixels(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path), "default")
    source, target = OutputPlace(storage, "0" * 64), OutputPlace(storage, "1" * 64)
    values = np.random.default_rng(3).integers(0, 256, (1, 300, 300, 3), dtype=np.uint8)
    put(source, values, (1, 300, 300))
    spec = FrameSpec((1, 300, 300, 3), "uint8", (1, 300, 300))
    hungry = LocalPass(negative, memory_factor=10.0)
    work = run_chunks(source, target, hungry, spec, executor=InProcess(), limits=Limits(memory_bytes=1_500_000))
    assert work.made > 1
    assert work.planned_bytes <= 1_500_000
    assert np.array_equal(finish(target, work), 255 - values)


def test_a_plan_that_cannot_fit_is_refused_with_both_numbers_before_any_work(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path), "default")
    source, target = OutputPlace(storage, "0" * 64), OutputPlace(storage, "1" * 64)
    put(source, np.zeros((1, 300, 300, 3), np.uint8), (1, 300, 300))
    spec = FrameSpec((1, 300, 300, 3), "uint8", (1, 300, 300))
    with pytest.raises(PlanTooLargeError) as refused:
        run_chunks(source, target, LocalPass(negative), spec, executor=InProcess(), limits=Limits(memory_bytes=1000))
    assert refused.value.facts["limit_bytes"] == 1000
    assert int(str(refused.value.facts["needed_bytes"])) > 1000
    assert target.stored_objects() == {}
    with pytest.raises(DiskTooSmallError):
        run_chunks(source, target, LocalPass(negative), spec, executor=InProcess(), limits=Limits(1 << 30, 1 << 60))
    assert target.stored_objects() == {}


def test_regions_grow_to_the_edges_and_no_further() -> None:
    shape = Shape(1, 10, 10, 3)
    assert Region(0, 1, 2, 4, 8, 10).grown(1, 3, shape) == Region(0, 1, 0, 7, 5, 10)
