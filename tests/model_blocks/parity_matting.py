"""The models that find an alpha by themselves against its authors' outputs."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model_blocks.background_matting import open_background_matting
from model_blocks.modnet import PortraitMatter, open_modnet
from tests.model_blocks.parity import Arrays, ParityRun

Outputs = dict[str, np.ndarray[Any, Any]]


def as_images(pixels: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None]


def background_outputs(name: str, path: Path, inputs: Arrays) -> Outputs:
    """All three ways to refine, as the reference was asked: s, t and f."""
    seen = as_images(inputs["src_u8"]), as_images(inputs["bgr_u8"])
    sampling = open_background_matting(name, path, backbone_scale=0.25, sample_pixels=3000)
    threshold = float(inputs["threshold"])
    thresholding = open_background_matting(name, path, backbone_scale=0.25, mode="thresholding", threshold=threshold)
    full = open_background_matting(name, path, backbone_scale=0.5, mode="full")
    made: Outputs = {}
    for prefix, model in (("s", sampling), ("t", thresholding), ("f", full)):
        matted = model.matted(*seen)
        made |= {f"{prefix}_pha": matted.alpha.numpy(), f"{prefix}_fgr": matted.foreground.numpy()}
        made[f"{prefix}_ref_sm"] = matted.refined.numpy().astype(np.uint8)
        if prefix == "s":
            made["s_pha_sm"] = matted.coarse_alpha.numpy()
            made["s_fgr_sm"] = matted.coarse_foreground.numpy()
            made["s_err_sm"] = matted.coarse_error.numpy()
    return made


def portrait_outputs(model: PortraitMatter, inputs: Arrays) -> Outputs:
    """The network alone, and pictures end to end; bytes are cut off, not rounded, by the authors' script."""
    with torch.inference_mode():
        made: Outputs = {"net_matte": model.network(torch.from_numpy(inputs["net_in"])).numpy()}
    for kind in ("small", "keep"):
        alpha = model.find_alpha(as_images(inputs[f"image_{kind}"]))[0][0, 0].numpy()
        made[f"matte_f32_{kind}"] = alpha
        made[f"matte_u8_{kind}"] = (alpha * 255).astype(np.uint8)
    return made


def _portrait(path: Path, inputs: Arrays) -> Outputs:
    return portrait_outputs(open_modnet("modnet-photographic", path), inputs)


RUNS: dict[str, ParityRun] = {
    **{name: ParityRun(name, partial(background_outputs, name)) for name in ("bmv2-mobilenetv2", "bmv2-resnet50")},
    "modnet": ParityRun("modnet-photographic", _portrait),
}
