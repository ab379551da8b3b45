"""BackgroundMattingV2: alpha and foreground from a picture and the same view without the object.

Source: Lin, Ryabtsev, Sengupta, Curless, Seitz, Kemelmacher-Shlizerman 2021, Real-Time High-Resolution Background
Matting. The networks in ``model_blocks.nets`` are written from the paper; the authors' files load into them with every
key accounted for.
"""

from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets.errors import FrameShapeError
from model_blocks.nets.bmv2 import PATCH, Backbone, BackgroundMattingNet, Matted, RefineMode
from model_blocks.official import filled, read_state
from model_blocks.registry import Precision, find_model

BACKBONES: dict[str, Backbone] = {
    "bmv2-mobilenetv2": "mobilenetv2",
    "bmv2-resnet50": "resnet50",
    "bmv2-resnet101": "resnet101",
}
HD_SIDE = 2560  # pixels of the longer side up to which the authors' settings for HD hold; theirs for 4K beyond
HD = (0.25, 80_000)  # scale of the coarse look, pixels that are looked at closely
UHD = (0.125, 320_000)


class BackgroundMatter:
    """Finds alpha and foreground by comparing with a background.

    Args:
        network: With its weights.
        backbone_scale: Of the coarse look; None: by the size of the picture, as its authors do.
        mode: What is looked at closely.
        sample_pixels: For ``sampling``: how many pixels of a picture; None: by its size.
        threshold: For ``thresholding``: from what expected error on.
        device: Where it runs.
        precision: What it computes in; results are float32 in any case.
    """

    needs_background = True

    def __init__(
        self,
        network: BackgroundMattingNet,
        *,
        backbone_scale: float | None = None,
        mode: RefineMode = "sampling",
        sample_pixels: int | None = None,
        threshold: float = 0.1,
        device: str = "cpu",
        precision: Precision = "float32",
    ) -> None:
        self._dtype: torch.dtype = getattr(torch, precision)
        self._device = device
        self.network = network.to(device=device, dtype=self._dtype)
        self._scale, self._samples = backbone_scale, sample_pixels
        self._mode: RefineMode = mode
        self._threshold = threshold

    def find_alpha(self, images: Tensor, backgrounds: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Alpha (N, 1, H, W) and foreground (N, 3, H, W), float32, 0..1, on the pictures' device.

        Raises:
            FrameShapeError: There is no background, or it has another shape than the pictures (N, 3, H, W).
        """
        made = self.matted(images, backgrounds)
        return made.alpha, made.foreground

    def matted(self, images: Tensor, backgrounds: Tensor | None) -> Matted:
        """All that the networks make, with alpha and foreground in the pictures' size.

        Raises:
            FrameShapeError: There is no background, or it has another shape than the pictures (N, 3, H, W).
        """
        if backgrounds is None or backgrounds.shape != images.shape or images.shape[1] != 3:
            raise FrameShapeError(
                f"expected pictures (N, 3, H, W) and backgrounds of the same shape, got {tuple(images.shape)} and "
                f"{None if backgrounds is None else tuple(backgrounds.shape)}; give the same view without the object"
            )
        height, width = images.shape[2:]
        scale, samples = settings_for(height, width)
        with torch.inference_mode():
            made = self.network(
                padded(images.to(self._device, self._dtype)),
                padded(backgrounds.to(self._device, self._dtype)),
                backbone_scale=self._scale or scale,
                mode=self._mode,
                sample_pixels=self._samples or samples,
                threshold=self._threshold,
            )
            return _returned(made, height, width, images.device)


def settings_for(height: int, width: int) -> tuple[float, int]:
    """Scale of the coarse look and pixels to look at closely, for a picture of this size."""
    return HD if max(height, width) <= HD_SIDE else UHD


def padded(images: Tensor) -> Tensor:
    """The last row and column repeated until the sides are multiples of four, which the networks need."""
    height, width = images.shape[2:]
    return F.pad(images, (0, -width % PATCH, 0, -height % PATCH), mode="replicate")


def _returned(made: Matted, height: int, width: int, device: torch.device) -> Matted:
    """In float32, on a device, what was padded cut off."""
    values = {name: value.to(device, torch.float32) for name, value in vars(made).items()}
    whole = {name: values[name][..., :height, :width] for name in ("alpha", "foreground")}
    return replace(made, **(values | whole))


def open_background_matting(
    name: str,
    path: str | Path,
    *,
    sha256: str | None = None,
    device: str = "cpu",
    precision: Precision = "float32",
    backbone_scale: float | None = None,
    mode: RefineMode = "sampling",
    sample_pixels: int | None = None,
    threshold: float = 0.1,
) -> BackgroundMatter:
    """A registered model from a file of its authors. Keys and shapes must fit, although the authors' own code is lax.

    Args:
        name: ``bmv2-mobilenetv2``, ``bmv2-resnet50`` or ``bmv2-resnet101``.
        path: The authors' file.
        sha256: What its bytes must hash to; None: whatever they do.
        device: Where it runs.
        precision: What it computes in.
        backbone_scale, mode, sample_pixels, threshold: As of ``BackgroundMatter``.

    Raises:
        ModelUnknownError: Nothing of that name is registered.
        WeightsKeysError: The file holds something else.
    """
    facts = find_model(name, "matte")
    network = filled(BackgroundMattingNet(BACKBONES[name]), read_state(facts, path, sha256))
    return BackgroundMatter(
        network,
        backbone_scale=backbone_scale,
        mode=mode,
        sample_pixels=sample_pixels,
        threshold=threshold,
        device=device,
        precision=precision,
    )
