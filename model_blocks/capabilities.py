"""What a model can be asked to do: one small Protocol per capability.

Tensors are (N, C, H, W), RGB, float32, 0..1, unless a method says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:  # torch takes a second to import, and a run whose stages are all cached needs none of it
    from torch import Tensor


@dataclass(frozen=True)
class Segmentation:
    """Where the product is.

    Attributes:
        probability: (N, 1, H, W), float32, 0..1; above 0.5 belongs to the object.
        confidence: One number per picture, 0..1; below 0.5 there is no object to speak of.
    """

    probability: Tensor
    confidence: tuple[float, ...]


@runtime_checkable
class Segmenter(Protocol):
    """Finds the salient object of a whole picture. Sees a copy whose longer side is at most ``working_side``."""

    working_side: int

    def segment(self, images: Tensor) -> Segmentation: ...


@runtime_checkable
class Matter(Protocol):
    """Turns a trimap into a soft alpha and the object's own colours; a pixel depends on ``halo`` pixels around it."""

    halo: int

    def matte(self, images: Tensor, trimaps: Tensor) -> tuple[Tensor, Tensor]:
        """Returns alpha (N, 1, H, W) and foreground colours (N, 3, H, W) for trimaps (N, 1, H, W) of 0, 0.5 and 1."""
        ...


@runtime_checkable
class Upscaler(Protocol):
    """Enlarges by a whole factor. Local: an output pixel depends on ``halo`` input pixels around it."""

    scale: int
    halo: int

    def upscale(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, scale*H, scale*W); any number of channels is treated channel by channel or as RGB."""
        ...


@runtime_checkable
class Interpolator(Protocol):
    """Makes frames between two others. Sees whole frames."""

    def interpolate(self, first: Tensor, second: Tensor, fractions: Sequence[float]) -> Tensor:
        """Two frames (C, H, W), C 3 or 4 with straight alpha, to (len(fractions), C, H, W).

        ``fractions`` say how far each new frame is on the way from the first to the second, strictly between 0 and 1.
        """
        ...
