"""Blocks: chunks computed together, so that their halo is computed once; stored, marked and resumed one by one."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from datasets import frames as frame_store
from datasets.errors import StorageUnavailableError
from datasets.frame_spec import FrameSpec
from datasets.outputs import OutputPlace
from datasets.storage import open_storage
from tasks.chunks import Limits, run_chunks
from tasks.executor import InProcess
from tasks.ops.geometry import Region, Shape
from tasks.passes import ChunkPass, FusedPass, LocalPass, ResamplePass
from tasks.plan import plan_blocks
from tests.tasks.test_passes import ROOMY, Frames, box_mean, double, finish, mapped, negative, put, whole

FAR = LocalPass(double, halo_pixels=32, scale=2, memory_factor=1)
LARGE = 1 << 40


def spec(height: int, width: int, tile: int) -> FrameSpec:
    return FrameSpec((1, height, width, 3), "uint8", (1, tile, tile))


def planned(chunk_pass: ChunkPass, side: int, tile: int, limit: int = LARGE, workers: int = 1) -> tuple[int, int, int]:
    made = chunk_pass.output_shape(Shape(1, side, side, 3))
    return plan_blocks(
        chunk_pass, Shape(1, side, side, 3), spec(made.height, made.width, tile), limit, workers=workers
    ).size


def test_a_halo_that_costs_little_leaves_one_chunk_to_a_block() -> None:
    assert planned(LocalPass(negative), 400, 100) == (1, 1, 1)
    assert planned(LocalPass(negative, halo_pixels=1), 400, 100) == (1, 1, 1)  # (406 / 400)² = 1.03


def test_blocks_grow_until_the_halo_is_a_tenth() -> None:
    """4 by 4 chunks of 128 input pixels; halves read 32 pixels over one seam from both sides: 576 of 512 rows."""
    plan = plan_blocks(FAR, Shape(1, 512, 512, 3), spec(1024, 1024, 256), LARGE)
    assert plan.size in ((1, 4, 4), (1, 2, 4), (1, 4, 2))
    assert plan.halo_share == 0 or plan.halo_share <= 0.1
    single = plan_blocks(FAR, Shape(1, 512, 512, 3), spec(1024, 1024, 256), LARGE, halo_share=9.0)
    assert single.size == (1, 1, 1)
    assert single.halo_share == pytest.approx((704 / 512) ** 2 - 1)


def test_memory_bounds_a_block() -> None:
    """A block of all 16 chunks makes 3 MB from 0.8 MB; half the memory allows some of them."""
    whole_peak = plan_blocks(FAR, Shape(1, 512, 512, 3), spec(1024, 1024, 256), LARGE).peak_bytes
    plan = plan_blocks(FAR, Shape(1, 512, 512, 3), spec(1024, 1024, 256), whole_peak // 2)
    assert plan.size not in ((1, 1, 1), (1, 4, 4))
    assert plan.peak_bytes <= whole_peak // 2


def test_every_worker_gets_a_block_where_the_halo_is_worth_it() -> None:
    """32 pixels of halo at one seam of 512 cost an eighth, at a seam of 128 a half."""
    assert planned(FAR, 512, 512, workers=2) in ((1, 1, 2), (1, 2, 1))
    assert planned(FAR, 128, 128, workers=2) == (1, 2, 2)


def test_blocks_cover_every_chunk_once() -> None:
    plan = plan_blocks(FAR, Shape(1, 300, 500, 3), spec(600, 1000, 128), 4_000_000)
    members = [index for _, indices in plan.members(spec(600, 1000, 128)) for index in indices]
    assert plan.size != (1, 1, 1)
    assert sorted(members) == sorted(spec(600, 1000, 128).indices())


def test_a_block_is_read_with_one_halo(tmp_path: Path) -> None:
    seen: list[tuple[int, ...]] = []

    def noted(frames: Frames) -> Frames:
        seen.append(frames.shape)
        return negative(frames)

    values = np.random.default_rng(0).integers(0, 256, (1, 60, 60, 3), dtype=np.uint8)
    made = mapped(str(tmp_path), values, LocalPass(noted, halo_pixels=7), (1, 60, 60), (1, 20, 20), halo_share=0.0)
    assert seen == [(1, 60, 60, 3)]
    assert np.array_equal(made, 255 - values)


class Interrupted:
    """Stands for ``write_chunk`` and fails at the chosen call, as a full disk does."""

    def __init__(self, fails_at: int) -> None:
        self.fails_at, self.written = fails_at, list[tuple[int, int, int]]()

    def __call__(self, place: OutputPlace, spec: FrameSpec, index: tuple[int, int, int], values: Frames) -> int:
        if len(self.written) == self.fails_at:
            raise StorageUnavailableError("full")
        self.written.append(index)
        return frame_store.write_chunk(place, spec, index, values)


def test_an_interrupted_block_goes_on_at_its_missing_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_storage(str(tmp_path), "default")
    source, target = OutputPlace(storage, "0" * 64), OutputPlace(storage, "1" * 64)
    values = np.random.default_rng(2).integers(0, 256, (1, 30, 30, 3), dtype=np.uint8)
    put(source, values, (1, 30, 30))
    blur = LocalPass(box_mean(4), halo_pixels=4)
    writer = Interrupted(fails_at=4)
    monkeypatch.setattr("tasks.chunks.write_chunk", writer)
    with pytest.raises(StorageUnavailableError):
        run_chunks(source, target, blur, spec(30, 30, 10), executor=InProcess(retries=0), limits=ROOMY)
    writer.fails_at = 99
    work = run_chunks(source, target, blur, spec(30, 30, 10), executor=InProcess(), limits=ROOMY)
    assert (work.reused, work.made) == (4, 5)
    assert sorted(writer.written) == sorted(spec(30, 30, 10).indices())  # each once
    assert np.array_equal(finish(target, work), whole(values, blur))


def brighter_by_the_largest(frames: Frames) -> NDArray[np.uint8]:
    """A function of all it is given: tiled is never equal to whole."""
    return np.asarray(frames // 2 + frames.max() // 4, dtype=np.uint8)


@pytest.mark.parametrize("halo_share", [9.0, 0.3, 0.0])
@pytest.mark.parametrize("chunk", [5, 16, 70])
def test_tiles_that_decide_pixels_do_not_depend_on_chunks_and_blocks(chunk: int, halo_share: float) -> None:
    values = np.random.default_rng(4).integers(0, 200, (1, 41, 67, 3), dtype=np.uint8)
    tiled = LocalPass(brighter_by_the_largest, halo_pixels=3, tile=16)
    expected = np.empty_like(values)
    for y in range(0, 41, 16):
        for x in range(0, 67, 16):
            seen = values[:, max(0, y - 3) : y + 19, max(0, x - 3) : x + 19]
            expected[:, y : y + 16, x : x + 16] = values[:, y : y + 16, x : x + 16] // 2 + seen.max() // 4
    made = mapped("memory://tiles", values, tiled, (1, 20, 20), (1, chunk, chunk), halo_share)
    assert np.array_equal(made, expected)


def test_a_tiled_pass_needs_the_memory_of_a_tile_and_of_its_result() -> None:
    shape, read = Shape(1, 4000, 4000, 3), Region(0, 1, 0, 1000, 0, 1000)
    tiled = LocalPass(double, halo_pixels=10, scale=2, memory_factor=100, tile=80)
    assert tiled.working_bytes(read, shape, 1) == 100 * 100 * 3 * 4 * 100 + 1000 * 1000 * 3 * 4
    fused = FusedPass((tiled, ResamplePass(6000, 6000)))
    assert fused.working_bytes(read, shape, 1) >= tiled.working_bytes(read, shape, 1)


def test_more_memory_than_one_chunk_needs_is_never_refused() -> None:
    tight = Limits(memory_bytes=700_000)
    values = np.random.default_rng(5).integers(0, 256, (1, 200, 200, 3), dtype=np.uint8)
    storage = open_storage("memory://tight", "default")
    source, target = OutputPlace(storage, "0" * 64), OutputPlace(storage, "1" * 64)
    put(source, values, (1, 200, 200))
    work = run_chunks(
        source, target, LocalPass(negative, 30, memory_factor=1), spec(200, 200, 64), executor=InProcess(), limits=tight
    )
    assert work.planned_bytes <= 700_000
    assert np.array_equal(finish(target, work), 255 - values)
