"""How well shrunken pictures and clips are enlarged: every upscaler that is at hand, beside bicubic and Lanczos.

The truth is the fixture, at most ``side`` pixels long; it is averaged down by area and enlarged again. Sharpness is the
variance of the Laplacian of luma over the truth's: 1 is as sharp as the truth, more is invented or ringing.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from expectations.sharpness import laplacian_variance
from model_blocks.capabilities import Upscaler
from model_blocks.embedded.upscale import EmbeddedUpscaler
from model_blocks.realesrgan import open_realesrgan
from tests.shared_data import SHARED

SIDE = 720  # pixels of the longer side of the truth
REAL_SCALE = 4  # of the Real-ESRGAN files at hand
CLIPS = ("big_buck_bunny_432_433.webm", "skv_bikes.mp4", "exo_sample.mp4")
FRAMES = 4  # of a clip, spread over it

Pixels = NDArray[np.uint8]
Enlarge = Callable[[Pixels], Pixels]


def run(scales: tuple[int, ...] = (2, 4), side: int = SIDE) -> list[str]:
    """Print, and return, a line per scale and method: mean PSNR in dB, SSIM, sharpness, output megapixels a second."""
    lines = [f"{'scale':<7}{'method':<24}{'PSNR':>8}{'SSIM':>8}{'sharp':>8}{'MP/s':>8}"]
    for what, truths in (("photographs", _photographs(side)), ("frames of clips", _frames(side))):
        if not truths:
            lines.append(f"no {what}: the shared fixtures are not here")
        for scale in scales if truths else ():
            for name, scores in _measured(truths, scale).items():
                psnr, ssim, sharp, speed = np.mean(scores, axis=0)
                figures = f"{psnr:>8.2f}{ssim:>8.4f}{sharp:>8.2f}{speed:>8.1f}"
                lines.append(f"x{scale:<6}{name:<24}{figures}   {len(scores)} {what}")
    for line in lines:
        print(line)
    return lines


def _photographs(side: int) -> list[Pixels]:
    found = []
    for path in sorted((SHARED / "fixtures" / "images").glob("*")):
        image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        if image is not None:
            found.append(_at_most(np.asarray(image, np.uint8), side))
    return found


def _frames(side: int) -> list[Pixels]:
    found: list[Pixels] = []
    for name in CLIPS:
        path = SHARED / "fixtures" / "videos" / name
        if path.exists():
            with av.open(str(path)) as clip:
                frames = [frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]
            chosen = np.linspace(0, len(frames) - 1, FRAMES).round().astype(int)
            found += [_at_most(np.asarray(frames[index], np.uint8), side) for index in chosen]
    return found


def _at_most(image: Pixels, side: int) -> Pixels:
    ratio = min(1.0, side / max(image.shape[:2]))
    return np.asarray(cv2.resize(image, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _measured(truths: list[Pixels], scale: int) -> dict[str, list[tuple[float, ...]]]:
    methods = _methods(scale)
    scores: dict[str, list[tuple[float, ...]]] = {name: [] for name in methods}
    for image in truths:
        height, width = (extent // scale * scale for extent in image.shape[:2])
        truth = np.ascontiguousarray(image[:height, :width])
        small = np.asarray(cv2.resize(truth, (width // scale, height // scale), interpolation=cv2.INTER_AREA), np.uint8)
        for name, enlarge in methods.items():
            begun = time.perf_counter()
            made = enlarge(small)
            seconds = time.perf_counter() - begun
            scores[name].append((*_quality(truth, made), height * width / 1e6 / seconds))
    return scores


def _methods(scale: int) -> Mapping[str, Enlarge]:
    methods: dict[str, Enlarge] = {
        "bicubic": partial(_resized, scale=scale, kernel=cv2.INTER_CUBIC),
        "lanczos4": partial(_resized, scale=scale, kernel=cv2.INTER_LANCZOS4),
        "embedded": partial(_by_model, EmbeddedUpscaler(scale)),
    }
    if scale == REAL_SCALE:
        methods |= _real_models()
    return methods


def _real_models() -> dict[str, Enlarge]:
    """The upscalers of other authors whose weights are at hand."""
    weights = SHARED / "weights"
    strong, weak, anime = (
        weights / f"{name}.pth" for name in ("realesr-general-x4v3", "realesr-general-wdn-x4v3", "realesr-animevideov3")
    )
    found: dict[str, Upscaler] = {}
    if strong.exists():
        found["general-x4v3"] = open_realesrgan("realesr-general-x4v3", strong)
    if strong.exists() and weak.exists():
        found["general-x4v3 denoise 0.5"] = open_realesrgan(
            "realesr-general-x4v3", strong, weak_denoise_path=weak, denoise_strength=0.5
        )
    if anime.exists():
        found["animevideo-v3"] = open_realesrgan("realesr-animevideo-v3", anime)
    return {name: partial(_by_model, model) for name, model in found.items()}


def _resized(small: Pixels, *, scale: int, kernel: int) -> Pixels:
    return np.asarray(cv2.resize(small, None, fx=scale, fy=scale, interpolation=kernel), np.uint8)


def _by_model(model: Upscaler, small: Pixels) -> Pixels:
    images = torch.from_numpy(small.astype(np.float32) / 255).permute(2, 0, 1)[None]
    with torch.inference_mode():
        made = model.upscale(images)[0].permute(1, 2, 0).clamp(0, 1).numpy()
    return np.asarray(np.rint(made * 255), dtype=np.uint8)


def _quality(truth: Pixels, made: Pixels) -> tuple[float, float, float]:
    psnr = peak_signal_noise_ratio(truth, made)  # type: ignore[no-untyped-call]
    ssim = structural_similarity(truth, made, channel_axis=2)  # type: ignore[no-untyped-call]
    luma = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) for image in (made, truth)]
    sharp, reference = (laplacian_variance(plane) or 0.0 for plane in luma)
    return float(psnr), float(ssim), sharp / max(reference, 1e-6)
