"""Interpolation through the engine: the frames are the model's, however the clip is cut and whoever computes."""

import math
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from datasets.frame_spec import FrameSpec, chunk_key
from datasets.frames import FrameReader, create_frames, frames_entry, write_chunk
from datasets.identity import digest_bytes
from datasets.outputs import Manifest, OutputPlace
from datasets.storage import open_storage
from model_blocks.choice import ModelRef
from model_blocks.embedded.interpolate import DisInterpolator
from tasks.chunks import Limits, run_chunks
from tasks.executor import Executor, InProcess
from tasks.interpolate import InterpolateConfig, InterpolatePass, InterpolateStage
from tasks.ops.geometry import Region, Shape
from tasks.ops.video.cadence import Cadence, Timing
from tasks.passes import ChunkPass, fuse
from tasks.upscale import UpscaleConfig, UpscaleStage

MODEL = ModelRef("dis-interpolator", "", "cpu")
Frames = NDArray[np.uint8]


class TwoProcesses:
    """An executor whose tasks run in two other processes."""

    workers = 2
    in_process = False

    def run(
        self, function: Callable[[Any], Any], tasks: Iterable[Any], *, resources: object = None
    ) -> Iterator[tuple[Any, Any]]:
        items = list(tasks)
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("forkserver")) as pool:
            yield from zip(items, pool.map(function, items), strict=True)


