"""Every embedded stage, through the engine: tiled equals whole at odd sizes, and the halo is not a pixel too large."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model_blocks.choice import ModelRef
from tasks.cutout import CutoutPass
from tasks.grade import GradeConfig, GradeStage
from tasks.ops.geometry import Region, Shape
from tasks.passes import ChunkPass, FusedPass, LocalPass, fuse
from tasks.upscale import UpscaleConfig, UpscaleStage
from tests.tasks.test_passes import mapped, whole

UPSCALER = ModelRef("embedded-upscaler", "", "cpu")
MATTER = ModelRef("embedded-matter", "", "cpu")


def picture(height: int, width: int, channels: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (1, height, width, channels), dtype=np.uint8)


def probability(seed: int) -> NDArray[np.float32]:
    """A disc and some noise at working size, so that edges run everywhere."""
    y, x = np.mgrid[0:24, 0:30]
    disc = 1 / (1 + np.exp((np.hypot(y - 11, x - 14) - 7) * 1.5))
    noise = np.random.default_rng(seed).random((24, 30))
    return np.asarray(np.clip(disc * 0.8 + noise * 0.3, 0, 1), dtype=np.float32)


def passes(shape: Shape, seed: int) -> dict[str, ChunkPass]:
    upscale = [UpscaleStage(UpscaleConfig(factor=factor), UPSCALER).passes(shape) for factor in (2.0, 2.6, 3.0)]
    grade = GradeStage(GradeConfig(exposure_stops=0.3, saturation=1.2, denoise=0.5, sharpen=1.0)).passes(shape)
    return {
        "cutout": CutoutPass(probability(seed), MATTER),
        "upscale ×2": fuse(upscale[0]),
        "upscale ×2.6": fuse(upscale[1]),
        "upscale ×3": fuse(upscale[2]),
        "grade": fuse(grade),
        "upscale+grade": fuse([*upscale[1], *GradeStage(GradeConfig(sharpen=1.0)).passes(shape)]),
    }


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("stage", ["cutout", "upscale ×2", "upscale ×2.6", "upscale ×3", "grade", "upscale+grade"])
@given(data=st.data())
def test_tiled_equals_whole(tmp_path: Path, stage: str, data: st.DataObject) -> None:
    height, width = (data.draw(st.integers(1, 75)) for _ in range(2))
    channels = 3 if stage == "cutout" else data.draw(st.sampled_from([3, 4]))
    seed = data.draw(st.integers(0, 1000))
    values = picture(height, width, channels, seed)
    chunk_pass = passes(Shape(*values.shape), seed)[stage]
    tile = (1, data.draw(st.integers(17, 90)), data.draw(st.integers(17, 90)))
    share = data.draw(st.sampled_from([math.inf, 0.3]))
    made = mapped(f"memory://{tmp_path.name}", values, chunk_pass, (1, 31, 29), tile, share)
    assert np.array_equal(made, whole(values, chunk_pass))


@dataclass(frozen=True)
class Stingy:
    """The same pass, reading one pixel less on each side than it says it needs."""

    inner: ChunkPass

    def output_shape(self, shape: Shape) -> Shape:
        return self.inner.output_shape(shape)

    def read_region(self, region: Region, shape: Shape) -> Region:
        full = self.inner.read_region(region, shape)
        return replace(
            full,
            y0=full.y0 + (full.y0 > 0),
            y1=full.y1 - (full.y1 < shape.height),
            x0=full.x0 + (full.x0 > 0),
            x1=full.x1 - (full.x1 < shape.width),
        )

    def apply(self, frames: NDArray[np.uint8], *, read: Region, region: Region, shape: Shape) -> NDArray[np.uint8]:
        made: NDArray[np.uint8] = self.inner.apply(frames, read=read, region=region, shape=shape)
        return made

    def working_bytes(self, read: Region, shape: Shape, itemsize: int) -> int:
        return self.inner.working_bytes(read, shape, itemsize)


def test_a_halo_one_pixel_too_small_turns_it_red() -> None:
    """For the stages whose kernels weigh their outermost pixel enough to show in 8 bits."""
    values = picture(60, 70, 3, 5)
    shape = Shape(*values.shape)
    for config in (GradeConfig(sharpen=2.0), GradeConfig(denoise=1.0)):
        short = Stingy(fuse(GradeStage(config).passes(shape)))
        assert not np.array_equal(
            mapped("memory://grade", values, short, (1, 60, 70), (1, 20, 20)), whole(values, short)
        )


def test_the_upscaler_sees_no_farther_than_it_says() -> None:
    """Pixels beyond the halo change nothing; that its last pixel counts is shown in float64 beside the model."""
    (enlarge,) = UpscaleStage(UpscaleConfig(factor=2), UPSCALER).passes(Shape(1, 64, 64, 3))
    assert isinstance(enlarge, LocalPass)
    halo = enlarge.halo_pixels
    base = np.full((1, 64, 64, 3), 30000, np.uint16)
    base[:, 20:44, 20:44] = 52000

    def made(distance: int) -> NDArray[np.uint16]:
        changed = base.copy()
        changed[0, 32 - distance] = 65535
        return np.asarray(whole(changed, enlarge)[0, 64])  # type: ignore[arg-type]

    assert np.array_equal(made(halo + 1), made(halo + 5))


def test_a_fused_pass_is_not_hungrier_than_its_parts_in_a_row() -> None:
    shape = Shape(1, 4000, 3000, 3)
    upscale = UpscaleStage(UpscaleConfig(factor=2), UPSCALER).passes(shape)
    grade = GradeStage(GradeConfig(sharpen=1.0)).passes(Shape(1, 8000, 6000, 3))
    read = Region(0, 1, 0, 200, 0, 200)
    fused = FusedPass((*upscale, *grade)).working_bytes(read, shape, 1)
    assert fused >= upscale[0].working_bytes(read, shape, 1)
