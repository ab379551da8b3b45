"""What all models with weights of their authors do to be loaded: strict keys, strict shapes, ready for inference."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

from torch import Tensor, nn

from model_blocks.facts import ModelFacts
from model_blocks.weight_errors import WeightsKeysError
from model_blocks.weights import check_keys, check_shapes, load_state_dict

Network = TypeVar("Network", bound=nn.Module)


def read_state(facts: ModelFacts, path: str | Path, sha256: str | None = None) -> dict[str, Tensor]:
    """The tensors of a model's file under the names its network has, without those that inference ignores.

    Args:
        facts: The model.
        path: The authors' file.
        sha256: What its bytes must hash to; None takes any.

    Raises:
        WeightsMissingError, WeightsDigestError, WeightsDamagedError, WeightsUnsafeError: As ``load_state_dict`` does.
        WeightsKeysError: Keys that neither begin with the model's prefix nor are ignored.
    """
    state = read_whole_state(facts, path, sha256)
    kept = {key: value for key, value in state.items() if not _ignored(key, facts)}
    check_keys([key for key in kept if not key.startswith(facts.key_prefix)], ())
    return {key.removeprefix(facts.key_prefix): value for key, value in kept.items()}


def read_whole_state(facts: ModelFacts, path: str | Path, sha256: str | None = None) -> dict[str, Tensor]:
    """All tensors of a model's file under the names they have there; raises as ``load_state_dict`` does."""
    return load_state_dict(
        Path(path),
        sha256=sha256 or None,
        container_key=facts.container_key,
        archive_member=facts.archive_member,
        inert_classes=facts.inert_classes,
        torchscript_sha256=facts.torchscript_sha256,
    )


def _ignored(key: str, facts: ModelFacts) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in facts.ignored_keys)


def filled(network: Network, state: Mapping[str, Tensor]) -> Network:
    """The network with its tensors set, every one of them and nothing else, in evaluation mode and frozen.

    Tensors that have the network's own type are taken as they are, without a copy: large models would need it twice.

    Raises:
        WeightsKeysError: Keys are missing or unknown, or tensors have other shapes; they are named.
    """
    own = network.state_dict()
    check_keys(state, own)
    check_shapes(state, own)
    try:
        network.load_state_dict(
            {key: value.to(own[key].dtype) for key, value in state.items()}, strict=True, assign=True
        )
    except RuntimeError as error:  # what shapes and keys do not tell
        raise WeightsKeysError(f"the weights do not fit the network: {error}") from error
    return network.eval().requires_grad_(False)
