"""How a clip is cut into chunks, blocks and workers does not change one value of its frames."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from datasets.frame_spec import FrameSpec, chunk_key, planar_spec
from datasets.frames import FrameReader, create_frames, frames_entry, write_chunk, write_times
from datasets.identity import digest_bytes
from datasets.outputs import Manifest, OutputPlace
from datasets.planar import PLANAR
from datasets.storage import open_storage
from model_blocks.choice import ModelRef
from tasks.chunks import Limits, run_chunks
from tasks.clip_local import HALO_SHARE, ClipState, follow, pass_spec
from tasks.executor import InProcess
from tasks.grade import GradeConfig, prepare_grade
from tasks.interpolate import InterpolateConfig, InterpolateStage
from tasks.local import LocalStage
from tasks.ops.geometry import Shape
from tasks.ops.video.cadence import Timing
from tasks.ops.video.clip import ClipInfo
from tasks.passes import fuse
from tasks.plan import plan_blocks
from tasks.stage import Picture
from tasks.upscale import UpscaleConfig, UpscaleStage
from tasks.view import CLIP

FRAMES, HEIGHT, WIDTH = 11, 21, 30
CUTS = (6,)
ROOMY = 1 << 33


def stages() -> list[LocalStage]:
    return [
        prepare_grade(GradeConfig(exposure_stops=0.4), Picture("", "")),
        UpscaleStage(UpscaleConfig(factor=2), ModelRef("embedded-upscaler", "", "cpu")),
        interpolation(2),
    ]


def interpolation(factor: int) -> InterpolateStage:
    return InterpolateStage(InterpolateConfig(factor=factor), ModelRef("dis-interpolator", "", "cpu"))


def put(place: OutputPlace, chunk: int, info: ClipInfo, timing: Timing) -> OutputPlace:
    """A clip of a drifting pattern, rotated fields and all, in chunks of so many frames."""
    spec = planar_spec(FRAMES, HEIGHT, WIDTH, PLANAR["yuv420p"], **{CLIP: info.to_json()})
    spec = create_frames(place, FrameSpec(spec.shape, spec.dtype, (chunk, *spec.chunks[1:]), spec.attributes))
    rng = np.random.default_rng(5)
    ground = rng.integers(16, 236, (HEIGHT + FRAMES, WIDTH + FRAMES), dtype=np.uint8)
    planes: dict[str, NDArray[np.uint8]] = {
        "y": np.stack([ground[t : t + HEIGHT, t : t + WIDTH] for t in range(FRAMES)]),
        "u": rng.integers(16, 240, (FRAMES, 11, 15), dtype=np.uint8),
        "v": rng.integers(16, 240, (FRAMES, 11, 15), dtype=np.uint8),
    }
    checksums = {}
    for index in spec.indices():
        frames = spec.box(index)[0]
        part = {name: values[frames] for name, values in planes.items()}
        checksums[chunk_key(index)] = write_chunk(place, spec, index, part)
    write_times(place, timing.pts, timing.durations)
    place.finish(
        Manifest(place.fingerprint, "decode", objects=place.stored_objects(), frames=frames_entry(spec, checksums))
    )
    return place


def made(
    folder: Path, which: list[LocalStage], *, source_chunk: int, chunk: int, workers: int, memory: int
) -> NDArray[np.uint8]:
    """The frames that stages make, fused, of the clip cut so."""
    storage = open_storage(str(folder), "test")
    pts = np.array([0, 2, 4, 7, 9, 11, 13, 15, 18, 20, 22], np.int64)
    timing = Timing(pts, np.append(np.diff(pts), 2), Fraction(1, 50))
    info = ClipInfo(WIDTH, HEIGHT, "yuv420p", "yuv420p", timing.time_base, rotation=90)
    source = put(OutputPlace(storage, digest_bytes(b"s")), source_chunk, info, timing)
    begun = ClipState(info, Shape(FRAMES, WIDTH, HEIGHT, 3), "uint8", timing, CUTS)
    passes, ended = follow(which, begun)
    spec = ended.spec()
    spec = FrameSpec(spec.shape, spec.dtype, (chunk, *spec.chunks[1:]), spec.attributes)
    target = OutputPlace(storage, digest_bytes(b"t"))
    executor = InProcess()
    executor.workers = workers  # only asked how many blocks there should be
    work = run_chunks(source, target, fuse(passes), spec, executor=executor, limits=Limits(memory))
    target.finish(Manifest(target.fingerprint, "made", objects=target.stored_objects(), frames=work.entry))
    frames: NDArray[np.uint8] = FrameReader(target).read()
    return frames


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> NDArray[np.uint8]:
    folder = tmp_path_factory.mktemp("truth")
    return made(folder, stages(), source_chunk=FRAMES, chunk=64, workers=1, memory=ROOMY)


@given(st.integers(1, 12), st.integers(1, 25), st.integers(1, 4), st.sampled_from([ROOMY, 30 << 20, 6 << 20]))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_cut_changes_a_pixel(
    tmp_path_factory: pytest.TempPathFactory,
    truth: NDArray[np.uint8],
    source_chunk: int,
    chunk: int,
    workers: int,
    memory: int,
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    source_chunk = min(source_chunk, FRAMES)
    frames = made(folder, stages(), source_chunk=source_chunk, chunk=chunk, workers=workers, memory=memory)
    assert np.array_equal(frames, truth)


def test_the_clip_is_turned_enlarged_and_has_twice_the_frames(truth: NDArray[np.uint8]) -> None:
    assert truth.shape == (2 * FRAMES, 2 * WIDTH, 2 * HEIGHT, 3)
    assert np.array_equal(truth[2 * CUTS[0] - 1], truth[2 * CUTS[0] - 2]), "nothing is mixed across the cut"
    assert not np.array_equal(truth[1], truth[0])


@pytest.mark.parametrize("factor", [None, 2, 3])
def test_a_worker_that_dies_takes_one_chunk_with_it(factor: int | None) -> None:
    timing = Timing(np.arange(500, dtype=np.int64), np.ones(500, np.int64), Fraction(1, 25))
    info = ClipInfo(96, 72, "yuv420p", "yuv420p", timing.time_base)
    begun = ClipState(info, Shape(500, 72, 96, 3), "uint8", timing)
    which = stages()[:2] if factor is None else [*stages()[:2], interpolation(factor)]
    passes, ended = follow(which, begun)
    spec = pass_spec(begun, ended)
    assert spec.chunks == (8 * (factor or 1), 144, 192)
    blocks = plan_blocks(fuse(passes), begun.shape, spec, 1 << 40, workers=2, halo_share=HALO_SHARE)
    assert blocks.size == (1, 1, 1)
    assert blocks.halo_share <= 0.125
