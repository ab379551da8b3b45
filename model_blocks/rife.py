"""RIFE: frames between two others by its authors' network, behind the interpolator's contract.

Source: Huang, Zhang, Heng, Shi, Zhou 2022, Real-Time Intermediate Flow Estimation for Video Frame Interpolation, and
the procedure of its authors' script for videos.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets.errors import FrameShapeError
from model_blocks.facts import Precision
from model_blocks.nets.rife import COLOURS, VARIANTS, RifeNet, Variant
from model_blocks.official import filled, read_state
from model_blocks.registry import find_model
from model_blocks.weight_errors import WeightsKeysError

PREFIX = "module."  # of every key, where the authors saved from training on several devices
MULTIPLE = 128  # pixels; sides are padded to a multiple of it, of more where the levels work on smaller copies
UHD_SIDE = 3840  # pixels of the longer side from which on the authors halve what the levels work on
UHD_SCALE = 0.5
STILL_SSIM = 0.996  # of copies of 32 by 32, above which the authors' script takes two frames for the same
STILL_SIDE = 32
STILL_STEP = 8 / 255  # what no value may differ by in a still pair: a small thing that moves would be seen twice
LEAST_ALPHA = 1e-6  # below it nothing is seen of a colour


class RifeInterpolator:
    """Any moment between two frames by one of RIFE's networks, one moment at a time.

    The authors' procedure: zeros at the right and the bottom up to a multiple of 128 pixels, network, crop. A pair that
    hardly differs is blended. Frames with an alpha are premultiplied: the network sees them over black, and what it
    finds out moves and mixes colour and alpha alike.

    Args:
        state: The network's tensors without prefix.
        variant: The version they belong to.
        scale: What the levels work on, of the frames' size; None: 1, and 0.5 from 3840 pixels on.
        device: Where it runs.
        precision: What it computes in; flows and results are float32 in any case.

    Raises:
        WeightsKeysError: Keys are missing or unknown, or tensors have other shapes.
    """

    def __init__(
        self,
        state: Mapping[str, Tensor],
        variant: Variant,
        *,
        scale: float | None = None,
        device: str = "cpu",
        precision: Precision = "float32",
    ) -> None:
        self.network = filled(RifeNet(variant), state).to(device=device, dtype=getattr(torch, precision))
        self._scale = scale
        self._device = device

    def interpolate(self, first: Tensor, second: Tensor, fractions: Sequence[float]) -> Tensor:
        """(C, H, W) each, C 3 or 4, float32 of 0..1, to (len(fractions), C, H, W), 0..1; colours are straight.

        Raises:
            FrameShapeError: Not two frames of one shape with 3 or 4 channels.
        """
        if first.shape != second.shape or first.dim() != COLOURS or first.shape[0] not in (3, 4):
            raise FrameShapeError(
                f"expected two frames (3 or 4, H, W) of one shape, got {tuple(first.shape)} and {tuple(second.shape)}",
                first=list(first.shape),
                second=list(second.shape),
            )
        a, b = (_premultiplied(each.to(self._device, torch.float32).clamp(0, 1))[None] for each in (first, second))
        with torch.inference_mode():
            between = partial(torch.lerp, a, b) if is_still(a, b) else self._moving(a, b)
            made = [_straight(between(float(at))).to(first.device) for at in fractions]
        return torch.cat(made) if made else first.new_empty((0, *first.shape), dtype=torch.float32)

    def _moving(self, first: Tensor, second: Tensor) -> Callable[[float], Tensor]:
        """The frame at a moment. One after another: many at once take many times the memory and no less time."""
        height, width = first.shape[2:]
        scale = self._scale or (UHD_SCALE if max(height, width) >= UHD_SIDE else 1.0)
        a, b = padded(first, scale), padded(second, scale)
        return lambda at: self._between(a, b, at, scale)[..., :height, :width]

    def _between(self, first: Tensor, second: Tensor, at: float, scale: float) -> Tensor:
        found = self.network.motion(first[:, :COLOURS], second[:, :COLOURS], at, scale)
        return found.blend(first, second)


def open_rife(
    name: str,
    path: str | Path,
    *,
    scale: float | None = None,
    sha256: str | None = None,
    device: str = "cpu",
    precision: Precision = "float32",
) -> RifeInterpolator:
    """A registered RIFE model from a file of its authors: ``flownet.pkl``, or the archive it lies in.

    Args:
        name: As in the registry; the file must hold that version.
        path: The file.
        scale: What the levels work on, of the frames' size; None: 1, and 0.5 from 3840 pixels on.
        sha256: What the bytes must hash to; None: whatever they do.
        device: Where it runs.
        precision: What it computes in.

    Raises:
        ModelUnknownError: Nothing of that name is registered.
        WeightsKeysError: The file holds another version, which is named, or something else.
    """
    state = read_state(find_model(name), path, sha256)
    if state and all(key.startswith(PREFIX) for key in state):
        state = {key.removeprefix(PREFIX): value for key, value in state.items()}
    wanted = next(variant for variant in VARIANTS if name == f"rife-{variant.version}")
    found = version_of(state)
    if found is not None and found != wanted:
        raise WeightsKeysError(
            f"{Path(path).name} holds RIFE {found.version}, expected {wanted.version}; give it to rife-{found.version}",
            expected=wanted.version,
            found=found.version,
        )
    return RifeInterpolator(state, wanted, scale=scale, device=device, precision=precision)


def version_of(state: Mapping[str, Tensor]) -> Variant | None:
    """The version whose tensors, by name and shape, a state dict holds; None where it is none of those known."""
    shapes = {key: value.shape for key, value in state.items()}
    for variant in VARIANTS:
        with torch.device("meta"):
            own = RifeNet(variant).state_dict()
        if shapes == {key: value.shape for key, value in own.items()}:
            return variant
    return None


def padded(frame: Tensor, scale: float) -> Tensor:
    """Zeros at the right and the bottom, up to a multiple of 128 pixels, or of 128 / ``scale`` where that is more."""
    multiple = max(MULTIPLE, int(MULTIPLE / scale))
    height, width = frame.shape[2:]
    return F.pad(frame, (0, -width % multiple, 0, -height % multiple))


def is_still(first: Tensor, second: Tensor) -> bool:
    """Whether two frames (1, C, H, W) are so alike that nothing is to be moved.

    The authors' script looks at copies of 32 by 32 alone; a small thing that moves cannot be seen there, so no value
    may differ by much either.
    """
    if float((first - second).abs().max()) > STILL_STEP:
        return False
    small = [
        F.interpolate(each[:, :COLOURS], (STILL_SIDE, STILL_SIDE), mode="bilinear", align_corners=False)
        for each in (first, second)
    ]
    return similarity(small[0], small[1]) > STILL_SSIM


def similarity(first: Tensor, second: Tensor) -> float:
    """Mean structural similarity of two pictures (1, 3, H, W), 0..1, with windows that reach over the colours.

    Source: Wang, Bovik, Sheikh, Simoncelli 2004, Image Quality Assessment: Gaussian windows of 11, standard deviation
    1.5, constants 0.01 and 0.03.
    """
    first, second = first.double(), second.double()  # variances are small differences of large numbers
    steps = torch.arange(11, device=first.device, dtype=torch.float64) - 5
    line = torch.exp(-(steps**2) / (2 * 1.5**2))
    line = line / line.sum()
    window = torch.einsum("i,j,k->ijk", line, line, line)[None, None]

    def averaged(values: Tensor) -> Tensor:
        return F.conv3d(F.pad(values[:, None], (5,) * 6, mode="replicate"), window)

    a, b = averaged(first), averaged(second)
    spread = averaged(first * first) - a * a + averaged(second * second) - b * b
    common = averaged(first * second) - a * b
    light = (2 * a * b + 0.01**2) / (a * a + b * b + 0.01**2)
    return float((light * (2 * common + 0.03**2) / (spread + 0.03**2)).mean())


def _premultiplied(frame: Tensor) -> Tensor:
    if frame.shape[0] == COLOURS:
        return frame
    return torch.cat((frame[:COLOURS] * frame[COLOURS:], frame[COLOURS:]))


def _straight(made: Tensor) -> Tensor:
    if made.shape[1] > COLOURS:
        made = torch.cat((made[:, :COLOURS] / made[:, COLOURS:].clamp(min=LEAST_ALPHA), made[:, COLOURS:]), dim=1)
    return made.clamp(0, 1)
