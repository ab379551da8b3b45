"""The residual network under BackgroundMattingV2: features of a picture at a half to a sixteenth of its size.

Source: He, Zhang, Ren, Sun 2016, Deep Residual Learning for Image Recognition; the last stage keeps its resolution by
dilation (Chen, Papandreou, Schroff, Adam 2017). Parameters carry the names of torchvision's networks.
"""

import torch.nn.functional as F
from torch import Tensor, nn

EXPANSION = 4  # channels a bottleneck makes, per channel it works in
WIDTHS = (64, 128, 256, 512)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1, added to the input."""

    def __init__(self, channels: int, width: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        made = width * EXPANSION
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, made, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(made)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != made:
            self.downsample = nn.Sequential(nn.Conv2d(channels, made, 1, stride, bias=False), nn.BatchNorm2d(made))

    def forward(self, values: Tensor) -> Tensor:
        kept = values if self.downsample is None else self.downsample(values)
        made = F.relu(self.bn1(self.conv1(values)))
        made = F.relu(self.bn2(self.conv2(made)))
        return F.relu(self.bn3(self.conv3(made)) + kept)


class ResNetEncoder(nn.Module):
    """Features of a residual network.

    Args:
        channels: Of the input.
        blocks: How many bottlenecks each of the four stages has.
    """

    features = (512, 256, 64)  # channels at an eighth, a quarter, a half
    deepest = WIDTHS[3] * EXPANSION

    def __init__(self, channels: int, blocks: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(64, WIDTHS[0], blocks[0], stride=1)
        self.layer2 = _stage(WIDTHS[0] * EXPANSION, WIDTHS[1], blocks[1], stride=2)
        self.layer3 = _stage(WIDTHS[1] * EXPANSION, WIDTHS[2], blocks[2], stride=2)
        self.layer4 = _stage(WIDTHS[2] * EXPANSION, WIDTHS[3], blocks[3], stride=1, dilation=2)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N, channels, H, W) to features at a sixteenth, an eighth, a quarter and a half."""
        half = F.relu(self.bn1(self.conv1(images)))
        quarter = self.layer1(F.max_pool2d(half, 3, stride=2, padding=1))
        eighth = self.layer2(quarter)
        return self.layer4(self.layer3(eighth)), eighth, quarter, half


def _stage(channels: int, width: int, count: int, *, stride: int, dilation: int = 1) -> nn.Sequential:
    """Bottlenecks in a row; the first one changes size and channels and is not dilated."""
    rest = [Bottleneck(width * EXPANSION, width, dilation=dilation) for _ in range(count - 1)]
    return nn.Sequential(Bottleneck(channels, width, stride=stride), *rest)
