"""The embedded matter: local, exact where the answer is known, and right on mattes made by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from datasets.errors import FrameShapeError
from model_blocks.capabilities import Matter
from model_blocks.embedded.matte import (
    EmbeddedMatter,
    alpha_from_probability,
    alpha_halo,
    band_radius,
    make_trimap,
    trimap_halo,
)
from model_blocks.embedded.neighbourhood import box_sum, guided_filter, local_minimum, spread, spread_reach


def noise(height: int, width: int, seed: int, channels: int) -> Tensor:
    return torch.rand((1, channels, height, width), generator=torch.Generator().manual_seed(seed))


def blob(height: int, width: int, seed: int) -> Tensor:
    """A probability with solid and doubtful places, steep and shallow edges."""
    coarse = noise(height // 12 + 2, width // 12 + 2, seed, 1)
    wide = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
    return ((wide - 0.5) * 8 + 0.5).clamp(0, 1)


def alpha_by_tiles(image: Tensor, probability: Tensor, radius: int, tile: int, halo: int) -> tuple[Tensor, Tensor]:
    alpha, colour = torch.zeros_like(probability), torch.zeros_like(image)
    height, width = probability.shape[2:]
    for y in range(0, height, tile):
        for x in range(0, width, tile):
            top, left = max(0, y - halo), max(0, x - halo)
            wide = (..., slice(top, y + tile + halo), slice(left, x + tile + halo))
            found = alpha_from_probability(image[wide], probability[wide], radius=radius)
            inner = (..., slice(y - top, y - top + tile), slice(x - left, x - left + tile))
            own = (..., slice(y, y + tile), slice(x, x + tile))
            alpha[own], colour[own] = found[0][inner], found[1][inner]
    return alpha, colour


@settings(max_examples=15, deadline=None)
@given(
    radius=st.integers(0, 9),
    height=st.integers(1, 151),
    width=st.integers(1, 151),
    tile=st.integers(17, 90),
    seed=st.integers(0, 99),
)
def test_tiles_equal_the_whole(radius: int, height: int, width: int, tile: int, seed: int) -> None:
    image, probability = noise(height, width, seed, 3), blob(height, width, seed)
    whole = alpha_from_probability(image, probability, radius=radius)
    tiled = alpha_by_tiles(image, probability, radius, tile, alpha_halo(radius))
    for a, b in zip(tiled, whole, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


@pytest.mark.parametrize("radius", [1, 4])
def test_the_halo_is_no_larger_than_it_must_be(radius: int) -> None:
    """What lies exactly one halo away is seen, what lies one pixel further is not."""
    halo, worst = alpha_halo(radius), 0.0
    for seed in range(4):
        image, probability = lonely_object(halo, radius, seed)
        before = alpha_from_probability(image, probability, radius=radius)[0]
        near, far = probability.clone(), probability.clone()
        near[..., COLUMN + halo], far[..., COLUMN + halo + 1] = 0.0, 0.0
        seen = alpha_from_probability(image, near, radius=radius)[0]
        beyond = alpha_from_probability(image, far, radius=radius)[0]
        assert torch.equal(beyond[..., COLUMN], before[..., COLUMN])
        worst = max(worst, float((seen - before)[..., COLUMN].abs().max()))
    assert worst > 1e-5


COLUMN = 2


def lonely_object(halo: int, radius: int, seed: int) -> tuple[Tensor, Tensor]:
    """Background in the first column, the object begins where ``COLUMN`` can just see it, all between in doubt."""
    height, width = 24, COLUMN + halo + 4
    probability = torch.full((1, 1, height, width), 0.4)
    probability[..., 0] = 0.0
    probability[..., COLUMN + halo - 2 * radius :] = 1.0
    return noise(height, width, seed, 3), probability


@settings(max_examples=8, deadline=None)
@given(height=st.integers(1, 120), width=st.integers(90, 220), cut=st.integers(1, 219), seed=st.integers(0, 99))
def test_the_matter_sees_no_further_than_its_halo(height: int, width: int, cut: int, seed: int) -> None:
    model, image = EmbeddedMatter(), noise(height, width, seed, 3)
    trimap = (noise(height, width, seed + 1, 1) * 3).floor() / 2
    cut = min(cut, width - 1)
    whole = model.matte(image, trimap)[0]
    left = model.matte(image[..., : cut + model.halo], trimap[..., : cut + model.halo])[0]
    torch.testing.assert_close(left[..., :cut], whole[..., :cut], atol=1e-5, rtol=0)


def test_known_places_are_exact_and_keep_their_colours() -> None:
    image, trimap = noise(40, 50, 3, 3), (noise(40, 50, 4, 1) * 3).floor() / 2
    model = EmbeddedMatter()
    assert isinstance(model, Matter)
    alpha, colour = model.matte(image, trimap)
    assert bool((alpha[trimap == 1] == 1).all())
    assert bool((alpha[trimap == 0] == 0).all())
    solid = (alpha == 1).expand_as(image)
    assert bool((colour[solid] == image[solid]).all())


def soft_edge(width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Red over blue, alpha a ramp across twelve columns: the image, its alpha, the object's colour."""
    alpha = ((torch.arange(width) - width / 2) / 12 + 0.5).clamp(0, 1).expand(1, 1, 40, width)
    red, blue = torch.tensor([0.8, 0.1, 0.1]), torch.tensor([0.1, 0.2, 0.7])
    front, back = red[None, :, None, None], blue[None, :, None, None]
    return alpha * front + (1 - alpha) * back, alpha.contiguous(), red


