"""Depth Anything V2 computes what its authors' code computes, and takes no other file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import model_blocks.depth_anything as subject
from datasets.errors import FrameShapeError
from model_blocks.capabilities import DepthEstimator
from model_blocks.choice import ModelRef
from model_blocks.depth_anything import DepthAnything, open_depth_anything, working_size
from model_blocks.runtime import depth_estimator
from model_blocks.weight_errors import WeightsKeysError
from tests.model_blocks.parity import assert_parity, checkpoint, compared, golden
from tests.model_blocks.parity_depth import NAME, RUNS

MANIFEST = "depth_anything_v2_vits"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(MANIFEST, tmp_path_factory.mktemp("weights") / "depth.pth")


@pytest.fixture(scope="module")
def small(file: Path) -> DepthAnything:
    """One that looks at 280 pixels, which is quick."""
    return open_depth_anything(NAME, file, side=280)


def picture() -> torch.Tensor:
    pixels = golden(MANIFEST)[0]["image_rgb_u8"].astype(np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(5))


def verdict(output: str, made: torch.Tensor) -> bool:
    (found,) = [each for each in compared(MANIFEST, {output: made.numpy()}) if each.output == output]
    return found.passed


@pytest.mark.slow
def test_everything_gives_the_authors_outputs(file: Path) -> None:
    assert_parity(MANIFEST, RUNS[MANIFEST].run(file, golden(MANIFEST)[0]))


def test_the_whole_procedure_gives_the_authors_depth(small: DepthAnything) -> None:
    assert verdict("depth_280", small.estimate_depth(picture())[0, 0])


def test_a_picture_that_is_not_square_gets_the_authors_positions(
    small: DepthAnything, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = torch.from_numpy(golden(MANIFEST)[0]["net_nonsq"])
    assert verdict("net_nonsq", small.network_depth(seen)[0, 0])
    monkeypatch.setattr(subject, "POSITION_OFFSET", 0.0)  # as transformers stretches them
    assert not verdict("net_nonsq", small.network_depth(seen)[0, 0])


@pytest.mark.parametrize(
    "broken",
    [
        "another kernel",
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in ("channels", "normalisation", "another size", "corners")
        ),
    ],
)
def test_breaking_a_convention_misses_the_reference(
    broken: str, small: DepthAnything, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = picture()
    match broken:
        case "channels":
            images = images.flip(1)
        case "normalisation":
            monkeypatch.setattr(subject, "normalised", lambda values: values)
        case "another kernel":
            monkeypatch.setattr(cv2, "INTER_CUBIC", cv2.INTER_LINEAR)
        case "another size":
            monkeypatch.setattr(subject, "working_size", lambda *given: (280, 280))
        case "corners":
            stretch = torch.nn.functional.interpolate
            monkeypatch.setattr(
                torch.nn.functional, "interpolate", lambda *a, **b: stretch(*a, **(b | {"align_corners": False}))
            )
    assert not verdict("depth_280", small.estimate_depth(images)[0, 0])


@pytest.mark.parametrize(
    ("height", "width", "side", "expected"),
    [
        (143, 107, 518, (686, 518)),  # 143 * 518 / 107 = 692.3, of which 686 is the nearest multiple of 14
        (107, 143, 280, (280, 378)),
        (518, 518, 518, (518, 518)),
        (1, 1, 518, (518, 518)),
        (1, 500, 518, (518, 2072)),  # squeezed to 4:1
    ],
)
def test_the_size_that_is_looked_at(height: int, width: int, side: int, expected: tuple[int, int]) -> None:
    assert working_size(height, width, side) == expected


@pytest.mark.parametrize("size", [(1, 1), *(pytest.param(each, marks=pytest.mark.slow) for each in ((9, 1), (31, 45)))])
def test_odd_sizes_come_back_whole_and_finite(size: tuple[int, int], small: DepthAnything) -> None:
    made = small.estimate_depth(noise(1, 3, *size))
    assert made.shape == (1, 1, *size)
    assert made.dtype == torch.float32
    assert made.isfinite().all()
    assert (made >= 0).all()


@pytest.mark.slow
def test_a_picture_is_seen_as_in_a_batch(small: DepthAnything) -> None:
    images = noise(2, 3, 20, 30)
    both = small.estimate_depth(images)
    alone = torch.cat([small.estimate_depth(images[n : n + 1]) for n in range(2)])
    assert (both - alone).abs().max() < 1e-4 * both.abs().max()


def test_grey_pictures_are_refused(small: DepthAnything) -> None:
    with pytest.raises(FrameShapeError, match="3, H, W"):
        small.estimate_depth(noise(1, 1, 20, 20))


@pytest.mark.slow
def test_bfloat16_is_near(file: Path, small: DepthAnything) -> None:
    half = open_depth_anything(NAME, file, side=280, precision="bfloat16").estimate_depth(picture())
    full = small.estimate_depth(picture())
    assert half.dtype == torch.float32
    assert (half - full).abs().mean() < 0.05 * full.abs().mean()


def changed(file: Path, target: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    state = torch.load(file, weights_only=True)
    change(state)
    torch.save(state, target)
    return target


def test_missing_unknown_and_misshapen_tensors_are_named(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "changed.pth"
    with pytest.raises(WeightsKeysError, match=r"layer\.3\.attention\.q_proj"):
        open_depth_anything(NAME, changed(file, target, lambda s: s.pop("pretrained.blocks.3.attn.qkv.weight")))
    with pytest.raises(WeightsKeysError, match=r"pretrained\.more"):
        open_depth_anything(NAME, changed(file, target, lambda s: s.update({"pretrained.more": torch.zeros(1)})))
    bias = "depth_head.scratch.output_conv2.2.bias"
    with pytest.raises(WeightsKeysError, match=r"head\.conv3\.bias"):
        open_depth_anything(NAME, changed(file, target, lambda s: s.update({bias: torch.zeros(2)})))


def test_the_file_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsKeysError):
        open_depth_anything(NAME, checkpoint("bmv2-mobilenetv2", tmp_path / "other.pth"))


def test_the_runtime_opens_it(file: Path) -> None:
    assert isinstance(depth_estimator(ModelRef(NAME, "", "cpu", path=str(file))), DepthEstimator)
