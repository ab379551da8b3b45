"""Inpainting: against the true background, by any chunks, and where there is little to see."""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from datasets.errors import FrameShapeError
from model_blocks.embedded.inpaint import EDGE, EmbeddedInpainter, blending
from model_blocks.embedded.patches import fill_with_patches
from model_blocks.embedded.smooth_fill import fill_smoothly
from tests.moving_object import Clip, Scene, read_rgb, render
from tests.shared_data import fixture

CLIP = Scene(frames=18, occluder=None, size=(180, 240), object_height=80, pan=(45, 10), path=((0.3, 0.45), (0.6, 0.55)))
FLICKER = replace(CLIP, background="images/coffee.png", object="images/saleor_mug.png", object_height=50, gain=0.7)


def to_tensors(clip: Clip) -> tuple[Tensor, Tensor]:
    images = torch.from_numpy(clip.frames.astype(np.float32) / 255).permute(0, 3, 1, 2)
    return images, torch.from_numpy(clip.mask.astype(np.float32))[:, None]


def to_pixels(images: Tensor) -> NDArray[np.uint8]:
    return np.asarray(np.rint(images.permute(0, 2, 3, 1).numpy() * 255), dtype=np.uint8)


def psnr(found: NDArray[np.uint8], truth: NDArray[np.uint8], where: NDArray[np.bool_]) -> float:
    error = (found.astype(np.float64) - truth)[where]
    return float(10 * np.log10(255**2 / np.mean(error**2)))


def by_telea(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    around = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8))
    return np.asarray(cv2.inpaint(image, around, 3, cv2.INPAINT_TELEA), dtype=np.uint8)


@pytest.mark.parametrize("scene", [CLIP, FLICKER], ids=["pan", "darkening"])
def test_the_true_background_comes_back(scene: Scene) -> None:
    clip = render(scene)
    images, masks = to_tensors(clip)
    wanted = slice(7, 11)
    filled = to_pixels(EmbeddedInpainter().inpaint(images, masks, wanted))
    truth, where = clip.background[wanted], clip.mask[wanted]
    plain = np.stack([by_telea(*pair) for pair in zip(clip.frames[wanted], where, strict=True)])
    assert psnr(filled, truth, where) > max(30.0, psnr(plain, truth, where) + 12)


def test_chunks_do_not_show() -> None:
    clip = render(replace(CLIP, size=(90, 120), frames=30, object_height=40))
    images, masks = to_tensors(clip)
    model = EmbeddedInpainter()
    whole = model.inpaint(images, masks, slice(0, 30))
    parts = []
    for start in range(0, 30, 4):
        first, end = max(0, start - model.reach), min(30, start + 4 + model.reach)
        wanted = slice(start - first, min(30, start + 4) - first)
        parts.append(model.inpaint(images[first:end], masks[first:end], wanted))
    assert torch.equal(torch.cat(parts), whole)


def test_nothing_changes_away_from_the_mask() -> None:
    clip = render(replace(CLIP, frames=3))
    images, masks = to_tensors(clip)
    filled = EmbeddedInpainter().inpaint(images, masks, slice(0, 3))
    far = torch.nn.functional.max_pool2d(masks, 2 * EDGE + 1, stride=1, padding=EDGE) < 0.5
    assert torch.equal(filled[far.expand_as(filled)], images[far.expand_as(images)])
    assert not torch.equal(filled, images)
    untouched = EmbeddedInpainter().inpaint(images, torch.zeros_like(masks), slice(1, 3))
    assert torch.equal(untouched, images[1:3])