def test_a_soft_edge_between_two_colours_is_found() -> None:
    image, truth, red = soft_edge(80)
    trimap = torch.where(truth >= 1, 1.0, torch.where(truth <= 0, 0.0, torch.full_like(truth, 0.5)))
    alpha, colour = EmbeddedMatter().matte(image, trimap)
    assert float((alpha - truth).abs().max()) < 0.08
    edge = (alpha[0, 0] > 0.2) & (alpha[0, 0] < 0.9)
    assert float((colour[0].permute(1, 2, 0)[edge] - red).abs().max()) < 0.06  # no blue in the red


def test_an_edge_missed_by_two_pixels_is_put_right() -> None:
    image = torch.full((1, 3, 40, 60), 0.9)
    image[..., 30:] = 0.2
    off = torch.zeros((1, 1, 40, 60))
    off[..., 32:] = 1
    alpha, _ = alpha_from_probability(image, off, radius=5)
    assert float(alpha[0, 0, :, 30:].min()) > 0.9
    assert float(alpha[0, 0, :, :30].max()) < 0.1


def test_trimap_of_a_step_by_hand() -> None:
    probability = torch.tensor([[[[0.0, 0, 0, 0, 0, 1, 1, 1, 1, 1]]]])
    expected = torch.tensor([[[[0.0, 0, 0, 0.5, 0.5, 0.5, 0.5, 1, 1, 1]]]])
    assert torch.equal(make_trimap(probability, 2), expected)
    assert trimap_halo(2) == 2
    assert torch.equal(make_trimap(torch.full((1, 1, 1, 3), 0.7), 0), torch.full((1, 1, 1, 3), 0.5))


def test_band_grows_with_the_enlargement() -> None:
    assert band_radius(600, 768) == band_radius(768, 768) == 4
    assert band_radius(3072, 768) == 10


def test_box_sum_and_spread_against_numpy() -> None:
    values = noise(13, 17, 0, 1)
    padded = np.pad(values[0, 0].double().numpy(), 3)
    expected = np.array([[padded[y : y + 7, x : x + 7].sum() for x in range(17)] for y in range(13)])
    np.testing.assert_allclose(box_sum(values, radius=3)[0, 0].numpy(), expected, atol=1e-5)
    impulse = torch.zeros((1, 1, 9, 9))
    impulse[..., 4, 4] = 1
    row = spread(impulse, step=2)[0, 0, 4]
    assert row.tolist() == [0, 0, 0.125, 0, 0.25, 0, 0.125, 0, 0]
    assert [spread_reach(n) for n in (1, 2, 5)] == [1, 3, 31]
    assert float(local_minimum(values, radius=20).max()) == float(values.min())


def test_guided_filter_returns_an_affine_function_of_the_guide() -> None:
    guide = noise(30, 30, 5, 3)
    values = (guide * torch.tensor([0.2, 0.5, 0.1])[None, :, None, None]).sum(dim=1, keepdim=True) + 0.1
    smooth = guided_filter(guide, values, torch.ones_like(values), radius=4, smoothness=1e-6)
    torch.testing.assert_close(smooth, values, atol=1e-3, rtol=0)


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(FrameShapeError):
        alpha_from_probability(torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 4, 5), radius=2)
    with pytest.raises(FrameShapeError):
        EmbeddedMatter().matte(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4))
