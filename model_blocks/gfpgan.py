"""GFPGAN 1.4: the authors' network behind the face restorer's contract, from their own file.

Source: Wang, Li, Zhang, Shan 2021, Towards Real-World Blind Face Restoration with Generative Facial Prior. The network
is spandrel's, called without its wrapper.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from model_blocks.face_network import FaceNetwork
from model_blocks.facts import ModelFacts, Precision
from model_blocks.official import filled, read_state
from model_blocks.registry import find_model
from model_blocks.torch_libraries import prepare

if TYPE_CHECKING:
    from collections.abc import Mapping


class GfpganRestorer(FaceNetwork):
    """Restores aligned faces. It has no fidelity: whatever is asked for, the result is the same."""

    def _run(self, values: Tensor, fidelity: float) -> Tensor:
        """With the noise that is stored with the weights; the network would draw other noise at every call."""
        made: Tensor = self.network(values, return_rgb=False, randomize_noise=False)[0]
        return made


def open_gfpgan(
    name: str,
    path: str | Path,
    *,
    sha256: str | None = None,
    device: str = "cpu",
    precision: Precision = "float32",
) -> GfpganRestorer:
    """The registered model from a file of its authors.

    Args:
        name: As in the registry.
        path: The authors' file.
        sha256: What its bytes must hash to; None takes any.
        device: Where it runs.
        precision: What it computes in.

    Raises:
        ModelUnknownError: Nothing of that name is registered.
        WeightsMissingError, WeightsDigestError, WeightsDamagedError, WeightsUnsafeError: As ``load_state_dict`` does.
        WeightsKeysError: The file holds something else.
    """
    facts: ModelFacts = find_model(name, "restore_faces")
    state: Mapping[str, Tensor] = read_state(facts, path, sha256)
    return GfpganRestorer(filled(_network(), state), device=device, precision=precision)


def _network() -> nn.Module:
    """The authors' network without what inference does not use: pictures of the first half, and the style's mapping."""
    prepare()
    from spandrel.architectures.GFPGAN import GFPGAN

    network: nn.Module = GFPGAN(out_size=512, input_is_latent=True, different_w=True, narrow=1, sft_half=True)
    network.toRGB = nn.ModuleList()
    network.get_submodule("stylegan_decoder").style_mlp = nn.Identity()
    return network