def clip(count: int = 9, height: int = 24, width: int = 36, channels: int = 3, cut: int | None = None) -> Frames:
    """A texture that moves by 2 px per frame; from ``cut`` on another one."""
    random = np.random.default_rng(3)
    grounds = [random.integers(0, 256, (height // 4, (width + 2 * count) // 4 + 1, channels)) for _ in range(2)]
    large = [ground.repeat(4, axis=0).repeat(4, axis=1) for ground in grounds]
    chosen = [large[int(cut is not None and index >= cut)] for index in range(count)]
    return np.stack([ground[:, 2 * at : 2 * at + width] for at, ground in enumerate(chosen)]).astype(np.uint8)


def timing(count: int, rate: int = 25) -> Timing:
    return Timing(np.arange(count, dtype=np.int64), np.ones(count, np.int64), Fraction(1, rate))


def pass_of(cadence: Cadence) -> InterpolatePass:
    return InterpolatePass(MODEL, cadence.first, cadence.fraction)


def by_hand(values: Frames, cadence: Cadence) -> Frames:
    """The model called anew for every new frame."""
    made = []
    for first, fraction in zip(cadence.first, cadence.fraction, strict=True):
        if fraction == 0 or np.array_equal(values[first], values[first + 1]):
            made.append(values[first])
            continue
        a, b = (torch.from_numpy(values[at].astype(np.float32) / 255).permute(2, 0, 1) for at in (first, first + 1))
        between = DisInterpolator().interpolate(a, b, [float(fraction)])[0].permute(1, 2, 0).numpy()
        made.append(np.rint(between * 255).astype(np.uint8))
    return np.stack(made)


def mapped(
    root: str,
    values: Frames,
    chunk_pass: ChunkPass,
    *,
    read: tuple[int, int, int] = (4, 64, 64),
    write: tuple[int, int, int] = (4, 64, 64),
    halo_share: float = math.inf,
    executor: Executor | None = None,
) -> Frames:
    """Through the engine: a store is written, mapped and read."""
    storage = open_storage(root, "default")
    key = digest_bytes(repr((values.tobytes(), values.shape, repr(chunk_pass), read, write, halo_share)).encode())
    source, target = OutputPlace(storage, key), OutputPlace(storage, key[::-1])
    t, h, w, c = values.shape
    spec = FrameSpec((t, h, w, c), values.dtype.name, read)
    create_frames(source, spec)
    sums = {chunk_key(index): write_chunk(source, spec, index, values[spec.box(index)]) for index in spec.indices()}
    source.finish(Manifest(source.fingerprint, "source", source.stored_objects(), frames_entry(spec, sums)))
    made_spec = FrameSpec(chunk_pass.output_shape(Shape(*values.shape)).as_tuple(), values.dtype.name, write)
    limits = Limits(memory_bytes=1 << 30, halo_share=halo_share)
    work = run_chunks(source, target, chunk_pass, made_spec, executor=executor or InProcess(), limits=limits)
    target.finish(Manifest(target.fingerprint, "target", target.stored_objects(), work.entry))
    made: Frames = FrameReader(target).read()
    source.discard()
    target.discard()
    return made


CONFIGS = [
    InterpolateConfig(),
    InterpolateConfig(factor=3),
    InterpolateConfig(fps="60"),
    InterpolateConfig(fps="10"),
    InterpolateConfig(slow=2.5),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: str(config.parameters()))
@pytest.mark.parametrize("channels", [3, 4])
def test_the_engine_makes_what_the_model_makes(tmp_path: Path, config: InterpolateConfig, channels: int) -> None:
    values = clip(channels=channels)
    cadence = config.cadence(timing(len(values)), ())
    made = mapped(f"memory://{tmp_path.name}", values, pass_of(cadence), write=(3, 24, 36))
    assert np.array_equal(made, by_hand(values, cadence))
    assert len(np.unique(cadence.fraction)) > 1


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    read=st.tuples(st.integers(1, 9), st.integers(5, 24), st.integers(5, 36)),
    write=st.tuples(st.integers(1, 20), st.integers(13, 24), st.integers(19, 36)),
    halo_share=st.sampled_from([math.inf, 0.5, 0.0]),
    config=st.sampled_from(CONFIGS),
)
def test_chunks_and_blocks_change_no_pixel(
    tmp_path: Path,
    read: tuple[int, int, int],
    write: tuple[int, int, int],
    halo_share: float,
    config: InterpolateConfig,
) -> None:
    values = clip(7, cut=3)
    cadence = config.cadence(timing(len(values)), (3,))
    made = mapped(f"memory://{tmp_path.name}", values, pass_of(cadence), read=read, write=write, halo_share=halo_share)
    assert np.array_equal(made, by_hand(values, cadence))


def test_two_workers_make_the_same(tmp_path: Path) -> None:
    values = clip()
    cadence = InterpolateConfig(factor=3).cadence(timing(len(values)), ())
    made = mapped(str(tmp_path), values, pass_of(cadence), write=(5, 24, 36), executor=TwoProcesses())
    assert np.array_equal(made, by_hand(values, cadence))


def test_nothing_is_mixed_across_a_cut(tmp_path: Path) -> None:
    values = clip(cut=4)
    cadence = InterpolateConfig(factor=4).cadence(timing(len(values)), (4,))
    made = mapped(f"memory://{tmp_path.name}", values, pass_of(cadence))
    assert all(np.array_equal(frame, values[3]) for frame in made[12:16])
    assert np.array_equal(made[16], values[4])
    assert not np.array_equal(made[17], values[4])
    assert cadence.moved((4,)) == (16,)


def test_nothing_is_invented_in_a_gap_or_after_the_end(tmp_path: Path) -> None:
    values = clip(4)
    pts = np.array([0, 1, 21, 22], np.int64)  # 0.8 s without a frame
    cadence = InterpolateConfig(fps="50").cadence(Timing(pts, np.ones(4, np.int64), Fraction(1, 25)), ())
    made = mapped(f"memory://{tmp_path.name}", values, pass_of(cadence))
    assert len(made) == 46
    assert all(np.array_equal(frame, values[1]) for frame in made[2:42])
    assert np.array_equal(made[42], values[2])
    assert not np.array_equal(made[43], values[2])
    assert all(np.array_equal(frame, values[3]) for frame in made[44:])


def test_one_frame_stays_one_frame_shown_longer(tmp_path: Path) -> None:
    values = clip(1)
    cadence = InterpolateConfig(factor=3).cadence(timing(1), ())
    assert np.array_equal(mapped(f"memory://{tmp_path.name}", values, pass_of(cadence)), values.repeat(3, axis=0))


def test_sixteen_bits_stay_deep(tmp_path: Path) -> None:
    values = np.stack([np.full((20, 20, 3), 1000, np.uint16), np.full((20, 20, 3), 1003, np.uint16)])
    cadence = InterpolateConfig(factor=3).cadence(timing(2), ())
    made = mapped(f"memory://{tmp_path.name}", values, pass_of(cadence))  # type: ignore[arg-type]
    assert (
        [int(frame.min()) for frame in made] == [int(frame.max()) for frame in made] == [1000, 1001, 1002] + [1003] * 3
    )


@pytest.mark.parametrize("order", ["upscale first", "interpolate first"])
def test_fused_with_upscale_equals_one_after_the_other(tmp_path: Path, order: str) -> None:
    values = clip(5)
    cadence = InterpolateConfig(factor=3).cadence(timing(len(values)), ())
    shape = Shape(*values.shape)
    more = InterpolateStage(InterpolateConfig(factor=3), MODEL, cadence)
    larger = UpscaleStage(UpscaleConfig(factor=2), ModelRef("embedded-upscaler", "", "cpu"))
    first, second = (larger, more) if order == "upscale first" else (more, larger)
    passes = [*first.passes(shape)]
    middle = fuse(passes).output_shape(shape)
    passes += second.passes(middle)
    root = f"memory://{tmp_path.name}"
    apart = mapped(root, mapped(root, values, fuse(first.passes(shape))), fuse(second.passes(middle)))
    assert np.array_equal(mapped(root, values, fuse(passes), write=(2, 30, 40)), apart)


def test_only_the_frames_it_needs_are_read() -> None:
    cadence = InterpolateConfig(factor=2).cadence(timing(9), ())
    made, shape = pass_of(cadence), Shape(9, 24, 36, 3)
    assert made.read_region(Region(4, 5, 3, 5, 7, 9), shape) == Region(2, 3, 0, 24, 0, 36)
    assert made.read_region(Region(4, 6, 3, 5, 7, 9), shape) == Region(2, 4, 0, 24, 0, 36)
    assert made.read_region(Region(16, 18, 0, 24, 0, 36), shape) == Region(8, 9, 0, 24, 0, 36)
