"""The networks of RIFE: the flow to a moment between two frames, found from coarse to fine.

Source: Huang, Zhang, Heng, Shi, Zhou 2022, Real-Time Intermediate Flow Estimation for Video Frame Interpolation. The
versions differ in how many levels there are, whether learned features of the frames go along with them, and whether a
level corrects what the last one says or replaces it. Parameters carry the names of the authors' files.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

COLOURS = 3
FLOWS = 4  # x and y to the first frame, x and y to the second
REFINEMENTS = 8  # residual convolutions of a level
LEAK = 0.2  # slope of the rectifiers below zero


@dataclass(frozen=True)
class Variant:
    """One version of the network.

    Attributes:
        version: As its authors call it.
        widths: Channels of the levels, coarse to fine.
        scales: How much smaller than the frames each level works.
        features: Learned channels per frame that are moved along with its colours; 0: none.
        carried: Channels that a level hands to the next besides flow and mask; 0: none, and a level's mask is added to
            the last one's instead of replacing it.
    """

    version: str
    widths: tuple[int, ...]
    scales: tuple[float, ...]
    features: int = 0
    carried: int = 0


VARIANTS = (
    Variant("4.6", (192, 128, 96, 64), (8, 4, 2, 1)),
    Variant("4.25", (192, 128, 96, 64, 32), (16, 8, 4, 2, 1), features=4, carried=8),
)


@dataclass(frozen=True)
class Motion:
    """How two frames come together at a moment between them.

    Attributes:
        flow: (N, 4, H, W), pixels: from the moment to the first frame, x and y, and to the second.
        weight: (N, 1, H, W), 0..1, what the first frame counts; the second counts the rest.
    """

    flow: Tensor
    weight: Tensor

    def blend(self, first: Tensor, second: Tensor) -> Tensor:
        """Both frames (N, C, H, W) moved to the moment and mixed; any channels."""
        moved = warped(first, self.flow[:, :2]), warped(second, self.flow[:, 2:])
        return moved[0] * self.weight + moved[1] * (1 - self.weight)


class RifeNet(nn.Module):
    """Levels from coarse to fine; each sees both frames as the flow so far moves them, and corrects it."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.variant = variant
        seen = 2 * (COLOURS + variant.features) + 1  # both frames and the moment
        later = seen + 1 + variant.carried + FLOWS
        self._levels = [f"block{number}" for number in range(len(variant.widths))]
        for number, (name, width) in enumerate(zip(self._levels, variant.widths, strict=True)):
            self.add_module(name, _Level(later if number else seen, width, max(1, variant.carried)))
        if variant.features:
            self.encode = _Encoder(variant.features)

    def motion(self, first: Tensor, second: Tensor, fraction: float, scale: float = 1.0) -> Motion:
        """The flow to a moment.

        Args:
            first: (1, 3, H, W), RGB, 0..1; sides a multiple of 128 / ``scale``.
            second: The same.
            fraction: How far the moment is on the way to the second frame, between 0 and 1.
            scale: Below 1 the levels work on smaller copies: for frames so large that motion would exceed their reach.
        """
        sides = [torch.cat((each, *self._features(each)), dim=1) for each in (first, second)]
        moment = torch.full_like(first[:, :1], fraction)
        flow, mask, carried = self._level(0, torch.cat((*_ordered(sides[0], sides[1]), moment), dim=1), None, scale)
        for number in range(1, len(self._levels)):
            moved = _ordered(warped(sides[0], flow[:, :2]), warped(sides[1], flow[:, 2:]))
            seen = torch.cat((*moved, moment, mask, *carried), dim=1)
            more, other, carried = self._level(number, seen, flow, scale)
            flow = flow + more
            mask = other if self.variant.carried else mask + other
        return Motion(flow, torch.sigmoid(mask))

    def forward(self, first: Tensor, second: Tensor, fraction: float, scale: float = 1.0) -> Tensor:
        """The frame at a moment: (1, 3, H, W) of two frames as ``motion`` takes them, clamped to 0..1."""
        first, second = first.clamp(0, 1), second.clamp(0, 1)
        return self.motion(first, second, fraction, scale).blend(first, second)

    def _features(self, frame: Tensor) -> tuple[Tensor, ...]:
        if not self.variant.features:
            return ()
        made: Tensor = self.encode(frame)
        return (made,)

    def _level(
        self, number: int, seen: Tensor, flow: Tensor | None, scale: float
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Flow, mask and what is carried on, in the size of the frames."""
        made: Tensor = self.get_submodule(self._levels[number])(seen, flow, self.variant.scales[number] / scale)
        carried = (made[:, FLOWS + 1 :],) if self.variant.carried else ()
        return made[:, :FLOWS], made[:, FLOWS : FLOWS + 1], carried


def _ordered(first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
    """Colours of both frames, then features of both."""
    return first[:, :COLOURS], second[:, :COLOURS], first[:, COLOURS:], second[:, COLOURS:]


class _Level(nn.Module):
    """One level: a smaller copy, two strided convolutions, residual ones, and back to full size."""

    def __init__(self, channels: int, width: int, carried: int) -> None:
        super().__init__()
        self.conv0 = nn.Sequential(_strided(channels, width // 2), _strided(width // 2, width))
        self.convblock = nn.Sequential(*(_Residual(width) for _ in range(REFINEMENTS)))
        made = FLOWS + 1 + carried
        self.lastconv = nn.Sequential(nn.ConvTranspose2d(width, 4 * made, 4, 2, 1), nn.PixelShuffle(2))

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def forward(self, seen: Tensor, flow: Tensor | None, shrink: float) -> Tensor:
        """(N, C, H, W) and the flow so far to (N, 4 + 1 + carried, H, W); flow in pixels of the full size."""
        small = _resized(seen, 1 / shrink)
        if flow is not None:
            small = torch.cat((small, _resized(flow, 1 / shrink) / shrink), dim=1)
        made = self.lastconv(self.convblock(self.conv0(small.to(self.dtype))))
        large = _resized(made.float(), shrink)
        return torch.cat((large[:, :FLOWS] * shrink, large[:, FLOWS:]), dim=1)


class _Residual(nn.Module):
    """A convolution whose result is scaled per channel and added to its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.beta = nn.Parameter(torch.ones(1, width, 1, 1))

    def forward(self, values: Tensor) -> Tensor:
        return F.leaky_relu(self.conv(values) * self.beta + values, LEAK)


class _Encoder(nn.Module):
    """Learned features of one frame, in its size."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.cnn0 = nn.Conv2d(COLOURS, 16, 3, 2, 1)
        self.cnn1 = nn.Conv2d(16, 16, 3, 1, 1)
        self.cnn2 = nn.Conv2d(16, 16, 3, 1, 1)
        self.cnn3 = nn.ConvTranspose2d(16, features, 4, 2, 1)

    def forward(self, frame: Tensor) -> Tensor:
        values = frame.to(self.cnn0.weight.dtype)
        for layer in (self.cnn0, self.cnn1, self.cnn2):
            values = F.leaky_relu(layer(values), LEAK)
        made: Tensor = self.cnn3(values)
        return made.float()


def _strided(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, 3, 2, 1), nn.LeakyReLU(LEAK))


def _resized(values: Tensor, factor: float) -> Tensor:
    return F.interpolate(values, scale_factor=factor, mode="bilinear", align_corners=False)


def warped(frame: Tensor, flow: Tensor) -> Tensor:
    """Every pixel of (N, C, H, W) taken from where ``flow`` (N, 2, H, W), x and y in pixels, leads; edges repeat.

    In float32 whatever the network computes in: half precision cannot name the pixels of a large frame.
    """
    height, width = frame.shape[2:]
    across = torch.linspace(-1, 1, width, device=frame.device).view(1, 1, width)
    down = torch.linspace(-1, 1, height, device=frame.device).view(1, height, 1)
    x = across + flow[:, 0] * (2 / max(1, width - 1))
    y = down + flow[:, 1] * (2 / max(1, height - 1))
    places = torch.stack((x, y), dim=-1)
    return F.grid_sample(frame, places, mode="bilinear", padding_mode="border", align_corners=True)
