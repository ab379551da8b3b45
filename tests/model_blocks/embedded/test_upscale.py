"""The embedded upscaler: tiles equal the whole, nothing shifts, and it beats the usual kernels."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from datasets.errors import UsageError
from model_blocks.capabilities import Upscaler
from model_blocks.embedded.upscale import EmbeddedUpscaler, phase_weights
from tests.shared_data import fixture


def random_image(height: int, width: int, seed: int, channels: int = 3) -> Tensor:
    return torch.rand((1, channels, height, width), generator=torch.Generator().manual_seed(seed))


def by_tiles(model: EmbeddedUpscaler, image: Tensor, tile: int, halo: int) -> Tensor:
    scale, (height, width) = model.scale, image.shape[2:]
    result = torch.zeros((*image.shape[:2], height * scale, width * scale), dtype=image.dtype)
    for y in range(0, height, tile):
        for x in range(0, width, tile):
            top, left = max(0, y - halo), max(0, x - halo)
            bottom, right = min(height, y + tile), min(width, x + tile)
            part = model.upscale(image[:, :, top : bottom + halo, left : right + halo])
            rows = slice((y - top) * scale, (bottom - top) * scale)
            columns = slice((x - left) * scale, (right - left) * scale)
            result[:, :, y * scale : bottom * scale, x * scale : right * scale] = part[:, :, rows, columns]
    return result


@settings(max_examples=25, deadline=None)
@given(
    scale=st.integers(1, 8),
    height=st.integers(1, 41),
    width=st.integers(1, 41),
    tile=st.integers(1, 23),
    seed=st.integers(0, 99),
)
def test_tiles_equal_the_whole(scale: int, height: int, width: int, tile: int, seed: int) -> None:
    model, image = EmbeddedUpscaler(scale), random_image(height, width, seed)
    torch.testing.assert_close(by_tiles(model, image, tile, model.halo), model.upscale(image), atol=1e-6, rtol=0)


@pytest.mark.parametrize("scale", [2, 3, 5])
def test_the_halo_is_no_larger_than_it_must_be(scale: int) -> None:
    model, image = EmbeddedUpscaler(scale), (random_image(60, 60, 1) > 0.5).double()
    whole = model.upscale(image)
    assert float((by_tiles(model, image, 20, model.halo) - whole).abs().max()) < 1e-14
    assert float((by_tiles(model, image, 20, model.halo - 1) - whole).abs().max()) > 1e-8


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 7])
def test_a_constant_stays_constant(scale: int) -> None:
    large = EmbeddedUpscaler(scale).upscale(torch.full((1, 1, 9, 5), 0.3))
    torch.testing.assert_close(large, torch.full((1, 1, 9 * scale, 5 * scale), 0.3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_a_ramp_stays_a_ramp_without_a_shift(scale: int) -> None:
    width, inner = 40, 14
    ramp = (torch.arange(width) / 64).expand(1, 1, width, width).contiguous()
    expected = ((torch.arange(width * scale) + 0.5) / scale - 0.5) / 64  # centres of the output pixels
    large = EmbeddedUpscaler(scale).upscale(ramp)[0, 0, width * scale // 2]
    crop = slice(inner * scale, -inner * scale)
    torch.testing.assert_close(large[crop], expected[crop], atol=1e-5, rtol=0)


def test_a_step_makes_no_halo() -> None:
    step = torch.cat([torch.full((1, 1, 16, 8), 0.2), torch.full((1, 1, 16, 8), 0.7)], dim=3)
    large = EmbeddedUpscaler(4).upscale(step)
    assert float(large.min()) >= 0.2 - 1e-6
    assert float(large.max()) <= 0.7 + 1e-6


def test_any_number_of_channels_and_shape() -> None:
    model = EmbeddedUpscaler(3)
    assert isinstance(model, Upscaler)
    for shape in ((2, 1, 1, 1), (1, 4, 1, 9), (3, 2, 7, 1)):
        assert model.upscale(torch.rand(shape)).shape == (shape[0], shape[1], shape[2] * 3, shape[3] * 3)


@pytest.mark.parametrize("scale", [0, 9, -1])
def test_other_scales_are_refused(scale: int) -> None:
    with pytest.raises(UsageError):
        EmbeddedUpscaler(scale)


def test_kernels_reproduce_constants_and_ramps() -> None:
    weights = phase_weights(2, 0)  # an output pixel a quarter to the left of the input pixel
    assert sum(weights) == pytest.approx(1)
    assert sum(w * k for w, k in zip(weights, range(-3, 4), strict=True)) == pytest.approx(-0.25)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_it_beats_the_usual_kernels(scale: int) -> None:
    gains = []
    for name in ("coffee.png", "teapot.jpg", "astronaut.png", "flower.webp"):
        image = np.asarray(cv2.imread(str(fixture(f"images/{name}"))), dtype=np.float32) / 255
        image = image[: image.shape[0] // scale * scale, : image.shape[1] // scale * scale]
        small = cv2.resize(image, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA)
        ours = EmbeddedUpscaler(scale).upscale(torch.from_numpy(small).permute(2, 0, 1)[None])[0].permute(1, 2, 0)
        size = image.shape[1], image.shape[0]
        others = [cv2.resize(small, size, interpolation=k) for k in (cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)]
        gains.append(psnr(ours.numpy(), image) - max(psnr(other, image) for other in others))
    assert np.mean(gains) > 0.2  # decibels


def psnr(image: object, truth: object) -> float:
    difference = np.clip(np.asarray(image), 0, 1) - np.asarray(truth)
    return float(-10 * np.log10(np.mean(difference**2)))
