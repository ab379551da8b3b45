"""A convolution whose result for a pixel does not depend on how large the picture around it is."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALL = 20480  # values; a single picture with no more takes another path through torch, which rounds otherwise


class SteadyConv2d(nn.Conv2d):
    """3 by 3, zeros around the picture, one path through the library at every size.

    torch sends single small pictures to a plain matrix product and all else to oneDNN (``ConvParams::use_mkldnn``). The
    two round differently in the last bit, so that the small tiles at the end of a picture would not match the same
    pixels of a larger one. A batch of two takes oneDNN's path at every size.
    """

    def __init__(self, channels: int, made: int) -> None:
        super().__init__(channels, made, 3, padding=1)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own name
        if input.shape[0] > 1 or input.numel() > SMALL or input.device.type != "cpu" or torch.is_grad_enabled():
            return super().forward(input)
        return F.conv2d(input.expand(2, -1, -1, -1), self.weight, self.bias, padding=1)[:1]
