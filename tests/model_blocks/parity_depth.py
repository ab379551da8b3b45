"""Depth Anything V2 against its authors' outputs."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from model_blocks.depth_anything import open_depth_anything
from tests.model_blocks.parity import Arrays, ParityRun

NAME = "depth-anything-v2-small"


def outputs(path: Path, inputs: Arrays) -> dict[str, np.ndarray[Any, Any]]:
    """The network alone, square and not, and the whole procedure at two sizes."""
    made = {}
    pixels = torch.from_numpy(inputs["image_rgb_u8"].astype(np.float32) / 255).permute(2, 0, 1)[None]
    for side in (518, 280):
        model = open_depth_anything(NAME, path, side=side)
        made[f"depth_{side}"] = model.estimate_depth(pixels)[0, 0].numpy()
    for kind, step in (("518", 3), ("nonsq", 1)):
        depth = model.network_depth(torch.from_numpy(inputs[f"net_{kind}"]))[0, 0].numpy()
        made[f"net_{kind}"] = depth[::step, ::step]
    return made


RUNS: dict[str, ParityRun] = {"depth_anything_v2_vits": ParityRun(NAME, outputs)}
