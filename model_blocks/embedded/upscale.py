"""Enlarging without weights: sharp, without halos, the same in tiles as in one piece."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets.errors import UsageError

TAPS = 3  # the kernel sees three input pixels on each side
ROUNDS = 2  # back-projections


class EmbeddedUpscaler:
    """Lanczos enlargement corrected until shrinking it gives the input back, held within the local range.

    Source: Irani, Peleg 1991, Improving Resolution by Image Registration (iterative back-projection).

    Args:
        scale: 1 to 8.

    Raises:
        UsageError: another scale.
    """

    def __init__(self, scale: int = 2) -> None:
        if not 1 <= scale <= 8:
            raise UsageError(f"expected a scale of 1 to 8, got {scale}", scale=scale)
        self.scale = scale
        self.halo = 0 if scale == 1 else TAPS * (ROUNDS + 1)
        self._phases = [phase_weights(scale, phase) for phase in range(scale)]

    def upscale(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, scale*H, scale*W), float32, or float64 for float64."""
        images = images if images.dtype == torch.float64 else images.float()
        if self.scale == 1:
            return images.clone()
        low, high = self._range(images)
        large = self._enlarged(images)
        for _ in range(ROUNDS):
            large = large + self._enlarged(images - self._shrunk(large))
        return torch.minimum(torch.maximum(large, low), high)

    def _enlarged(self, images: Tensor) -> Tensor:
        return _resampled(_resampled(images, self._phases, dim=2), self._phases, dim=3)

    def _shrunk(self, large: Tensor) -> Tensor:
        """Means of scale x scale squares, added in a fixed order."""
        s = self.scale
        rows = large[..., 0::s, :].clone()
        for k in range(1, s):
            rows += large[..., k::s, :]
        both = rows[..., 0::s].clone()
        for k in range(1, s):
            both += rows[..., k::s]
        return both / (s * s)

    def _range(self, images: Tensor) -> tuple[Tensor, Tensor]:
        high = F.max_pool2d(images, 3, stride=1, padding=1)
        low = -F.max_pool2d(-images, 3, stride=1, padding=1)
        return self._repeated(low), self._repeated(high)

    def _repeated(self, images: Tensor) -> Tensor:
        return images.repeat_interleave(self.scale, dim=2).repeat_interleave(self.scale, dim=3)


def phase_weights(scale: int, phase: int) -> list[float]:
    """Weights of the input pixels -3..3 around one for output pixel ``phase`` of it, pixel centres aligned.

    Lanczos-3, corrected near its centre so that constants and ramps come out exactly.
    """
    shift = (phase + 0.5) / scale - 0.5
    taps = range(-TAPS, TAPS + 1)
    away = [k - shift for k in taps]
    raw = [_lanczos(d) for d in away]
    bump = [math.exp(-d * d) for d in away]  # where the correction may act
    b0, b1, b2 = (sum(g * d**n for g, d in zip(bump, away, strict=True)) for n in range(3))
    miss0, miss1 = 1 - sum(raw), -sum(w * d for w, d in zip(raw, away, strict=True))
    slope = (miss1 * b0 - miss0 * b1) / (b0 * b2 - b1 * b1)
    level = (miss0 - slope * b1) / b0
    return [w + g * (level + slope * d) for w, g, d in zip(raw, bump, away, strict=True)]


def _lanczos(x: float) -> float:
    if abs(x) >= TAPS:
        return 0.0
    if x == 0:
        return 1.0
    return TAPS * math.sin(math.pi * x) * math.sin(math.pi * x / TAPS) / (math.pi * x) ** 2


def _resampled(images: Tensor, phases: list[list[float]], *, dim: int) -> Tensor:
    size = images.shape[dim]
    padded = _replicated(images, dim)
    outputs = []
    for weights in phases:
        total = torch.zeros_like(images)
        for k, weight in enumerate(weights):
            if weight:
                total = total + padded.narrow(dim, k, size) * weight
        outputs.append(total)
    stacked = torch.stack(outputs, dim=dim + 1)
    shape = list(images.shape)
    shape[dim] *= len(phases)
    return stacked.reshape(shape)


def _replicated(images: Tensor, dim: int) -> Tensor:
    pad = (0, 0, TAPS, TAPS) if dim == 2 else (TAPS, TAPS, 0, 0)
    return F.pad(images, pad, mode="replicate")
