"""MODNet: the alpha of portraits, from the picture alone.

Source: Ke, Sun, Li, Yan, Lau 2022, MODNet: Real-Time Trimap-Free Portrait Matting via Objective Decomposition. The
network in ``model_blocks.nets`` is written from the paper; the authors' files load into it.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets.errors import FrameShapeError
from model_blocks.nets.modnet import ModNet
from model_blocks.official import filled, read_state
from model_blocks.registry import Precision, find_model
from model_blocks.weight_errors import WeightsKeysError

SIDE = 512  # pixels of the shorter side that the authors work at
MULTIPLE = 32
LONGEST = 4096  # pixels; a strip one pixel wide would otherwise grow to gigabytes. Reached from 8:1 on
MEAN, SPREAD = 0.5, 0.5  # of every channel
BACKBONES = ("backbone.", "lr_branch.backbone.")  # the same tensors stand in the file under both


class PortraitMatter:
    """Finds the alpha of people by itself.

    Args:
        network: With its weights.
        device: Where it runs.
        precision: What it computes in; results are float32 in any case.
    """

    needs_background = False

    def __init__(self, network: ModNet, *, device: str = "cpu", precision: Precision = "float32") -> None:
        self._dtype: torch.dtype = getattr(torch, precision)
        self._device = device
        self.network = network.to(device=device, dtype=self._dtype)

    def find_alpha(
        self,
        images: Tensor,
        backgrounds: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Alpha (N, 1, H, W), float32, 0..1, of pictures (N, 3, H, W), on their device; it knows no colours.

        Raises:
            FrameShapeError: The pictures have another shape.
        """
        return resized_by_area(self.find_small_alpha(images), *images.shape[2:]), None

    def find_small_alpha(self, images: Tensor) -> Tensor:
        """Alpha (N, 1, h, w) at the size the network works at; stretched by area it is the alpha of the pictures.

        Raises:
            FrameShapeError: The pictures are not (N, 3, H, W).
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise FrameShapeError(f"expected pictures (N, 3, H, W), got {tuple(images.shape)}")
        with torch.inference_mode():
            small = resized_by_area(images.to(self._device, torch.float32), *working_size(*images.shape[2:]))
            alpha: Tensor = self.network(((small - MEAN) / SPREAD).to(self._dtype))
            return alpha.to(images.device, torch.float32)


def resized_by_area(images: Tensor, height: int, width: int) -> Tensor:
    """Every pixel the mean of those under it, larger or smaller, as the authors resize both ways."""
    return F.interpolate(images, (height, width), mode="area")


def working_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) the network sees a picture at.

    The shorter side becomes 512 if the picture lies wholly below or above that, and both become multiples of 32.
    """
    shorter, longer = min(height, width), max(height, width)
    if longer < SIDE or shorter > SIDE:
        if width >= height:
            height, width = SIDE, int(width / height * SIDE)
        else:
            height, width = int(height / width * SIDE), SIDE
    return _whole(height), _whole(width)


def _whole(side: int) -> int:
    return max(MULTIPLE, min(LONGEST, side // MULTIPLE * MULTIPLE))


def open_modnet(
    name: str,
    path: str | Path,
    *,
    sha256: str | None = None,
    device: str = "cpu",
    precision: Precision = "float32",
) -> PortraitMatter:
    """A registered model from a file of its authors.

    Args:
        name: ``modnet-photographic`` or ``modnet-webcam``.
        path: The authors' file.
        sha256: What its bytes must hash to; None: whatever they do.
        device: Where it runs.
        precision: What it computes in.

    Raises:
        ModelUnknownError: Nothing of that name is registered.
        WeightsKeysError: The file holds something else, or two different backbones.
    """
    facts = find_model(name, "matte")
    state = read_state(facts, path, sha256)
    network = filled(ModNet(), state)
    _refuse_two_backbones(state)
    return PortraitMatter(network, device=device, precision=precision)


def _refuse_two_backbones(state: Mapping[str, Tensor]) -> None:
    """Which of two the authors' code would use depends on the order it reads them in."""
    first, second = BACKBONES
    pairs = ((key, second + key.removeprefix(first)) for key in state if key.startswith(first))
    wrong = [key for key, other in pairs if not torch.equal(state[key], state[other])]
    if wrong:
        raise WeightsKeysError(
            f"expected the backbone's tensors to be the same under {first}* and {second}*; {wrong[0]} is not, so the "
            "file is damaged or belongs to another model",
            keys=wrong[:10],
        )
