"""RIFE against its authors' outputs."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model_blocks.rife import RifeInterpolator, open_rife
from tests.model_blocks.parity import Arrays, ParityRun


def as_frame(pixels: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)


def as_pixels(frame: Tensor) -> np.ndarray[Any, Any]:
    """Truncated, as the authors do; the house rounds."""
    pixels: np.ndarray[Any, Any] = (frame.permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    return pixels


def through_the_network(model: RifeInterpolator, inputs: Arrays) -> dict[str, np.ndarray[Any, Any]]:
    first, second = (torch.from_numpy(inputs[f"net_img{number}"]) for number in (0, 1))
    with torch.inference_mode():
        return {f"net_t{at}": model.network(first, second, at).numpy() for at in (0.5, 0.25)}


def through_the_contract(
    model: RifeInterpolator, inputs: Arrays, scale: float, fractions: tuple[float, ...]
) -> dict[str, np.ndarray[Any, Any]]:
    first, second = (as_frame(inputs[f"frame{number}_u8"]) for number in (0, 1))
    made = model.interpolate(first, second, fractions)
    return {f"frame_u8_t{at}_scale{scale}": as_pixels(frame) for at, frame in zip(fractions, made, strict=True)}


def _run(name: str, path: Path, inputs: Arrays) -> dict[str, np.ndarray[Any, Any]]:
    model = open_rife(name, path)
    smaller = open_rife(name, path, scale=0.5)
    return (
        through_the_network(model, inputs)
        | through_the_contract(model, inputs, 1.0, (0.5, 0.3))
        | through_the_contract(smaller, inputs, 0.5, (0.5,))
    )


RUNS = {name: ParityRun(name, partial(_run, name)) for name in ("rife-4.6", "rife-4.25")}
