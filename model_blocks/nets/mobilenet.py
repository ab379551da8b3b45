"""The light network under BackgroundMattingV2 and MODNet: features of a picture at a half to a thirty-second.

Source: Sandler, Howard, Zhu, Zhmoginov, Chen 2018, MobileNetV2. The two files name the same layers differently:
torchvision groups a convolution with its normalisation, MODNet's authors put all layers in one row.
"""

from collections.abc import Callable, Iterator

from torch import Tensor, nn

GROUPS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, blocks and stride of every group of blocks."""
FIRST = 32  # channels of the first convolution
DILATED_FROM = 14  # the block that would halve to a thirty-second

Layers = list[nn.Module]


def _convolved(channels: int, made: int, side: int, *, stride: int = 1, dilation: int = 1, groups: int = 1) -> Layers:
    padding = dilation * (side - 1) // 2
    convolution = nn.Conv2d(channels, made, side, stride, padding, dilation, groups, bias=False)
    return [convolution, nn.BatchNorm2d(made), nn.ReLU6()]


class InvertedResidual(nn.Module):
    """Widened, convolved channel by channel, narrowed; added to the input where the shapes allow it.

    Args:
        flat: All layers in one row, as MODNet's authors name them.
    """

    def __init__(
        self, channels: int, made: int, *, expansion: int, stride: int, dilation: int = 1, flat: bool = False
    ) -> None:
        super().__init__()
        wide = channels * expansion
        parts = [_convolved(channels, wide, 1)] if expansion != 1 else []
        parts.append(_convolved(wide, wide, 3, stride=stride, dilation=dilation, groups=wide))
        narrowed = _convolved(wide, made, 1)[:2]
        rows: Layers = [layer for part in parts for layer in part] if flat else [nn.Sequential(*part) for part in parts]
        self.conv = nn.Sequential(*rows, *narrowed)
        self._adds = stride == 1 and channels == made

    def forward(self, values: Tensor) -> Tensor:
        made: Tensor = self.conv(values)
        return values + made if self._adds else made


def _blocks(block: Callable[..., InvertedResidual]) -> Iterator[InvertedResidual]:
    """The seventeen blocks, numbered from 1, by ``block(number, channels, made, expansion=, stride=)``."""
    number, channels = 1, FIRST
    for expansion, made, count, stride in GROUPS:
        for place in range(count):
            yield block(number, channels, made, expansion=expansion, stride=1 if place else stride)
            number, channels = number + 1, made


def _dilated(number: int, channels: int, made: int, *, expansion: int, stride: int) -> InvertedResidual:
    late = number > DILATED_FROM
    stride = 1 if number == DILATED_FROM else stride
    return InvertedResidual(channels, made, expansion=expansion, stride=stride, dilation=2 if late else 1)


def _flat(number: int, channels: int, made: int, *, expansion: int, stride: int) -> InvertedResidual:  # noqa: ARG001
    return InvertedResidual(channels, made, expansion=expansion, stride=stride, flat=True)


class MobileNetEncoder(nn.Module):
    """Features for BackgroundMattingV2; the last blocks keep their resolution by dilation."""

    features_at = (6, 3, 1)  # blocks whose result is handed on: at an eighth, a quarter, a half
    deepest = GROUPS[-1][1]

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Sequential(*_convolved(channels, FIRST, 3, stride=2)), *_blocks(_dilated))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N, channels, H, W) to features at a sixteenth (320), an eighth (32), a quarter (24) and a half (16)."""
        values, kept = images, []
        for number, layer in enumerate(self.features):
            values = layer(values)
            if number in self.features_at:
                kept.append(values)
        half, quarter, eighth = kept
        return values, eighth, quarter, half


class PortraitMobileNet(nn.Module):
    """Features for MODNet, down to a thirty-second, under ``model.`` as in its authors' files."""

    channels = (16, 24, 32, 96, 1280)  # at a half, a quarter, an eighth, a sixteenth, a thirty-second

    def __init__(self) -> None:
        super().__init__()
        last = _convolved(GROUPS[-1][1], self.channels[-1], 1)
        first = _convolved(3, FIRST, 3, stride=2)
        self.model = nn.ModuleDict(
            {"features": nn.Sequential(nn.Sequential(*first), *_blocks(_flat), nn.Sequential(*last))}
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, 3, H, W) to features at a half (16), a quarter (24) and a thirty-second (1280)."""
        values, kept = images, []
        layers = self.model["features"]
        assert isinstance(layers, nn.Sequential)
        for number, layer in enumerate(layers):
            values = layer(values)
            if number in (1, 3):
                kept.append(values)
        half, quarter = kept
        return half, quarter, values
