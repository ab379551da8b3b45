"""The networks of BackgroundMattingV2: a coarse look at the whole, then a fine one where the coarse one is unsure.

Source: Lin, Ryabtsev, Sengupta, Curless, Seitz, Kemelmacher-Shlizerman 2021, Real-Time High-Resolution Background
Matting; the middle is Chen, Papandreou, Schroff, Adam 2017, DeepLabV3. Parameters carry the names of their files.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_blocks.nets.mobilenet import MobileNetEncoder
from model_blocks.nets.resnet import ResNetEncoder

Backbone = Literal["mobilenetv2", "resnet50", "resnet101"]
RefineMode = Literal["sampling", "thresholding", "full"]
COLOURS = 3
HIDDEN = 32  # channels the coarse network hands to the fine one
RATES = (3, 6, 9)  # dilations of the middle
PATCH = 4  # pixels along a side of what is refined at once
WIDE = PATCH + 4  # with the two pixels around it that two 3x3 convolutions see


@dataclass(frozen=True)
class Matted:
    """What the networks make of a picture and its background.

    Attributes:
        alpha: (N, 1, H, W), 0..1.
        foreground: (N, 3, H, W), RGB, 0..1.
        coarse_alpha, coarse_foreground, coarse_error: The same at the coarse size, and how unsure it is, 0..1.
        refined: (N, 1, H/4, W/4), 1 for every patch of 4x4 pixels that was looked at closely.
    """

    alpha: Tensor
    foreground: Tensor
    coarse_alpha: Tensor
    coarse_foreground: Tensor
    coarse_error: Tensor
    refined: Tensor


def _resized(values: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(values, (height, width), mode="bilinear", align_corners=False)


class Pyramid(nn.Module):
    """Atrous spatial pyramid pooling: the same features at several reaches, and their mean over the picture."""

    def __init__(self, channels: int, made: int = 256) -> None:
        super().__init__()
        parts: list[nn.Module] = [nn.Sequential(nn.Conv2d(channels, made, 1, bias=False), nn.BatchNorm2d(made))]
        for rate in RATES:
            convolution = nn.Conv2d(channels, made, 3, padding=rate, dilation=rate, bias=False)
            parts.append(nn.Sequential(convolution, nn.BatchNorm2d(made)))
        pooled = nn.Conv2d(channels, made, 1, bias=False)
        parts.append(nn.Sequential(nn.AdaptiveAvgPool2d(1), pooled, nn.BatchNorm2d(made)))
        self.convs = nn.ModuleList(parts)
        self.project = nn.Sequential(nn.Conv2d(len(parts) * made, made, 1, bias=False), nn.BatchNorm2d(made))

    def forward(self, values: Tensor) -> Tensor:
        seen = [F.relu(part(values)) for part in self.convs]
        seen[-1] = _resized(seen[-1], *values.shape[2:])
        return F.relu(self.project(torch.cat(seen, dim=1)))


class Decoder(nn.Module):
    """From features at a sixteenth back to the picture's size, with those of the way down beside them."""

    def __init__(self, shortcuts: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(256 + shortcuts[0], 128, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(128)
        self.conv2 = nn.Conv2d(128 + shortcuts[1], 64, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.conv3 = nn.Conv2d(64 + shortcuts[2], 48, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(48)
        self.conv4 = nn.Conv2d(48 + shortcuts[3], 1 + COLOURS + 1 + HIDDEN, 3, padding=1)

    def forward(self, values: Tensor, eighth: Tensor, quarter: Tensor, half: Tensor, whole: Tensor) -> Tensor:
        values = F.relu(self.bn1(self.conv1(_beside(values, eighth))))
        values = F.relu(self.bn2(self.conv2(_beside(values, quarter))))
        values = F.relu(self.bn3(self.conv3(_beside(values, half))))
        made: Tensor = self.conv4(_beside(values, whole))
        return made


def _beside(values: Tensor, shortcut: Tensor) -> Tensor:
    return torch.cat((_resized(values, *shortcut.shape[2:]), shortcut), dim=1)


class Refiner(nn.Module):
    """Alpha and foreground at full size, from patches of half and full resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(HIDDEN + 1 + 3 * COLOURS, 24, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(24)
        self.conv2 = nn.Conv2d(24, 16, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.conv3 = nn.Conv2d(16 + 2 * COLOURS, 12, 3, bias=False)
        self.bn3 = nn.BatchNorm2d(12)
        self.conv4 = nn.Conv2d(12, 1 + COLOURS, 3)

    def at_half(self, values: Tensor) -> Tensor:
        """Four pixels fewer along each side."""
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(values))))))

    def at_full(self, values: Tensor) -> Tensor:
        """Four pixels fewer along each side; alpha and foreground less the picture."""
        made: Tensor = self.conv4(F.relu(self.bn3(self.conv3(values))))
        return made

    def everywhere(self, seen: Tensor, coarse: Tensor) -> Tensor:
        """(N, 4, H, W) from picture and background (N, 6, H, W) and the coarse result (N, 36, h, w)."""
        height, width = seen.shape[2:]
        halved = [_resized(values, height // 2, width // 2) for values in (coarse, seen)]
        values = self.at_half(F.pad(torch.cat(halved, dim=1), (3, 3, 3, 3)))
        values = F.interpolate(values, (height + 4, width + 4), mode="nearest")
        return self.at_full(torch.cat((values, F.pad(seen, (2, 2, 2, 2))), dim=1))

    def patches(self, seen: Tensor, coarse: Tensor, chosen: Tensor) -> Tensor:
        """(N, 4, H, W): the coarse result enlarged, and patches (N, 1, H/4, W/4) of it made anew where chosen is 1."""
        height, width = seen.shape[2:]
        made = _resized(coarse[:, HIDDEN:], height, width)
        where = torch.nonzero(chosen[:, 0], as_tuple=True)
        if where[0].numel() == 0:
            return made
        halved = [_cropped(_resized(each, height // 2, width // 2), where, PATCH // 2, 3) for each in (coarse, seen)]
        values = self.at_half(torch.cat(halved, dim=1))
        values = F.interpolate(values, (WIDE, WIDE), mode="nearest")
        return _replaced(made, self.at_full(torch.cat((values, _cropped(seen, where, PATCH, 2)), dim=1)), where)


def _cropped(values: Tensor, where: tuple[Tensor, ...], side: int, around: int) -> Tensor:
    """Patches (P, C, side + 2*around, same) at places of a grid of patches; zeros beyond the picture."""
    padded = F.pad(values, (around,) * 4).permute(0, 2, 3, 1)
    wide = side + 2 * around
    windows = padded.unfold(1, wide, side).unfold(2, wide, side)
    cropped: Tensor = windows[where]
    return cropped


def _replaced(values: Tensor, patches: Tensor, where: tuple[Tensor, ...]) -> Tensor:
    number, channels, height, width = values.shape
    grid = values.view(number, channels, height // PATCH, PATCH, width // PATCH, PATCH).permute(0, 2, 4, 1, 3, 5)
    grid = grid.contiguous()
    grid[where] = patches
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(number, channels, height, width)


class BackgroundMattingNet(nn.Module):
    """Both networks.

    Args:
        backbone: What the coarse one is built on.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone, shortcuts = _encoder(backbone)
        self.aspp = Pyramid(self.backbone.deepest)
        self.decoder = Decoder((*shortcuts, 2 * COLOURS))
        self.refiner = Refiner()

    def forward(
        self,
        images: Tensor,
        backgrounds: Tensor,
        *,
        backbone_scale: float,
        mode: RefineMode = "sampling",
        sample_pixels: int = 80_000,
        threshold: float = 0.1,
    ) -> Matted:
        """Picture and background (N, 3, H, W), RGB 0..1, sides multiples of 4.

        Args:
            backbone_scale: Size at which the coarse network looks, of the picture's.
            mode: What is looked at closely: where the coarse network is least sure, where it is unsure, or all of it.
            sample_pixels: For ``sampling``: how many pixels of a picture.
            threshold: For ``thresholding``: from what expected error on.
        """
        seen = torch.cat((images, backgrounds), dim=1)
        small = _scaled(seen, backbone_scale)
        deepest, *shortcuts = self.backbone(small)
        made = self.decoder(self.aspp(deepest), *shortcuts, small)
        alpha, foreground, error, hidden = made.split((1, COLOURS, 1, HIDDEN), dim=1)
        alpha, error = alpha.clamp(0, 1), error.clamp(0, 1)
        coarse = torch.cat((hidden.relu(), alpha, foreground), dim=1)
        chosen = self._chosen(error, seen, mode, sample_pixels, threshold)
        refined = (
            self.refiner.everywhere(seen, coarse) if mode == "full" else self.refiner.patches(seen, coarse, chosen)
        )
        return Matted(
            refined[:, :1].clamp(0, 1),
            (refined[:, 1:] + images).clamp(0, 1),
            alpha,
            (foreground + small[:, :COLOURS]).clamp(0, 1),
            error,
            chosen,
        )

    def _chosen(self, error: Tensor, seen: Tensor, mode: RefineMode, sample_pixels: int, threshold: float) -> Tensor:
        """1 for the patches to look at closely, (N, 1, H/4, W/4)."""
        height, width = seen.shape[2] // PATCH, seen.shape[3] // PATCH
        if mode == "full":
            return error.new_ones((error.shape[0], 1, height, width))
        error = _resized(error, height, width)
        if mode == "thresholding":
            return (error > threshold).to(error.dtype)
        flat = error.flatten(1)
        count = min(sample_pixels // PATCH**2, flat.shape[1])
        worst = flat.topk(count, dim=1, sorted=False).indices
        chosen = torch.zeros_like(flat).scatter_(1, worst, 1.0) * (flat > 0)  # sure ones are never looked at again
        return chosen.view_as(error)


def _scaled(values: Tensor, scale: float) -> Tensor:
    height, width = (max(1, int(side * scale)) for side in values.shape[2:])
    return _resized(values, height, width)


def _encoder(backbone: Backbone) -> tuple[ResNetEncoder | MobileNetEncoder, tuple[int, int, int]]:
    """The network that sees picture and background, and its channels at an eighth, a quarter and a half."""
    if backbone == "mobilenetv2":
        return MobileNetEncoder(2 * COLOURS), (32, 24, 16)
    blocks = (3, 4, 6, 3) if backbone == "resnet50" else (3, 4, 23, 3)
    return ResNetEncoder(2 * COLOURS, blocks), ResNetEncoder.features
