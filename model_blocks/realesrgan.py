"""Real-ESRGAN: the authors' networks behind the upscaler's contract, from files in their own format.

Source: Wang, Xie, Dong, Shan 2021, Real-ESRGAN. The networks in ``model_blocks.nets`` are written from the papers; the
authors' files load into them with every key accounted for.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets.errors import UsageError
from model_blocks.nets.rrdb import RrdbNet, rrdb_like
from model_blocks.nets.srvgg import SrvggCompact, srvgg_like
from model_blocks.official import filled, read_whole_state
from model_blocks.registry import ModelFacts, Precision, find_model
from model_blocks.weight_errors import WeightsKeysError

PRE_PAD = 10  # pixels mirrored at the right and the bottom before the network, as the authors do
GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601, for pictures with one channel, as the authors do for alpha


class RealEsrganUpscaler:
    """Four times as large, by one of the Real-ESRGAN networks.

    The authors' whole procedure: mirrored padding at the right and the bottom, network, crop, clamp to 0..1.

    Args:
        state: The network's tensors, named as in the authors' files.
        halo: Input pixels around an output pixel that are read; None: all it depends on.
        ignored_keys: Patterns (``*`` and ``?``) of keys that inference does not use.
        device: Where it runs.
        precision: What it computes in; results are float32 in any case.

    Raises:
        WeightsKeysError: Keys are missing or unknown, or tensors have other shapes.
    """

    def __init__(
        self,
        state: Mapping[str, Tensor],
        *,
        halo: int | None = None,
        ignored_keys: tuple[str, ...] = (),
        device: str = "cpu",
        precision: Precision = "float32",
    ) -> None:
        self._dtype: torch.dtype = getattr(torch, precision)
        self.network = _network_from(state, ignored_keys).to(device=device, dtype=self._dtype)
        self.scale = self.network.scale
        self.halo = self.network.receptive_radius if halo is None else halo

    def upscale(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, 4*H, 4*W), float32, 0..1.

        Three channels are RGB; one goes through as grey and comes back as grey; four are RGB and alpha, apart.

        Raises:
            UsageError: Another number of channels.
        """
        channels = images.shape[1]
        if channels == 3:
            return self._enlarged(images)
        if channels == 1:
            weights = torch.tensor(GREY, device=images.device).view(1, 3, 1, 1)
            return (self._enlarged(images.expand(-1, 3, -1, -1)) * weights).sum(dim=1, keepdim=True)
        if channels == 4:
            return torch.cat((self.upscale(images[:, :3]), self.upscale(images[:, 3:])), dim=1)
        raise UsageError(f"expected pictures with 1, 3 or 4 channels, got {channels}", channels=channels)

    def _enlarged(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        with torch.inference_mode():
            made: Tensor = self.network(pre_padded(images.to(self._dtype)))
            return made[..., : height * self.scale, : width * self.scale].float().clamp(0, 1)


def pre_padded(images: Tensor) -> Tensor:
    """Ten mirrored pixels at the right and the bottom; as many as there are in smaller pictures."""
    height, width = images.shape[2:]
    return F.pad(images, (0, min(PRE_PAD, width - 1), 0, min(PRE_PAD, height - 1)), mode="reflect")


def open_realesrgan(
    name: str,
    path: str | Path,
    *,
    weak_denoise_path: str | Path | None = None,
    denoise_strength: float = 1.0,
    sha256: str | None = None,
    weak_denoise_sha256: str | None = None,
    device: str = "cpu",
    precision: Precision = "float32",
) -> RealEsrganUpscaler:
    """A registered Real-ESRGAN model from a file of its authors.

    Args:
        name: As in the registry.
        path: The authors' file.
        weak_denoise_path: The weakly denoising twin of ``realesr-general-x4v3``, to blend with.
        denoise_strength: 1: the file's own strong denoising; 0: the twin's weak one.
        sha256: What the bytes of ``path`` must hash to; None: whatever they do.
        weak_denoise_sha256: The same for ``weak_denoise_path``.
        device: Where it runs.
        precision: What it computes in.

    Raises:
        ModelUnknownError: Nothing of that name is registered.
        UsageError: A denoise strength below 1 without a twin, or out of range.
        WeightsKeysError: The file holds something else.
    """
    facts = find_model(name)
    state = read_whole_state(facts, path, sha256)
    if denoise_strength != 1.0:
        if weak_denoise_path is None:
            raise UsageError(f"a denoise strength of {denoise_strength:g} needs the weakly denoising file as well")
        state = blended(state, read_whole_state(facts, weak_denoise_path, weak_denoise_sha256), denoise_strength)
    model = RealEsrganUpscaler(
        state, halo=facts.halo_pixels, ignored_keys=facts.ignored_keys, device=device, precision=precision
    )
    _check_depth(facts, model)
    return model


def blended(strong: Mapping[str, Tensor], weak: Mapping[str, Tensor], denoise_strength: float) -> dict[str, Tensor]:
    """The weights of two networks of one shape, averaged: 1 is the strongly denoising one, 0 the weak one.

    Source: Wang, Yu, Dong, Change Loy 2019, Deep Network Interpolation for Continuous Imagery Effect Transition.

    Raises:
        UsageError: The strength is outside 0..1.
        WeightsKeysError: The two do not have the same tensors.
    """
    if not 0 <= denoise_strength <= 1:
        raise UsageError(f"expected a denoise strength of 0 to 1, got {denoise_strength:g}", strength=denoise_strength)
    if {key: value.shape for key, value in strong.items()} != {key: value.shape for key, value in weak.items()}:
        raise WeightsKeysError("the two files to blend hold different tensors; they must be a pair")
    return {key: torch.lerp(weak[key], strong[key], denoise_strength) for key in strong}


def _network_from(state: Mapping[str, Tensor], ignored_keys: tuple[str, ...]) -> SrvggCompact | RrdbNet:
    kept = {
        key: value for key, value in state.items() if not any(fnmatchcase(key, pattern) for pattern in ignored_keys)
    }
    try:
        network = rrdb_like(kept) if "conv_body.weight" in kept else srvgg_like(kept)
    except KeyError as error:
        raise WeightsKeysError(f"the weights lack {error.args[0]}", missing=[error.args[0]]) from error
    return filled(network, kept)


def _check_depth(facts: ModelFacts, model: RealEsrganUpscaler) -> None:
    """Files of the family differ in depth alone, so one under another's name would load."""
    seen = model.network.receptive_radius
    if seen != facts.receptive_radius:
        raise WeightsKeysError(
            f"expected the network of {facts.name}, which sees {facts.receptive_radius} pixels far; this one sees "
            f"{seen}: the file belongs to another model",
            name=facts.name,
        )
