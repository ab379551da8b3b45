"""The parts XMem's network is made of: residual stages, attention, fusion with the picture, gated memory.

Objects stand along the batch axis; what is known of the picture alone has a batch of one and is shared among them.
Parameters carry the names of the authors' files.

Sources: He, Zhang, Ren, Sun 2016, Deep Residual Learning; Woo et al. 2018, CBAM; Cho et al. 2014, gated recurrent
units; Cheng, Schwing 2022, XMem.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

REDUCTION = 16  # of channels between the two layers of the channel gate
GATE_SIDE = 7  # pixels; window of the spatial gate


def _conv(channels: int, made: int, side: int, stride: int = 1, *, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(channels, made, side, stride, padding=side // 2, bias=bias)


def _shortcut(channels: int, made: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and channels == made:
        return None
    return nn.Sequential(_conv(channels, made, 1, stride), nn.BatchNorm2d(made))


class Bottleneck(nn.Module):
    """Residual block of ResNet-50: 1x1, 3x3 with the stride, 1x1 to four times the width."""

    growth = 4

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(channels, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = _conv(width, width * self.growth, 1), nn.BatchNorm2d(width * self.growth)
        self.downsample = _shortcut(channels, width * self.growth, stride)

    def forward(self, x: Tensor) -> Tensor:
        made = F.relu(self.bn1(self.conv1(x)))
        made = F.relu(self.bn2(self.conv2(made)))
        made = self.bn3(self.conv3(made))
        return F.relu(made + (x if self.downsample is None else self.downsample(x)))


class BasicBlock(nn.Module):
    """Residual block of ResNet-18: two 3x3."""

    growth = 1

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(channels, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3), nn.BatchNorm2d(width)
        self.downsample = _shortcut(channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        made = F.relu(self.bn1(self.conv1(x)))
        made = self.bn2(self.conv2(made))
        return F.relu(made + (x if self.downsample is None else self.downsample(x)))


def stage(block: type[Bottleneck | BasicBlock], channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    """Residual blocks in a row; the first has the stride."""
    made = width * block.growth
    rest = (block(made, width, 1) for _ in range(blocks - 1))
    return nn.Sequential(block(channels, width, stride), *rest)


class PreActivated(nn.Module):
    """Residual block with its rectifiers first and without normalisation."""

    def __init__(self, channels: int, made: int) -> None:
        super().__init__()
        self.downsample = None if channels == made else _conv(channels, made, 3, bias=True)
        self.conv1, self.conv2 = _conv(channels, made, 3, bias=True), _conv(made, made, 3, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.conv2(F.relu(self.conv1(F.relu(x))))
        return made + (x if self.downsample is None else self.downsample(x))


class _ChannelGate(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        small = channels // REDUCTION
        self.mlp = nn.Sequential(nn.Flatten(), nn.Linear(channels, small), nn.ReLU(), nn.Linear(small, channels))

    def forward(self, x: Tensor) -> Tensor:
        weights = self.mlp(x.mean(dim=(2, 3))) + self.mlp(x.amax(dim=(2, 3)))
        return x * torch.sigmoid(weights)[:, :, None, None]


class _SpatialGate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.spatial = nn.Sequential(OrderedDict(conv=_conv(2, 1, GATE_SIDE, bias=True)))

    def forward(self, x: Tensor) -> Tensor:
        seen = torch.cat((x.amax(dim=1, keepdim=True), x.mean(dim=1, keepdim=True)), dim=1)
        return x * torch.sigmoid(self.spatial(seen))


class Fusion(nn.Module):
    """Features of the picture and of every object become one, (1, C, h, w) and (K, G, h, w) to (K, made, h, w)."""

    def __init__(self, picture: int, objects: int, made: int) -> None:
        super().__init__()
        self.block1 = PreActivated(picture + objects, made)
        self.attention = nn.Sequential(OrderedDict(ChannelGate=_ChannelGate(made), SpatialGate=_SpatialGate()))
        self.block2 = PreActivated(made, made)

    def forward(self, picture: Tensor, objects: Tensor) -> Tensor:
        shared = picture.expand(objects.shape[0], -1, -1, -1)
        fused = self.block1(torch.cat((shared, objects), dim=1))
        made: Tensor = self.block2(fused + self.attention(fused))
        return made


class Upsampling(nn.Module):
    """Doubles the size of (K, G, h, w) and adds what the picture shows there, (1, C, 2h, 2w)."""

    def __init__(self, picture: int, objects: int, made: int) -> None:
        super().__init__()
        self.skip_conv = _conv(picture, objects, 3, bias=True)
        self.out_conv = PreActivated(objects, made)

    def forward(self, picture: Tensor, objects: Tensor) -> Tensor:
        large = F.interpolate(objects, scale_factor=2, mode="bilinear", align_corners=False)
        made: Tensor = self.out_conv(self.skip_conv(picture) + large)
        return made


class Gated(nn.Module):
    """New sensory memory (K, hidden, h, w) from features (K, C, h, w) and the old one, by gates."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.transform = _conv(channels + hidden, 3 * hidden, 3, bias=True)

    def forward(self, features: Tensor, hidden: Tensor) -> Tensor:
        forget, update, new = self.transform(torch.cat((features, hidden), dim=1)).chunk(3, dim=1)
        kept = torch.sigmoid(update)
        return torch.sigmoid(forget) * hidden * (1 - kept) + kept * torch.tanh(new)


class GatedAtAllScales(Gated):
    """The same from the decoder's features at a sixteenth, an eighth and a quarter of the picture's size."""

    def __init__(self, channels: tuple[int, int, int], middle: int, hidden: int) -> None:
        super().__init__(middle, hidden)
        self.g16_conv, self.g8_conv, self.g4_conv = (_conv(each, middle, 1, bias=True) for each in channels)

    def update(self, g16: Tensor, g8: Tensor, g4: Tensor, hidden: Tensor) -> Tensor:
        """Features (K, C, h, w), (K, C, 2h, 2w), (K, C, 4h, 4w) and the old memory to the new one."""
        seen = self.g16_conv(g16) + self.g8_conv(F.avg_pool2d(g8, 2)) + self.g4_conv(F.avg_pool2d(g4, 4))
        made: Tensor = self(seen, hidden)
        return made