def test_threads_do_not_show() -> None:
    images, masks = to_tensors(render(replace(CLIP, frames=4)))
    threads = cv2.getNumThreads()
    results = []
    for count in (1, 2, 5):
        cv2.setNumThreads(count)
        results.append(EmbeddedInpainter().inpaint(images, masks, slice(0, 2)))
    cv2.setNumThreads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_a_photograph_is_filled_with_its_own_texture() -> None:
    image = np.ascontiguousarray(read_rgb("images/brick.png"))
    hole = np.zeros(image.shape[:2], bool)
    hole[200:260, 180:250] = True
    covered = image.copy()
    covered[hole] = (255, 0, 0)
    filled = fill_with_patches(covered, hole)
    smooth = by_telea(covered, hole)
    texture = [
        float(cv2.Laplacian(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY), cv2.CV_64F)[hole].std()) for p in (image, filled)
    ]
    assert texture[1] > 0.5 * texture[0]
    assert float(cv2.Laplacian(cv2.cvtColor(smooth, cv2.COLOR_RGB2GRAY), cv2.CV_64F)[hole].std()) < 0.5 * texture[0]
    assert np.array_equal(filled[~hole], image[~hole])
    assert int(filled[hole].max(axis=0)[0]) - int(filled[hole].max(axis=0)[2]) < 60  # nothing of the red is left


def test_a_photograph_of_a_fence_keeps_its_fence() -> None:
    image = np.ascontiguousarray(read_rgb("truth/inpaint_iopaint/image.png"))
    mask = cv2.imread(str(fixture("truth/inpaint_iopaint/mask.png")), cv2.IMREAD_GRAYSCALE)
    assert mask is not None
    person = mask > 127
    images = torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)[None]
    filled = to_pixels(EmbeddedInpainter().inpaint(images, torch.from_numpy(person)[None, None].float(), slice(0, 1)))[
        0
    ]
    assert filled[person].mean() < 60  # her face and trousers are bright, the night behind the fence is not
    rail = filled[140:152, 150:185].max(axis=0).mean()
    assert rail > 60  # it goes on behind her


@pytest.mark.parametrize(("count", "size"), [(1, (1, 1)), (3, (1, 1)), (2, (3, 40)), (1, (37, 3)), (3, (33, 47))])
@pytest.mark.parametrize("cover", ["all", "some", "none"])
def test_any_size_and_any_mask(count: int, size: tuple[int, int], cover: str) -> None:
    images = torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(2))
    masks = torch.zeros(count, 1, *size)
    masks[..., : {"all": size[1], "some": (size[1] + 1) // 2, "none": 0}[cover]] = 1
    filled = EmbeddedInpainter().inpaint(images, masks, slice(0, count))
    assert filled.shape == images.shape
    assert torch.isfinite(filled).all()
    assert 0 <= float(filled.min()) <= float(filled.max()) <= 1


def test_no_frames_are_wanted() -> None:
    assert EmbeddedInpainter().inpaint(torch.zeros(2, 3, 8, 8), torch.ones(2, 1, 8, 8), slice(1, 1)).shape[0] == 0


def test_a_soft_edge_is_blended_and_what_is_faint_alone_is_kept() -> None:
    row = np.array([[0, 0, 0, 0, 0, 0, 0.3, 0.8, 1, 1]], dtype=np.float32)
    share = blending(np.repeat(row, 9, axis=0))[4]
    assert share == pytest.approx([0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1])
    assert not blending(np.full((4, 4), 0.5, np.float32)).any()


def test_a_smooth_filling_of_a_slope_is_the_slope() -> None:
    slope = np.repeat(np.arange(40, dtype=np.float32)[None, :, None], 30, axis=0)
    known = np.ones((30, 40), bool)
    known[8:22, 12:28] = False
    damaged: NDArray[Any] = np.where(known[..., None], slope, -1e6).astype(np.float32)
    assert np.abs(fill_smoothly(damaged, known) - slope).max() < 1.5
    assert not fill_smoothly(damaged, np.zeros_like(known)).any()


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(FrameShapeError, match=r"\(2, 3, 8, 8\) and \(2, 1, 8, 9\)"):
        EmbeddedInpainter().inpaint(torch.zeros(2, 3, 8, 8), torch.zeros(2, 1, 8, 9), slice(0, 1))
