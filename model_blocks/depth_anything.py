"""Depth Anything V2: relative inverse depth from one picture.

Source: Yang, Kang, Huang, Zhao, Xu, Feng, Zhao 2024, Depth Anything V2. The network is that of the library
transformers; the authors' file loads into it under other names, with every key accounted for.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from datasets.errors import FrameShapeError
from model_blocks.official import filled, read_state
from model_blocks.registry import Precision, find_model
from model_blocks.torch_libraries import prepare

if TYPE_CHECKING:
    from transformers import DepthAnythingForDepthEstimation

SIDE = 518  # pixels the shorter side has at least, as the authors work
PATCH = 14
LONGEST = 4  # times the shorter side; beyond, a picture is squeezed, since attention grows with the square of its area
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB
POSITION_OFFSET = 0.1  # patches; the authors stretch their table of positions by this much too far
WIDTH, HEADS, STAGES = 384, 6, (3, 6, 9, 12)
NECK = (48, 96, 192, 384)
NAMES = (  # of the authors' file, and of transformers
    (r"^pretrained\.(cls_token|mask_token)$", r"backbone.embeddings.\1"),
    (r"^pretrained\.pos_embed$", "backbone.embeddings.position_embeddings"),
    (r"^pretrained\.patch_embed\.proj\.", "backbone.embeddings.patch_embeddings.projection."),
    (r"^pretrained\.norm\.", "backbone.layernorm."),
    (r"^pretrained\.blocks\.(\d+)\.attn\.proj\.", r"backbone.encoder.layer.\1.attention.o_proj."),
    (r"^pretrained\.blocks\.(\d+)\.attn\.([qkv])\.", r"backbone.encoder.layer.\1.attention.\2_proj."),
    (r"^pretrained\.blocks\.(\d+)\.ls(\d)\.gamma$", r"backbone.encoder.layer.\1.layer_scale\2.lambda1"),
    (r"^pretrained\.blocks\.", "backbone.encoder.layer."),
    (r"^depth_head\.projects\.(\d)\.", r"neck.reassemble_stage.layers.\1.projection."),
    (r"^depth_head\.resize_layers\.(\d)\.", r"neck.reassemble_stage.layers.\1.resize."),
    (r"resConfUnit(\d)\.conv", r"residual_layer\1.convolution"),
    (r"\.out_conv\.", ".projection."),
    (r"^depth_head\.scratch\.output_conv1\.", "head.conv1."),
    (r"^depth_head\.scratch\.output_conv2\.0\.", "head.conv2."),
    (r"^depth_head\.scratch\.output_conv2\.2\.", "head.conv3."),
)


class DepthAnything:
    """Estimates relative inverse depth.

    Args:
        network: With its weights.
        side: Pixels that the shorter side of what it sees has at least; a multiple of 14.
        device: Where it runs.
        precision: What it computes in; results are float32 in any case.
    """

    def __init__(
        self,
        network: Any,
        *,
        side: int = SIDE,
        device: str = "cpu",
        precision: Precision = "float32",
    ) -> None:
        self._dtype: torch.dtype = getattr(torch, precision)
        self._device, self._side = device, side
        self.network = network.to(device=device, dtype=self._dtype)

    def estimate_depth(self, images: Tensor) -> Tensor:
        """(N, 3, H, W), RGB 0..1, to relative inverse depth (N, 1, H, W), float32, at least 0, on the same device.

        Raises:
            FrameShapeError: The pictures have another shape.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise FrameShapeError(f"expected pictures (N, 3, H, W), got {tuple(images.shape)}")
        height, width = images.shape[2:]
        size = working_size(height, width, self._side)
        seen = normalised(torch.stack([_resized(image, *size) for image in images.cpu().float()]))
        depth = self.network_depth(seen)
        return F.interpolate(depth, (height, width), mode="bilinear", align_corners=True).to(images.device)

    def network_depth(self, images: Tensor) -> Tensor:
        """The network alone: (N, 3, H, W), normalised, sides multiples of 14, to (N, 1, H, W), float32."""
        with torch.inference_mode():
            made = self.network(pixel_values=images.to(self._device, self._dtype))
            depth: Tensor = made.predicted_depth[:, None].float()
        return depth


def working_size(height: int, width: int, side: int = SIDE) -> tuple[int, int]:
    """(height, width) of what the network sees: the shorter side at least ``side``, both multiples of 14."""
    ratio = side / min(height, width)
    limit = LONGEST * side // PATCH * PATCH
    return min(_whole(height * ratio, side), limit), min(_whole(width * ratio, side), limit)


