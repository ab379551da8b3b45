"""Real weights through the engine: the same bits however the picture is cut, and memory that stays within the plan."""

import math
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from datasets.errors import UsageError
from model_blocks.choice import ModelRef
from model_blocks.realesrgan import RealEsrganUpscaler
from model_blocks.registry import find_model
from model_blocks.runtime import upscaler
from model_blocks.weight_files import file_digest
from tasks.ops.geometry import Shape
from tasks.passes import LocalPass
from tasks.stage import StageKey
from tasks.upscale import UpscaleConfig, UpscaleStage
from tests.shared_data import shared
from tests.tasks.test_passes import mapped, whole

FILES = {"realesr-animevideo-v3": "realesr-animevideov3.pth", "realesr-general-x4v3": "realesr-general-x4v3.pth"}
WEAK = {"realesr-general-wdn-x4v3": "realesr-general-wdn-x4v3.pth"}


def real(name: str) -> ModelRef:
    path = shared(f"weights/{(FILES | WEAK)[name]}")
    return ModelRef(name, file_digest(path), "cpu", path=str(path), published=False)


@dataclass(frozen=True)
class Bits:
    """(T, H, W, 3) uint8 to (T, 4*H, 4*W, 6) uint16: the network's float32 values bit by bit."""

    model: ModelRef

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.uint16]:
        images = torch.from_numpy(frames.astype(np.float32) / 255).permute(0, 3, 1, 2)
        made = upscaler(self.model, 4).upscale(images).permute(0, 2, 3, 1).contiguous().numpy()
        return made.view(np.uint16)


def edges(height: int, width: int) -> NDArray[np.uint8]:
    """Noise of full contrast, which makes the network see as far as it can."""
    return np.random.default_rng(11).integers(0, 2, (1, height, width, 3), dtype=np.uint8) * np.uint8(255)


@pytest.mark.parametrize(("name", "halo"), [("realesr-animevideo-v3", 18), ("realesr-general-x4v3", 34)])
@pytest.mark.parametrize(("height", "width", "chunk", "share"), [(91, 53, 150, math.inf), (45, 107, 75, 0.8)])
def test_every_bit_is_the_same_in_chunks_blocks_and_the_whole(
    name: str, halo: int, height: int, width: int, chunk: int, share: float
) -> None:
    values, bits = edges(height, width), Bits(real(name))
    exact = LocalPass(bits, halo_pixels=halo, scale=4, channels=6)
    expected = whole(values, exact)
    tile = (1, chunk, chunk)
    assert np.array_equal(mapped(f"memory://{name}", values, exact, tile, tile, share, "uint16"), expected)
    if share == math.inf:
        short = replace(exact, halo_pixels=halo - 1)
        assert not np.array_equal(mapped(f"memory://{name}", values, short, tile, tile, share, "uint16"), expected)


@pytest.mark.parametrize("name", FILES)
def test_the_registry_and_the_stage_know_the_halo(name: str) -> None:
    enlarge, _ = UpscaleStage(UpscaleConfig(factor=2), real(name)).passes(Shape(1, 60, 60, 3))
    assert isinstance(enlarge, LocalPass)
    assert (enlarge.halo_pixels, enlarge.tile) == (find_model(name).receptive_radius, None)


def test_a_model_that_sees_beyond_its_halo_has_its_tiles_in_the_fingerprint() -> None:
    far = UpscaleStage(UpscaleConfig(), ModelRef("realesrgan-x4plus", "0" * 64, "cpu")).key("1" * 64)
    near = UpscaleStage(UpscaleConfig(), ModelRef("realesr-general-x4v3", "0" * 64, "cpu")).key("1" * 64)
    assert (far.parameters["tile"], far.parameters["halo"]) == (256, 64)
    assert not {"tile", "halo"} & set(near.parameters)


def test_a_blend_is_named_by_both_files_and_its_strength() -> None:
    strong, weak = real("realesr-general-x4v3"), real("realesr-general-wdn-x4v3")

    def key(denoise: float, blend: ModelRef | None = weak) -> StageKey:
        return UpscaleStage(UpscaleConfig(denoise=denoise), strong, blend=blend).key("1" * 64)

    assert key(1.0).models == (strong,)
    assert key(1.0) == key(1.0, None)
    assert key(0.5).models == (strong, weak)
    ((_, inputs),) = key(0.5).edges
    assert [digest for kind, digest in inputs if kind == "weights"] == [strong.weights, weak.weights]
    assert len({key(strength).fingerprint for strength in (1.0, 0.5, 0.25)}) == 3
    assert key(0.5).fingerprint != key(0.5, replace(weak, weights="0" * 64)).fingerprint


