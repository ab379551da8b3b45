"""What a model can be asked to do: one small Protocol per capability.

Tensors are (N, C, H, W), RGB, float32, 0..1, unless a method says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

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


class PropagationState(Protocol):
    """What is remembered of a shot so far; saved at the end of a chunk, and a resumed run goes on to the last bit."""

    def to_arrays(self) -> dict[str, Any]:
        """Everything as numpy arrays and plain numbers, by name; the propagator's ``restore`` takes it."""
        ...


@runtime_checkable
class Propagator(Protocol):
    """Follows an object through one shot, frame by frame."""

    def begin(self, image: Tensor, mask: Tensor, *, frames: int = 0) -> PropagationState:
        """The state after a shot's first frame: image (3, H, W), mask (1, H, W), 0..1.

        ``frames`` is how many frames the shot has, for models that go by it; 0: not known.
        """
        ...

    def step(self, state: Any, image: Tensor) -> tuple[Tensor, PropagationState]:
        """The mask (1, H, W), 0..1, of the next frame (3, H, W), and the state after it."""
        ...

    def restore(self, arrays: Mapping[str, Any]) -> PropagationState:
        """The state that ``to_arrays`` was asked of."""
        ...


@runtime_checkable
class Inpainter(Protocol):
    """Removes what a mask covers. A frame of the result depends on ``reach`` frames on each side and no others."""

    reach: int

    def inpaint(self, images: Tensor, masks: Tensor, wanted: slice) -> Tensor:
        """The frames ``images[wanted]`` with their holes filled.

        Args:
            images: (T, 3, H, W), the wanted frames and those within reach that exist.
            masks: (T, 1, H, W), 0..1; above 0.5 is removed, a soft edge is blended.
            wanted: Of the T frames; of step 1.
        """
        ...


@runtime_checkable
class AlphaFinder(Protocol):
    """Finds the alpha of whole pictures by itself, without a trimap; a matter of another kind than ``Matter``."""

    needs_background: bool

    def find_alpha(self, images: Tensor, backgrounds: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Pictures (N, 3, H, W) and, where it needs one, the same view without the object.

        Returns:
            Alpha (N, 1, H, W), 0..1, and the object's own colours (N, 3, H, W) where the model knows them.
        """
        ...


@runtime_checkable
class SmallAlphaFinder(AlphaFinder, Protocol):
    """An alpha finder that looks at a shrunk copy, and whose alpha for the picture is the small one stretched by area.

    So a large picture can be cut in tiles after one look at it.
    """

    def find_small_alpha(self, images: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) to alpha (N, 1, h, w) at the size it works at."""
        ...


@dataclass(frozen=True)
class Face:
    """A face in a picture, in its pixels.

    Attributes:
        box: x, y, width, height.
        landmarks: Five points (x, y): right eye, left eye, nose, right and left corner of the mouth, as the person
            sees them.
        score: 0..1, how sure the detector is.
    """

    box: tuple[float, float, float, float]
    landmarks: tuple[tuple[float, float], ...]
    score: float


@runtime_checkable
class FaceDetector(Protocol):
    """Finds faces in a whole picture."""

    def detect(self, image: Tensor) -> tuple[Face, ...]:
        """The faces of a picture (3, H, W), the surest first."""
        ...


@runtime_checkable
class FaceRestorer(Protocol):
    """Restores aligned faces of ``side`` pixels square."""

    side: int

    def restore(self, faces: Tensor, fidelity: float = 0.5) -> Tensor:
        """(N, 3, side, side) to the same, RGB 0..1; ``fidelity`` 0..1 where the model has one, 1 nearest the input."""
        ...


@runtime_checkable
class DepthEstimator(Protocol):
    """Estimates depth from one picture."""

    def estimate_depth(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to relative inverse depth (N, 1, H, W), float32, larger is nearer; no unit."""
        ...
