"""How well the embedded models cut out, on every truth case of a folder.

A case is a folder with an alpha (``alpha.png`` or ``NAME_alpha.png``) and its picture (``composite.jpg`` or ``.png``,
or ``NAME.png``). Pixels of a half-transparent truth (0 < alpha <= 0.9) do not count for IoU: a soft shadow may go
either way.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from expectations.matting_metrics import (
    connectivity_error,
    gradient_error,
    intersection_over_union,
    mean_absolute_error,
    mean_squared_error,
    sum_of_absolute_differences,
)
from model_blocks.embedded.matte import alpha_from_probability, band_radius
from model_blocks.embedded.segment import EmbeddedSegmenter
from tests.shared_data import fixture

SOLID = 0.9  # truth alpha above which a pixel is the object
FAR = 20  # pixels from anything of the object
HEADER = (
    f"{'case':<28}{'size':>11}{'IoU':>8}{'SAD':>9}{'MSEx1e3':>9}"
    f"{'Grad':>9}{'Conn':>9}{'MAE in':>8}{'MAE far':>9}{'s':>7}"
)

Alpha = NDArray[np.float64]


def cases(folder: Path) -> Iterator[tuple[str, Path, Path]]:
    """Name, picture and alpha of every truth case in the subfolders."""
    for alpha in sorted([*folder.glob("*/alpha.png"), *folder.glob("*/*_alpha.png")]):
        named = alpha.name.removesuffix("_alpha.png") if alpha.name != "alpha.png" else "composite"
        for picture in (alpha.with_name(f"{named}.jpg"), alpha.with_name(f"{named}.png")):
            if picture.is_file():
                yield alpha.parent.name, picture, alpha
                break


def cut_out(image: NDArray[np.uint8]) -> Alpha:
    """Alpha (H, W) of a BGR picture: segment at the working size, enlarge, matte."""
    segmenter = EmbeddedSegmenter()
    whole = _tensor(image)
    side = max(image.shape[:2])
    scale = min(1.0, segmenter.working_side / side)
    small = _tensor(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    probability = segmenter.segment(small).probability
    probability = interpolate(probability, size=whole.shape[2:], mode="bilinear", align_corners=False)
    alpha, _ = alpha_from_probability(whole, probability, radius=band_radius(side, segmenter.working_side))
    return np.asarray(alpha[0, 0].numpy(), dtype=np.float64)


def _tensor(image: object) -> torch.Tensor:
    rgb = np.ascontiguousarray(np.asarray(image)[..., ::-1])
    return torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255


def row(name: str, alpha: Alpha, truth: Alpha, seconds: float) -> str:
    """One line of the table."""
    solid = truth > SOLID
    away = cv2.distanceTransform((truth == 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    numbers = (
        f"{intersection_over_union(alpha > 0.5, solid, solid | (truth == 0)):8.4f}"
        f"{sum_of_absolute_differences(alpha, truth):9.2f}{1e3 * mean_squared_error(alpha, truth):9.2f}"
        f"{gradient_error(alpha, truth):9.3f}{connectivity_error(alpha, truth):9.2f}"
        f"{mean_absolute_error(alpha, truth, solid):8.4f}"
        f"{mean_absolute_error(alpha, truth, np.asarray(away > FAR)):9.4f}"
    )
    return f"{name:<28}{truth.shape[1]:>6}x{truth.shape[0]:<4}{numbers}{seconds:7.2f}"


def run(truth_dir: Path | None = None) -> list[str]:
    """Prints and returns the table for every case of a folder, the shared truth cases by default."""
    lines = [HEADER]
    print(HEADER)
    for name, picture, truth_file in cases(truth_dir if truth_dir is not None else fixture("truth")):
        image = np.asarray(cv2.imread(str(picture)), dtype=np.uint8)
        truth = np.asarray(cv2.imread(str(truth_file), cv2.IMREAD_GRAYSCALE), dtype=np.float64) / 255
        start = time.perf_counter()
        alpha = cut_out(image)
        lines.append(row(name, alpha, truth, time.perf_counter() - start))
        print(lines[-1])
    return lines


def test_the_table_has_a_line_for_every_case() -> None:
    truth = fixture("truth")
    assert len(run(truth)) == 1 + len(list(cases(truth))) > 1


if __name__ == "__main__":
    run()