def _whole(pixels: float, least: int) -> int:
    nearest = int(np.round(pixels / PATCH)) * PATCH
    return nearest if nearest >= least else math.ceil(pixels / PATCH) * PATCH


def _resized(image: Tensor, height: int, width: int) -> Tensor:
    """(3, H, W) by OpenCV's cubic kernel, which torch's differs from: it is not antialiased and has other weights."""
    pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    made = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC)
    return torch.from_numpy(np.asarray(made, dtype=np.float32)).permute(2, 0, 1)


def normalised(images: Tensor) -> Tensor:
    """As the network was trained: less the mean of ImageNet, over its spread."""
    mean, spread = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, SPREAD))
    return (images - mean) / spread


def _positions(embeddings: Any, patches: Tensor, height: int, width: int) -> Tensor:
    """The table of positions for pictures of another size than it was learned at, as the authors stretch it.

    transformers stretches to the exact size, which gives other values wherever a picture is not 518 square.
    """
    table: Tensor = embeddings.position_embeddings
    side = math.isqrt(table.shape[1] - 1)
    rows, columns = height // PATCH, width // PATCH
    if rows == columns == side:
        return table
    grid = table[:, 1:].float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    scale = ((rows + POSITION_OFFSET) / side, (columns + POSITION_OFFSET) / side)
    grid = F.interpolate(grid, scale_factor=scale, mode="bicubic", align_corners=False)
    stretched = grid.permute(0, 2, 3, 1).reshape(1, rows * columns, -1)
    return torch.cat((table[:, :1].float(), stretched), dim=1).to(patches.dtype)


def _network() -> "DepthAnythingForDepthEstimation":
    prepare()
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    backbone = Dinov2Config(
        hidden_size=WIDTH,
        num_attention_heads=HEADS,
        num_hidden_layers=STAGES[-1],
        image_size=SIDE,
        patch_size=PATCH,
        out_indices=list(STAGES),  # type: ignore[call-arg] # set through its base class
        reshape_hidden_states=False,
        apply_layernorm=True,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=WIDTH,
        neck_hidden_sizes=list(NECK),
        fusion_hidden_size=64,
        head_hidden_size=32,
        depth_estimation_type="relative",
    )
    network = DepthAnythingForDepthEstimation(config)
    embeddings = network.backbone.embeddings
    embeddings.interpolate_pos_encoding = MethodType(_positions, embeddings)
    return network


def converted(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' tensors under the names of transformers; the fused attention weights are split in three."""
    made: dict[str, Tensor] = {}
    for key, value in _split(state).items():
        made[_renamed(key)] = value
    return made


def _split(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    made: dict[str, Tensor] = {}
    for key, value in state.items():
        if ".attn.qkv." not in key or value.shape[0] % 3:
            made[key] = value
            continue
        for letter, part in zip("qkv", value.chunk(3), strict=True):
            made[key.replace(".qkv.", f".{letter}.")] = part
    return made


def _renamed(key: str) -> str:
    """The name of a key in transformers; one that is unknown keeps its own, and is refused under it."""
    key = re.sub(r"^depth_head\.scratch\.layer(\d)_rn\.", lambda found: f"neck.convs.{int(found[1]) - 1}.", key)
    key = re.sub(  # the deepest comes first there
        r"^depth_head\.scratch\.refinenet([1-4])\.",
        lambda found: f"neck.fusion_stage.layers.{4 - int(found[1])}.",
        key,
    )
    for pattern, name in NAMES:
        key = re.sub(pattern, name, key)
    return key


def open_depth_anything(
    name: str,
    path: str | Path,
    *,
    sha256: str | None = None,
    device: str = "cpu",
    precision: Precision = "float32",
    side: int = SIDE,
) -> DepthAnything:
    """A registered model from a file of its authors.

    Args:
        name: ``depth-anything-v2-small``.
        path: The authors' file.
        sha256: What its bytes must hash to; None: whatever they do.
        device: Where it runs.
        precision: What it computes in.
        side: Pixels that the shorter side of what it sees has at least.

    Raises:
        ModelUnknownError: Nothing of that name is registered.
        WeightsKeysError: The file holds something else.
    """
    facts = find_model(name, "estimate_depth")
    network = filled(_network(), converted(read_state(facts, path, sha256)))
    return DepthAnything(network, side=side, device=device, precision=precision)