def test_a_blended_picture_is_what_a_network_of_averaged_weights_makes() -> None:
    strong, weak = real("realesr-general-x4v3"), real("realesr-general-wdn-x4v3")
    files = [torch.load(model.path, weights_only=True)["params"] for model in (strong, weak)]
    averaged = RealEsrganUpscaler({name: 0.25 * files[0][name] + 0.75 * files[1][name] for name in files[0]})
    values = edges(20, 24)
    (enlarge,) = UpscaleStage(UpscaleConfig(factor=4, denoise=0.25), strong, blend=weak).passes(Shape(1, 20, 24, 3))
    expected = averaged.upscale(torch.from_numpy(values.astype(np.float32) / 255).permute(0, 3, 1, 2))
    made = whole(values, enlarge).astype(np.float32) / 255
    assert np.abs(made - expected.permute(0, 2, 3, 1).numpy()).max() < 0.51 / 255


def test_a_model_without_denoise_strength_refuses_one() -> None:
    with pytest.raises(UsageError, match="leave 'denoise' out"):
        UpscaleStage(UpscaleConfig(denoise=0.5), ModelRef("embedded-upscaler", "", "cpu")).key("1" * 64)


def test_tiles_are_fixed_on_an_accelerator() -> None:
    """Libraries there choose by size how they round, so blocks must not decide sizes."""
    near = UpscaleStage(UpscaleConfig(), ModelRef("realesr-general-x4v3", "0" * 64, "cuda", "float16"))
    (enlarge, _) = near.passes(Shape(1, 60, 60, 3))
    assert isinstance(enlarge, LocalPass)
    assert enlarge.tile == near.key("1" * 64).parameters["tile"] == 1024


@pytest.mark.gpu
def test_half_precision_on_an_accelerator_stays_near_full() -> None:
    model = real("realesr-general-x4v3")
    values = edges(60, 70)
    on_cuda = replace(model, device="cuda", precision="float16")
    (full,), (half,) = (
        UpscaleStage(UpscaleConfig(factor=4), ref).passes(Shape(1, 60, 70, 3)) for ref in (model, on_cuda)
    )
    difference = whole(values, full).astype(int) - whole(values, half).astype(int)
    assert np.abs(difference).mean() < 1
    assert np.array_equal(whole(values, half), whole(values, half))


PROGRAM = """
import sys, numpy as np, torch
from pathlib import Path
from datasets.frame_spec import FrameSpec
from datasets.outputs import OutputPlace
from datasets.storage import open_storage
from datasets.errors import UsageError
from model_blocks.choice import ModelRef
from model_blocks.realesrgan import RealEsrganUpscaler
from model_blocks.runtime import upscaler
from tasks.chunks import Limits, run_chunks
from tasks.executor import InProcess
from tasks.ops.geometry import Shape
from tasks.passes import fuse
from tasks.upscale import UpscaleConfig, UpscaleStage
from tests.tasks.test_passes import put
def peak():  # not getrusage: that inherits the peak of whoever started this process
    return 1024 * next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

root, path, digest, height, width = sys.argv[1:3] + [sys.argv[3], int(sys.argv[4]), int(sys.argv[5])]
model = ModelRef("realesr-general-x4v3", digest, "cpu", path=path)
upscaler(model, 4).upscale(torch.rand(1, 3, 8, 8))
storage = open_storage(root, "default")
source, target = OutputPlace(storage, "0" * 64), OutputPlace(storage, "1" * 64)
values = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
put(source, values, (1, 1024, 1024))
before = peak()
enlarge = fuse(UpscaleStage(UpscaleConfig(factor=2), model).passes(Shape(1, height, width, 3)))
made = enlarge.output_shape(Shape(1, height, width, 3))
spec = FrameSpec(made.as_tuple(), "uint8", (1, 256, 256))
work = run_chunks(source, target, enlarge, spec, executor=InProcess(), limits=Limits(1 << 40, halo_share=0.0))
print(work.planned_bytes, peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads a process's own peak from Linux's /proc")
@pytest.mark.parametrize(("height", "width"), [(400, 500), (800, 900)])
def test_the_plan_bounds_the_memory_that_is_really_used(tmp_path: Path, height: int, width: int) -> None:
    """Resident memory that a fresh process gains, beside what the plan said; twice as much would be waste."""
    model = real("realesr-general-x4v3")
    arguments = [str(tmp_path), model.path, model.weights, str(height), str(width)]
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": root},
        check=True,
    )
    planned, used = map(int, done.stdout.split())
    assert used <= planned <= 2 * used
