"""The compact network of Real-ESRGAN: a plain row of convolutions whose result is added to the enlarged input.

Source: Wang, Xie, Dong, Shan 2021, Real-ESRGAN; the compact variant its authors call SRVGGNetCompact. Parameters carry
the names of the authors' released files, so that those load as they are.
"""

import math
import re
from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from model_blocks.nets.steady import SteadyConv2d

COLOURS = 3


class SrvggCompact(nn.Module):
    """``convolutions`` between a first and a last one, PReLU after all but the last, sub-pixel enlargement at the end.

    Args:
        features: Channels between the convolutions.
        convolutions: How many stand between the first and the last.
        scale: Output pixels per input pixel along a side.
    """

    def __init__(self, features: int, convolutions: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.receptive_radius = convolutions + 2  # a pixel per 3x3 convolution
        body: list[nn.Module] = []
        for channels in (COLOURS, *([features] * convolutions)):
            body += [SteadyConv2d(channels, features), nn.PReLU(features)]
        body.append(SteadyConv2d(features, COLOURS * scale**2))
        self.body = nn.ModuleList(body)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) RGB, 0..1, to (N, 3, scale*H, scale*W); values may leave 0..1."""
        details = images
        for layer in self.body:
            details = layer(details)
        return F.pixel_shuffle(details, self.scale) + F.interpolate(images, scale_factor=self.scale, mode="nearest")


def srvgg_like(state: Mapping[str, Tensor]) -> SrvggCompact:
    """An untrained network with the sizes that the tensors of a state dict have.

    Raises:
        KeyError: The first or last convolution, which tell the sizes, is missing.
    """
    last = max((int(found[1]) for key in state if (found := re.match(r"body\.(\d+)\.", key))), default=0)
    last += last % 2  # convolutions have the even places
    scale = math.isqrt(state[f"body.{last}.weight"].shape[0] // COLOURS)
    return SrvggCompact(state["body.0.weight"].shape[0], last // 2 - 1, scale)
