"""How well the embedded interpolator makes the frame between two, beside blending, on every truth case of a folder.

A case is a folder with two frames, ``a.png`` and ``b.png``, and the one that was filmed half-way, ``truth_mid.png``.
"""

import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from model_blocks.embedded.interpolate import DisInterpolator
from tests.shared_data import fixture

HEADER = f"{'case':<24}{'size':>10}  {'method':<9}{'PSNR':>8}{'SSIM':>8}{'ms/frame':>10}{'spread':>14}"

Picture = NDArray[np.uint8]


def run(truth_dir: Path | None = None, repeats: int = 3) -> list[str]:
    """Prints and returns a table for every triplet of a folder, the shared ones by default.

    Times are for one new frame with everything that belongs to it, the median and the range of the repeats.
    """
    lines, gains = [HEADER], []
    for truth in sorted((truth_dir if truth_dir is not None else fixture("truth")).glob("*/truth_mid.png")):
        first, second, middle = (_read(truth.with_name(name)) for name in ("a.png", "b.png", truth.name))
        scores = []
        for name, method in (("blending", _blended), ("model", _interpolated)):
            made, times = _timed(method, first, second, repeats)
            scores.append(_quality(middle, made))
            lines.append(_row(truth.parent.name, middle, name, scores[-1], times))
        gains.append(scores[1][0] - scores[0][0])
    if gains:
        lines.append(f"mean gain over blending {np.mean(gains):.2f} dB, least {min(gains):.2f}, n={len(gains)}")
    else:
        lines = ["no triplets in the folder: DIR/NAME/{a,b,truth_mid}.png"]
    for line in lines:
        print(line)
    return lines


def _read(path: Path) -> Picture:
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR), dtype=np.uint8)


def _blended(first: Picture, second: Picture) -> Picture:
    return np.asarray(np.rint((first.astype(np.float32) + second) / 2), dtype=np.uint8)


def _interpolated(first: Picture, second: Picture) -> Picture:
    a, b = (torch.from_numpy(each.astype(np.float32) / 255).permute(2, 0, 1) for each in (first, second))
    made = DisInterpolator().interpolate(a, b, [0.5])[0].permute(1, 2, 0).numpy()
    return np.asarray(np.rint(made * 255), dtype=np.uint8)


def _timed(
    method: Callable[[Picture, Picture], Picture], first: Picture, second: Picture, repeats: int
) -> tuple[Picture, list[float]]:
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        made = method(first, second)
        times.append(1e3 * (time.perf_counter() - begun))
    return made, times


def _quality(truth: Picture, made: Picture) -> tuple[float, float]:
    psnr = peak_signal_noise_ratio(truth, made)  # type: ignore[no-untyped-call]
    ssim = structural_similarity(truth, made, channel_axis=2)  # type: ignore[no-untyped-call]
    return float(psnr), float(ssim)


def _row(case: str, truth: Picture, method: str, score: tuple[float, float], times: list[float]) -> str:
    size = f"{truth.shape[1]}x{truth.shape[0]}"
    spread = f"{min(times):.1f}..{max(times):.1f}"
    return f"{case:<24}{size:>10}  {method:<9}{score[0]:>8.2f}{score[1]:>8.4f}{np.median(times):>10.1f}{spread:>14}"


if __name__ == "__main__":
    run()
