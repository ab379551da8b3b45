"""MODNet: semantics at low resolution, details at high resolution, and both fused to an alpha.

Source: Ke, Sun, Li, Yan, Lau 2022, MODNet: Real-Time Trimap-Free Portrait Matting via Objective Decomposition.
Parameters carry the names of the authors' files; what only their training uses is not here.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_blocks.nets.mobilenet import PortraitMobileNet

DETAIL = 32  # channels of the branch for details


def _by(values: Tensor, factor: float) -> Tensor:
    return F.interpolate(values, scale_factor=factor, mode="bilinear", align_corners=False)


class HalfInstanceNorm(nn.Module):
    """The first half of the channels normalised as in training, the others by the picture's own mean and variance."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self._fixed = channels // 2
        self.bnorm = nn.BatchNorm2d(self._fixed)

    def forward(self, values: Tensor) -> Tensor:
        fixed = self.bnorm(values[:, : self._fixed].contiguous())
        return torch.cat((fixed, F.instance_norm(values[:, self._fixed :].contiguous())), dim=1)


class Layer(nn.Module):
    """A convolution, normalised and rectified unless it is the last."""

    def __init__(self, channels: int, made: int, side: int, *, stride: int = 1, last: bool = False) -> None:
        super().__init__()
        convolution = nn.Conv2d(channels, made, side, stride, side // 2)
        after = [] if last else [HalfInstanceNorm(made), nn.ReLU()]
        self.layers = nn.Sequential(convolution, *after)

    def forward(self, values: Tensor) -> Tensor:
        made: Tensor = self.layers(values)
        return made


class ChannelWeights(nn.Module):
    """Squeeze and excitation (Hu, Shen, Sun 2018): every channel weighted by what the whole picture holds."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = channels // 4
        self.fc = nn.Sequential(
            nn.Linear(channels, squeezed, bias=False),
            nn.ReLU(),
            nn.Linear(squeezed, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, values: Tensor) -> Tensor:
        weights: Tensor = self.fc(values.mean(dim=(2, 3)))
        return values * weights[:, :, None, None]


class LowResolution(nn.Module):
    """Semantics: what is a person, at an eighth of the size."""

    def __init__(self, backbone: PortraitMobileNet) -> None:
        super().__init__()
        _, _, eighth, sixteenth, last = backbone.channels
        self.backbone = backbone  # stands in the authors' files here as well
        self.se_block = ChannelWeights(last)
        self.conv_lr16x = Layer(last, sixteenth, 5)
        self.conv_lr8x = Layer(sixteenth, eighth, 5)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Semantics at an eighth, and the backbone's features at a half and a quarter."""
        half, quarter, last = self.backbone(images)
        values = self.conv_lr16x(_by(self.se_block(last), 2))
        return self.conv_lr8x(_by(values, 2)), half, quarter


class HighResolution(nn.Module):
    """Details along the outline, at half the size."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.tohr_enc2x = Layer(channels[0], DETAIL, 1)
        self.conv_enc2x = Layer(DETAIL + 3, DETAIL, 3, stride=2)
        self.tohr_enc4x = Layer(channels[1], DETAIL, 1)
        self.conv_enc4x = Layer(2 * DETAIL, 2 * DETAIL, 3)
        self.conv_hr4x = nn.Sequential(
            Layer(2 * DETAIL + channels[2] + 3, 2 * DETAIL, 3),
            Layer(2 * DETAIL, 2 * DETAIL, 3),
            Layer(2 * DETAIL, DETAIL, 3),
        )
        self.conv_hr2x = nn.Sequential(
            Layer(2 * DETAIL, 2 * DETAIL, 3),
            Layer(2 * DETAIL, DETAIL, 3),
            Layer(DETAIL, DETAIL, 3),
            Layer(DETAIL, DETAIL, 3),
        )

    def forward(self, images: Tensor, half: Tensor, quarter: Tensor, semantics: Tensor) -> Tensor:
        half = self.tohr_enc2x(half)
        values = self.conv_enc2x(torch.cat((_by(images, 1 / 2), half), dim=1))
        values = self.conv_enc4x(torch.cat((values, self.tohr_enc4x(quarter)), dim=1))
        values = self.conv_hr4x(torch.cat((values, _by(semantics, 2), _by(images, 1 / 4)), dim=1))
        made: Tensor = self.conv_hr2x(torch.cat((_by(values, 2), half), dim=1))
        return made


class Fusion(nn.Module):
    """Alpha from semantics and details."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.conv_lr4x = Layer(channels[2], DETAIL, 5)
        self.conv_f2x = Layer(2 * DETAIL, DETAIL, 3)
        self.conv_f = nn.Sequential(Layer(DETAIL + 3, DETAIL // 2, 3), Layer(DETAIL // 2, 1, 1, last=True))

    def forward(self, images: Tensor, semantics: Tensor, details: Tensor) -> Tensor:
        values = _by(self.conv_lr4x(_by(semantics, 2)), 2)
        values = self.conv_f2x(torch.cat((values, details), dim=1))
        return torch.sigmoid(self.conv_f(torch.cat((_by(values, 2), images), dim=1)))


class ModNet(nn.Module):
    """The whole network; the backbone stands in the authors' files twice, and here as one module under both names."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = PortraitMobileNet()
        self.lr_branch = LowResolution(self.backbone)
        self.hr_branch = HighResolution(self.backbone.channels)
        self.f_branch = Fusion(self.backbone.channels)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W), RGB -1..1, sides multiples of 32, to alpha (N, 1, H, W), 0..1."""
        semantics, half, quarter = self.lr_branch(images)
        alpha: Tensor = self.f_branch(images, semantics, self.hr_branch(images, half, quarter, semantics))
        return alpha
