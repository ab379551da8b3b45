"""The large network of ESRGAN and Real-ESRGAN: residual-in-residual dense blocks, then two doublings.

Source: Wang et al. 2018, ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks; Wang, Xie, Dong, Shan 2021,
Real-ESRGAN. Parameters carry the names of the authors' released files, so that those load as they are.
"""

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_blocks.nets.steady import SteadyConv2d

COLOURS = 3
RESIDUE = 0.2  # share of a block's result that is added to its input, so that deep stacks stay stable
SLOPE = 0.2  # of the leaky rectifier below zero


def _rectified(values: Tensor) -> Tensor:
    return F.leaky_relu(values, SLOPE, inplace=True)  # a convolution's fresh result, nobody else's


class DenseBlock(nn.Module):
    """Five convolutions, each seeing the input and all results before it."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.conv1 = SteadyConv2d(features, growth)
        self.conv2 = SteadyConv2d(features + growth, growth)
        self.conv3 = SteadyConv2d(features + 2 * growth, growth)
        self.conv4 = SteadyConv2d(features + 3 * growth, growth)
        self.conv5 = SteadyConv2d(features + 4 * growth, features)

    def forward(self, values: Tensor) -> Tensor:
        seen = values
        for convolution in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen = torch.cat((seen, _rectified(convolution(seen))), dim=1)
        made: Tensor = self.conv5(seen)
        return made * RESIDUE + values


class ResidualDenseBlocks(nn.Module):
    """Three dense blocks in a row, added to their input."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(features, growth)
        self.rdb2 = DenseBlock(features, growth)
        self.rdb3 = DenseBlock(features, growth)

    def forward(self, values: Tensor) -> Tensor:
        made: Tensor = self.rdb3(self.rdb2(self.rdb1(values)))
        return made * RESIDUE + values


class RrdbNet(nn.Module):
    """Four times as large: ``blocks`` residual dense blocks at the input's size, then two nearest-neighbour doublings.

    Args:
        features: Channels between the blocks.
        growth: Channels that each convolution of a dense block adds.
        blocks: How many residual-in-residual blocks.
    """

    scale = 4

    def __init__(self, features: int, growth: int, blocks: int) -> None:
        super().__init__()
        self.receptive_radius = 1 + 15 * blocks + 1 + 2  # the last 2: four convolutions on the doubled pictures
        self.conv_first = SteadyConv2d(COLOURS, features)
        self.body = nn.Sequential(*(ResidualDenseBlocks(features, growth) for _ in range(blocks)))
        self.conv_body = SteadyConv2d(features, features)
        self.conv_up1 = SteadyConv2d(features, features)
        self.conv_up2 = SteadyConv2d(features, features)
        self.conv_hr = SteadyConv2d(features, features)
        self.conv_last = SteadyConv2d(features, COLOURS)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) RGB, 0..1, to (N, 3, 4*H, 4*W); values may leave 0..1."""
        first = self.conv_first(images)
        values = first + self.conv_body(self.body(first))
        for convolution in (self.conv_up1, self.conv_up2):
            values = _rectified(convolution(F.interpolate(values, scale_factor=2, mode="nearest")))
        made: Tensor = self.conv_last(_rectified(self.conv_hr(values)))
        return made


def rrdb_like(state: Mapping[str, Tensor]) -> RrdbNet:
    """An untrained network with the sizes that the tensors of a state dict have.

    Raises:
        KeyError: A tensor that tells the sizes is missing.
    """
    blocks = 1 + max((int(found[1]) for key in state if (found := re.match(r"body\.(\d+)\.", key))), default=0)
    return RrdbNet(state["conv_first.weight"].shape[0], state["body.0.rdb1.conv1.weight"].shape[0], blocks)
