"""Real-ESRGAN against its authors' outputs."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model_blocks.realesrgan import RealEsrganUpscaler, open_realesrgan
from tests.model_blocks.parity import Arrays, ParityRun


def as_images(pixels: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None]


def as_pixels(images: Tensor) -> np.ndarray[Any, Any]:
    pixels: np.ndarray[Any, Any] = np.rint(images[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    return pixels


def outputs(model: RealEsrganUpscaler, inputs: Arrays) -> dict[str, np.ndarray[Any, Any]]:
    with torch.inference_mode():
        made = {"net_out": model.network(torch.from_numpy(inputs["net_in"])).numpy()}
    for colours in ("rgb", "rgba"):
        if f"image_{colours}_u8" in inputs:
            made[f"enhanced_{colours}_u8"] = as_pixels(model.upscale(as_images(inputs[f"image_{colours}_u8"])))
    return made


def _run(name: str, path: Path, inputs: Arrays) -> dict[str, np.ndarray[Any, Any]]:
    return outputs(open_realesrgan(name, path), inputs)


RUNS = {
    manifest: ParityRun(name, partial(_run, name))
    for manifest, name in {
        "realesr-animevideov3": "realesr-animevideo-v3",
        "realesr-general-x4v3": "realesr-general-x4v3",
        "RealESRGAN_x4plus_anime_6B": "realesrgan-x4plus-anime-6b",
        "RealESRGAN_x4plus": "realesrgan-x4plus",
    }.items()
}
