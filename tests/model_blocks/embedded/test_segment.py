"""The embedded segmenter: on pictures with a known answer, on textures, at odd sizes, and twice the same."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from expectations.matting_metrics import intersection_over_union
from model_blocks.capabilities import Segmenter
from model_blocks.embedded.cut import minimum_cut
from model_blocks.embedded.segment import EmbeddedSegmenter, otsu, without_bars
from model_blocks.embedded.superpixels import slic
from tests.shared_data import fixture


def picture(relative: str) -> Tensor:
    image = np.asarray(cv2.imread(str(fixture(relative))))
    side = EmbeddedSegmenter.working_side
    scale = min(1.0, side / max(image.shape[:2]))
    image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    return torch.from_numpy(np.ascontiguousarray(image[..., ::-1])).permute(2, 0, 1)[None].float() / 255


def composed(name: str, ground: np.ndarray, size: int) -> tuple[Tensor, np.ndarray]:
    cut = np.asarray(cv2.imread(str(fixture(f"images/{name}")), cv2.IMREAD_UNCHANGED))
    cut = np.asarray(cv2.resize(cut, (size, size), interpolation=cv2.INTER_AREA), dtype=np.float64) / 255
    alpha = cut[..., 3:]
    image = cut[..., 2::-1] * alpha + ground * (1 - alpha)
    return torch.from_numpy(image).permute(2, 0, 1)[None].float(), alpha[..., 0]


def ramp(size: int) -> np.ndarray:
    y, x = (axis[..., None] / size for axis in np.mgrid[:size, :size])
    return np.asarray(0.9 - 0.25 * y * np.array([1.0, 0.9, 0.8]) - 0.1 * x)


@pytest.mark.parametrize("name", ["saleor_mug.png", "saleor_apple_drink.png"])
@pytest.mark.parametrize("ground", ["grey", "ramp"])
def test_products_on_plain_grounds(name: str, ground: str) -> None:
    back = ramp(540) if ground == "ramp" else np.full((540, 540, 3), 0.6)
    image, truth = composed(name, back, 540)
    found = EmbeddedSegmenter().segment(image)
    counted = (truth == 0) | (truth > 0.9)  # a soft shadow may go either way
    assert intersection_over_union(found.probability[0, 0].numpy() > 0.5, truth > 0.9, counted) > 0.96
    assert found.confidence[0] >= 0.5


def test_the_hole_of_a_handle_stays_open_and_the_shadow_goes() -> None:
    image, truth = composed("saleor_mug.png", np.full((540, 540, 3), 0.9), 540)
    probability = EmbeddedSegmenter().segment(image).probability[0, 0].numpy()
    assert probability[400, 155] < 0.1  # inside the handle
    assert truth[400, 155] == 0
    assert probability[540 - 65 :].max() < 0.1  # the shadow under the mug


@pytest.mark.parametrize(
    "name", ["coffee.png", "teapot.jpg", "cap_04.jpg", "tshirt_man_03.jpg", "teddy-bear.jpg", "astronaut.png"]
)
def test_products_are_believed(name: str) -> None:
    found = EmbeddedSegmenter().segment(picture(f"images/{name}"))
    assert found.confidence[0] >= 0.5
    assert 0.005 < float(found.probability.mean()) < 0.8


def test_the_demo_picture_has_cup_saucer_and_spoon() -> None:
    probability = EmbeddedSegmenter().segment(picture("images/coffee.png")).probability[0, 0]
    inside = {
        "cup": (100, 300),
        "saucer": (200, 440),
        "far saucer": (180, 110),
        "spoon": (290, 365),
        "coffee": (160, 290),
    }
    outside = {"corner": (20, 30), "table": (60, 540), "left": (300, 30), "shadow": (385, 100), "right": (350, 560)}
    assert {name: bool(probability[at] > 0.9) for name, at in inside.items()} == dict.fromkeys(inside, True)
    assert {name: bool(probability[at] < 0.1) for name, at in outside.items()} == dict.fromkeys(outside, True)


@pytest.mark.parametrize("name", ["brick.png", "gravel.png"])
def test_textures_are_not_believed(name: str) -> None:
    assert EmbeddedSegmenter().segment(picture(f"images/{name}")).confidence[0] < 0.5


def test_nothing_and_noise_are_not_believed() -> None:
    noise = torch.rand((1, 3, 200, 240), generator=torch.Generator().manual_seed(0))
    found = EmbeddedSegmenter().segment(torch.cat([torch.full_like(noise, 0.6), noise]))
    assert max(found.confidence) < 0.5


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 2), (4000, 1), (33, 57), (5, 300)])
def test_any_size_works(size: tuple[int, int]) -> None:
    model = EmbeddedSegmenter()
    assert isinstance(model, Segmenter)
    found = model.segment(torch.rand((1, 3, *size), generator=torch.Generator().manual_seed(1)))
    assert found.probability.shape == (1, 1, *size)
    assert found.probability.dtype == torch.float32
    assert bool(((found.probability >= 0) & (found.probability <= 1)).all())


PROGRAM = """
import hashlib, sys, cv2, torch
torch.set_num_threads(int(sys.argv[1])); cv2.setNumThreads(int(sys.argv[1]))
from model_blocks.embedded.segment import EmbeddedSegmenter
x = torch.rand((1, 3, 90, 120), generator=torch.Generator().manual_seed(2)) * 0.1
x[..., 30:70, 40:90] += torch.tensor([0.6, 0.2, 0.1])[None, :, None, None]
found = EmbeddedSegmenter().segment(x)
print(hashlib.sha256(found.probability.numpy().tobytes()).hexdigest(), found.confidence)
"""


def test_the_same_bytes_in_any_process_with_any_number_of_threads() -> None:
    root = Path(__file__).parents[3]
    answers = set()
    for threads in ("1", "3"):
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "PYTHONHASHSEED": threads,
        }
        command = [sys.executable, "-c", PROGRAM, threads]
        answers.add(
            subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True).stdout
        )
    assert len(answers) == 1


def test_minimum_cut_of_a_chain_by_hand() -> None:
    """Cutting the weak seam costs 1; giving up the third piece would cost 4 and save 2."""
    odds = np.array([5.0, 0.0, -2.0, -5.0])
    pairs = np.array([[0, 1], [1, 2], [2, 3]])
    assert minimum_cut(odds, pairs, np.array([4.0, 4.0, 1.0])).tolist() == [True, True, True, False]
    assert minimum_cut(odds, pairs, np.array([4.0, 1.0, 4.0])).tolist() == [True, True, False, False]


def test_otsu_splits_two_heaps() -> None:
    values = np.array([0.1] * 30 + [0.15] * 10 + [0.8] * 20)
    assert 0.15 <= otsu(values) < 0.8


def test_bars_that_run_out_of_the_picture_are_dropped() -> None:
    mask = np.zeros((100, 100), bool)
    mask[40:80, 40:80] = True
    mask[50:52, :40] = True
    mask[20:40, 60] = True  # a thin part that ends inside stays
    kept = without_bars(mask)
    assert not kept[51, 10]
    assert kept[30, 60]
    assert kept[60, 60]


def test_superpixels_keep_to_colours() -> None:
    lab = np.zeros((60, 60, 3))
    lab[:, 33:] = 60
    pieces = slic(lab, count=30)
    assert set(np.round(pieces.lab[:, 0]).tolist()) <= {0.0, 60.0}
    assert pieces.area.sum() == pytest.approx(1)
