"""LaMa against its authors' outputs."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model_blocks.lama import LamaInpainter, open_lama
from tests.model_blocks.parity import Arrays, ParityRun


def as_image(pixels: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None]


def outputs(model: LamaInpainter, inputs: Arrays) -> dict[str, np.ndarray[Any, Any]]:
    """Bytes are truncated, as the authors do; the house rounds."""
    seen = torch.from_numpy(inputs["net_in"])
    with torch.inference_mode():
        network = model.network(seen[:, :3], seen[:, 3:]).numpy()
    image, mask = as_image(inputs["image_u8"]), as_image(inputs["mask_u8"][..., None])
    filled = model.inpaint(image, mask, slice(0, 1))[0].permute(1, 2, 0).numpy()
    return {
        "net_out": network,
        "inpainted_f32": filled,
        "inpainted_u8": np.clip(filled * 255, 0, 255).astype(np.uint8),
    }


def _run(path: Path, inputs: Arrays) -> dict[str, np.ndarray[Any, Any]]:
    return outputs(open_lama("lama", path), inputs)


RUNS = {"big-lama": ParityRun("lama", _run)}
