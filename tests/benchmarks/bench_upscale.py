"""How well the embedded upscaler enlarges what was shrunk, beside bicubic and Lanczos, on every fixture photograph."""

import time

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from model_blocks.embedded.upscale import EmbeddedUpscaler
from tests.shared_data import SHARED

SIDE = 720  # pixels of the longer side of the truth


def run(scales: tuple[int, ...] = (2, 4), side: int = SIDE) -> list[str]:
    """Print, and return, a line per scale: mean PSNR in dB and SSIM, output megapixels per second."""
    lines = [f"{'scale':<7}{'method':<11}{'PSNR':>8}{'SSIM':>8}{'MP/s':>8}   mean over photographs"]
    photographs = _photographs(side)
    if not photographs:
        lines = ["no photographs: the shared fixtures are not here"]
    for scale in scales if photographs else ():
        for name, scores in _measured(photographs, scale).items():
            psnr, ssim, speed = np.mean(scores, axis=0)
            lines.append(f"x{scale:<6}{name:<11}{psnr:>8.2f}{ssim:>8.4f}{speed:>8.1f}   n={len(scores)}")
    for line in lines:
        print(line)
    return lines


def _photographs(side: int) -> list[NDArray[np.uint8]]:
    found = []
    for path in sorted((SHARED / "fixtures" / "images").glob("*")):
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is not None:
            ratio = min(1.0, side / max(image.shape[:2]))
            small = cv2.resize(image, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)
            found.append(np.asarray(small, dtype=np.uint8))
    return found


def _measured(photographs: list[NDArray[np.uint8]], scale: int) -> dict[str, list[tuple[float, float, float]]]:
    scores: dict[str, list[tuple[float, float, float]]] = {"bicubic": [], "lanczos4": [], "embedded": []}
    for image in photographs:
        height, width = (extent // scale * scale for extent in image.shape[:2])
        truth = image[:height, :width]
        small = np.asarray(cv2.resize(truth, (width // scale, height // scale), interpolation=cv2.INTER_AREA), np.uint8)
        for name, kernel in (("bicubic", cv2.INTER_CUBIC), ("lanczos4", cv2.INTER_LANCZOS4), ("embedded", None)):
            begun = time.perf_counter()
            made = (
                _embedded(small, scale) if kernel is None else cv2.resize(small, (width, height), interpolation=kernel)
            )
            seconds = time.perf_counter() - begun
            scores[name].append((*_quality(truth, np.asarray(made)), height * width / 1e6 / seconds))
    return scores


def _embedded(small: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    images = torch.from_numpy(small.astype(np.float32) / 255).permute(2, 0, 1)[None]
    with torch.inference_mode():
        made = EmbeddedUpscaler(scale).upscale(images)[0].permute(1, 2, 0).clamp(0, 1).numpy()
    return np.asarray(np.rint(made * 255), dtype=np.uint8)


def _quality(truth: NDArray[np.uint8], made: NDArray[np.uint8]) -> tuple[float, float]:
    psnr = peak_signal_noise_ratio(truth, made)  # type: ignore[no-untyped-call]
    ssim = structural_similarity(truth, made, channel_axis=2)  # type: ignore[no-untyped-call]
    return float(psnr), float(ssim)
