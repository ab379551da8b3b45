"""Which model does what in a run: the choice of a user, resolved against the registry."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from typing import Literal, cast, get_args

from datasets.errors import ModelUnknownError
from model_blocks.registry import Capability, ModelFacts, Purpose, find_model, known_models

Policy = Literal["auto", "official", "embedded"]
Selection = str | Mapping[str, str]


@dataclass(frozen=True)
class ModelRef:
    """A chosen model as plain values: enough for a worker to load it, small enough to travel.

    Attributes:
        name: As in the registry.
        weights: sha256 of the weights, empty for embedded models.
        device: ``cpu`` or ``cuda``.
        precision: ``float32`` for now.
    """

    name: str
    weights: str
    device: str
    precision: str = "float32"

    @property
    def facts(self) -> ModelFacts:
        return find_model(self.name)

    @property
    def identity(self) -> dict[str, object]:
        """What of the model decides the pixels, for a fingerprint."""
        facts = self.facts
        return {
            "name": self.name,
            "version": facts.version,
            "weights": self.weights,
            "precision": self.precision,
            "device_class": self.device,
            "libraries": {name: installed_version(name) for name in facts.libraries},
        }


def choose_model(capability: Capability, selection: Selection, *, device: str, purpose: Purpose) -> ModelRef:
    """The model for a capability.

    Args:
        capability: What it is to do.
        selection: ``auto``, ``official``, ``embedded``, or a name per capability; a capability that is not named
            is chosen by ``auto``.
        device: ``auto``, ``cpu`` or ``cuda``.
        purpose: What the run is for; the licence must allow it.

    Raises:
        ModelUnknownError: No registered model fits.
    """
    named = selection if isinstance(selection, str) else selection.get(capability, "auto")
    if named in get_args(Policy):
        facts = _by_policy(capability, cast(Policy, named))
    else:
        facts = find_model(named, capability)
    if purpose not in facts.purposes:
        raise ModelUnknownError(
            f"the licence of {facts.name} ({facts.licence}) does not allow a {purpose} run; choose another model",
            model=facts.name,
            licence=facts.licence,
            purpose=purpose,
        )
    return ModelRef(facts.name, facts.sha256 or "", "cpu" if facts.embedded else choose_device(device))


def _by_policy(capability: Capability, policy: Policy) -> ModelFacts:
    candidates = known_models(capability)
    for facts in candidates:
        if facts.embedded or policy != "embedded":
            if policy == "official" and facts.embedded:
                continue
            return facts
    raise ModelUnknownError(
        f"no {policy} model is registered to {capability}; use --models auto or embedded", capability=capability
    )


def choose_device(wanted: str) -> str:
    """``cpu`` or ``cuda``: what was asked for, or for ``auto`` what is there."""
    if wanted != "auto":
        return wanted
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
