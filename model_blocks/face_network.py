"""What the networks that restore an aligned face have in common: range, size, one face at a time, float32 results."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from datasets.errors import FrameShapeError, UsageError
from model_blocks.face_alignment import SIDE
from model_blocks.facts import Precision


class FaceNetwork(ABC):
    """A network behind the face restorer's contract.

    Args:
        network: In evaluation mode, frozen; takes and gives RGB of -1..1.
        device: Where it runs.
        precision: What it computes in; results are float32 in any case.
    """

    side = SIDE

    def __init__(self, network: nn.Module, *, device: str = "cpu", precision: Precision = "float32") -> None:
        self._dtype: torch.dtype = getattr(torch, precision)
        self._device = torch.device(device)
        self.network = network.to(device=self._device, dtype=self._dtype)

    @abstractmethod
    def _run(self, values: Tensor, fidelity: float) -> Tensor:
        """The network's picture of one aligned face, -1..1."""

    def restore(self, faces: Tensor, fidelity: float = 0.5) -> Tensor:
        """Aligned faces (N, 3, 512, 512), RGB 0..1, restored: the same shape, float32, 0..1, on the faces' device.

        Every face goes through by itself, so a result does not depend on what it was asked for with.

        Args:
            faces: Aligned to ``face_alignment.TEMPLATE``.
            fidelity: 0..1, 1 nearest the input, where the network can be told.

        Raises:
            FrameShapeError: The faces have another shape.
            UsageError: The fidelity is out of range.
        """
        if faces.ndim != 4 or tuple(faces.shape[1:]) != (3, SIDE, SIDE):
            raise FrameShapeError(
                f"expected aligned faces (N, 3, {SIDE}, {SIDE}), got {tuple(faces.shape)}", shape=list(faces.shape)
            )
        if not 0 <= fidelity <= 1:
            raise UsageError(f"expected a fidelity of 0 to 1, got {fidelity:g}", fidelity=fidelity)
        if len(faces) == 0:
            return faces.float()
        with torch.inference_mode():
            made = [self._run(self.normalised(face[None]), fidelity) for face in faces]
        return torch.cat([((each.float().clamp(-1, 1) + 1) / 2).to(faces.device) for each in made])

    def normalised(self, faces: Tensor) -> Tensor:
        """RGB of 0..1 as the network takes it."""
        return ((faces.float() - 0.5) / 0.5).to(device=self._device, dtype=self._dtype)
