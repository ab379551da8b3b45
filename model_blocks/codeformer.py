"""CodeFormer: the authors' network behind the face restorer's contract, from their own file.

Source: Zhou, Chan, Li, Loy 2022, Towards Robust Blind Face Restoration with Codebook Lookup Transformer. The network is
that of spandrel_extra_arches, called without its wrapper. Both the weights and that package are for research.
"""

from pathlib import Path

from torch import Tensor, nn

from datasets.errors import ModelUnknownError
from model_blocks.face_network import FaceNetwork
from model_blocks.facts import Precision
from model_blocks.official import filled, read_state
from model_blocks.registry import find_model
from model_blocks.torch_libraries import prepare


class CodeformerRestorer(FaceNetwork):
    """Restores aligned faces, between a face from the codebook alone (0) and one near the input (1)."""

    def __init__(self, network: nn.Module, *, device: str = "cpu", precision: Precision = "float32") -> None:
        super().__init__(network, device=device, precision=precision)
        self.network.get_submodule("quantize").float()  # the network looks codes up in float32 whatever it computes in
        self.network.get_submodule("generator.blocks.0").register_forward_pre_hook(
            lambda _, values: (values[0].to(self._dtype),)
        )

    def _run(self, values: Tensor, fidelity: float) -> Tensor:
        made: Tensor = self.network(values, weight=fidelity)[0]
        return made


def open_codeformer(
    name: str,
    path: str | Path,
    *,
    sha256: str | None = None,
    device: str = "cpu",
    precision: Precision = "float32",
) -> CodeformerRestorer:
    """The registered model from a file of its authors.

    Args:
        name: As in the registry.
        path: The authors' file.
        sha256: What its bytes must hash to; None takes any.
        device: Where it runs.
        precision: What it computes in.

    Raises:
        ModelUnknownError: Nothing of that name is registered, or the package with its network is not installed.
        WeightsMissingError, WeightsDigestError, WeightsDamagedError, WeightsUnsafeError: As ``load_state_dict`` does.
        WeightsKeysError: The file holds something else.
    """
    network = _network()
    state = read_state(find_model(name, "restore_faces"), path, sha256)
    return CodeformerRestorer(filled(network, state), device=device, precision=precision)


def _network() -> nn.Module:
    prepare()
    try:
        from spandrel_extra_arches.architectures.CodeFormer import CodeFormer
    except ModuleNotFoundError as error:
        raise ModelUnknownError(
            "codeformer needs the package spandrel_extra_arches, which is not installed; get it with "
            "`pip install 'stillmotion[research]'`",
            package="spandrel_extra_arches",
        ) from error
    network: nn.Module = CodeFormer(
        dim_embd=512, n_head=8, n_layers=9, codebook_size=1024, connect_list=["32", "64", "128", "256"]
    )
    return network
