"""LaMa: fills holes by its authors' network, behind the inpainter's contract, one frame at a time.

Source: Suvorov et al. 2022, Resolution-robust Large Mask Inpainting with Fourier Convolutions, and the procedure of its
authors' script. The network itself is spandrel's.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from datasets.errors import FrameShapeError, UsageError
from model_blocks.facts import ModelFacts, Precision
from model_blocks.official import filled, read_whole_state
from model_blocks.registry import find_model
from model_blocks.torch_libraries import prepare
from model_blocks.weight_errors import WeightsKeysError

MULTIPLE = 8  # pixels; the network halves sides three times
LEAST_SIDE = 16  # below it one of its mirrored borders is wider than what it mirrors
FIRST_TENSOR = "model.1.bn_l.running_mean"  # of the generator; what stands before it is the prefix
COLOURS = 3


class LamaInpainter:
    """Removes what a mask covers from single frames.

    The authors' procedure: the network is shown the frame without anything that the mask touches at all, mirrored at
    the right and the bottom up to a multiple of 8 pixels, and its colours are taken inside the mask. They take them
    wholly wherever the mask is above 0. Here a soft edge is blended: from 0.5 on wholly, below in proportion, so that
    their hard masks give their pixels.

    Args:
        state: The generator's tensors without prefix.
        device: Where it runs.
        precision: float32; Fourier transforms know nothing narrower everywhere.

    Raises:
        UsageError: Another precision.
        WeightsKeysError: Keys are missing or unknown, or tensors have other shapes.
    """

    reach = 0

    def __init__(self, state: Mapping[str, Tensor], *, device: str = "cpu", precision: Precision = "float32") -> None:
        if precision != "float32":
            raise UsageError(f"LaMa computes in float32 alone, not in {precision}", precision=precision)
        self._device = device
        self.network = filled(_generator(), state).to(device)

    def inpaint(self, images: Tensor, masks: Tensor, wanted: slice) -> Tensor:
        """The frames ``images[wanted]`` with what the masks cover replaced; other pixels stay as they are.

        Args:
            images: (T, 3, H, W), RGB, 0..1.
            masks: (T, 1, H, W), 0..1; from 0.5 on removed, below blended in proportion.
            wanted: Of the T frames.

        Returns:
            (len(wanted), 3, H, W), float32, 0..1, where the images are.

        Raises:
            FrameShapeError: Images and masks do not belong together.
        """
        count, channels, height, width = images.shape
        if channels != COLOURS or masks.shape != (count, 1, height, width):
            raise FrameShapeError(
                f"expected images (T, 3, H, W) and masks (T, 1, H, W), got {tuple(images.shape)} and "
                f"{tuple(masks.shape)}",
                images=list(images.shape),
                masks=list(masks.shape),
            )
        made = [self._filled(images[i : i + 1], masks[i : i + 1]) for i in range(*wanted.indices(count))]
        return torch.cat(made) if made else images[:0].float()

    def _filled(self, image: Tensor, mask: Tensor) -> Tensor:
        """One frame; alone, so that its pixels do not depend on the others."""
        if not bool((mask > 0).any()):
            return image.float()
        height, width = image.shape[2:]
        with torch.inference_mode():
            colours = image.to(self._device, torch.float32).clamp(0, 1)
            hidden = (mask.to(self._device) > 0).float()
            made = self.predicted(padded(colours), padded(hidden))[..., :height, :width].to(image.device)
            share = (2 * mask.float()).clamp(0, 1)
            return share * made + (1 - share) * image.float().clamp(0, 1)

    def predicted(self, images: Tensor, holes: Tensor) -> Tensor:
        """What the network makes of (1, 3, H, W) with holes (1, 1, H, W) of 0 and 1; sides a multiple of 8."""
        made: Tensor = self.network(images * (1 - holes), holes)
        return made


def open_lama(
    name: str,
    path: str | Path,
    *,
    sha256: str | None = None,
    device: str = "cpu",
    precision: Precision = "float32",
) -> LamaInpainter:
    """A registered LaMa model from a file of its authors.

    Args:
        name: As in the registry.
        path: ``best.ckpt``, the archive it lies in, the generator alone, or the known TorchScript file.
        sha256: What the bytes must hash to; None: whatever they do.
        device: Where it runs.
        precision: float32.

    Raises:
        ModelUnknownError: Nothing of that name is registered.
        UsageError: Another precision.
        WeightsKeysError: The file holds something else.
    """
    state = generator_state(find_model(name), path, sha256)
    return LamaInpainter(state, device=device, precision=precision)


def generator_state(facts: ModelFacts, path: str | Path, sha256: str | None = None) -> dict[str, Tensor]:
    """The tensors of the generator under its own names; what else was trained with it is left out.

    Checkpoints call it ``generator.``, programs have further names before that, safetensors may have none.

    Raises:
        WeightsKeysError: There is no generator in the file, or more than one.
    """
    state = read_whole_state(facts, path, sha256)
    prefixes = [key.removesuffix(FIRST_TENSOR) for key in state if key == FIRST_TENSOR or _is_first(key)]
    if len(prefixes) != 1:
        raise WeightsKeysError(
            f"{Path(path).name} holds {len(prefixes)} networks of LaMa's kind, told by {FIRST_TENSOR!r}, expected one; "
            "it belongs to another model",
            found=prefixes,
        )
    return {key.removeprefix(prefixes[0]): value for key, value in state.items() if key.startswith(prefixes[0])}


def _is_first(key: str) -> bool:
    return key.endswith(f".{FIRST_TENSOR}")


def _generator() -> nn.Module:
    prepare()
    from spandrel.architectures.LaMa import LaMa

    made: nn.Module = LaMa(in_nc=COLOURS + 1, out_nc=COLOURS).model
    return made


def padded(values: Tensor) -> Tensor:
    """Mirrored at the right and the bottom, edge pixels included, to a multiple of 8 pixels and at least 16."""
    height, width = values.shape[2:]
    return values[:, :, _mirrored(height, values.device)][:, :, :, _mirrored(width, values.device)]


def _mirrored(length: int, device: torch.device) -> Tensor:
    """Where each place of a padded row comes from: there and back again, as often as it takes."""
    whole = max(LEAST_SIDE, -(-length // MULTIPLE) * MULTIPLE)
    places = torch.arange(whole, device=device) % (2 * length)
    return torch.minimum(places, 2 * length - 1 - places)
