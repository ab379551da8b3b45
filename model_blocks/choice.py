"""Which model does what in a run: the choice of a user, resolved against the registry."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Literal, cast, get_args

from datasets.errors import ModelUnknownError
from model_blocks.registry import Capability, ModelFacts, Precision, Purpose, find_model, known_models

Policy = Literal["auto", "official", "embedded"]
Selection = str | Mapping[str, str]
installed_version = cache(version)  # which reads a file each time, for milliseconds


@dataclass(frozen=True)
class ModelRef:
    """A chosen model as plain values: enough for a worker to load it, small enough to travel.

    Attributes:
        name: As in the registry.
        weights: sha256 of the weights, empty for embedded models.
        device: ``cpu`` or ``cuda``.
        precision: What it computes in: ``float32``, or ``float16`` where its authors do.
        path: Where the weights lie on this machine; not part of the identity.
        published: Whether the digest is the one that the authors publish.
    """

    name: str
    weights: str
    device: str
    precision: Precision = "float32"
    path: str = ""
    published: bool = True

    @property
    def label(self) -> str:
        """The name as it is shown; weights of unknown origin are marked with the beginning of their digest."""
        return self.name if self.published else f"{self.name} (unpublished weights {self.weights[:8]})"

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


def no_weights(_: ModelFacts) -> bool:
    """Nothing is present: only models that need no weights can be used."""
    return False


def choose_model(
    capability: Capability,
    selection: Selection,
    *,
    device: str,
    purpose: Purpose,
    available: Callable[[ModelFacts], bool] = no_weights,
    given: Collection[str] = (),
) -> ModelRef:
    """The model for a capability.

    Args:
        capability: What it is to do.
        selection: ``auto``, ``official``, ``embedded``, or a name per capability; a capability that is not named
            is chosen by ``auto``.
        device: ``auto``, ``cpu`` or ``cuda``.
        purpose: What the run is for; the licence must allow it.
        available: Whether the weights of a model that needs some are present.
        given: Models whose weights the user named; they come before the others of their capability.

    Raises:
        ModelUnknownError: No registered model fits, or its weights are not present.
    """
    named = selection if isinstance(selection, str) else selection.get(capability, "auto")
    if named in get_args(Policy):
        facts = _by_policy(capability, cast(Policy, named), device, purpose, available, given)
    else:
        facts = find_model(named, capability)
    if purpose not in facts.purposes:
        raise _licence_refused(capability, purpose, facts)
    _refuse_missing_packages(facts)
    if not (facts.embedded or available(facts)):
        raise ModelUnknownError(f"the weights of {facts.name} are not present; {_remedy(facts)}", model=facts.name)
    where = "cpu" if facts.embedded else choose_device(device)
    return ModelRef(facts.name, facts.sha256 or "", where, facts.precision_on(where))


def _by_policy(
    capability: Capability,
    policy: Policy,
    device: str,
    purpose: Purpose,
    available: Callable[[ModelFacts], bool],
    given: Collection[str],
) -> ModelFacts:
    """Official models come first where weights and licence allow it, those that suit the device before the others.

    Those whose weights the user gave come before all. ``auto`` leaves out those that do not suit the device; who says
    ``official`` gets one that is there.
    """
    embedded = [facts for facts in known_models(capability) if facts.embedded and policy != "official"]
    official = [facts for facts in known_models(capability) if not facts.embedded and policy != "embedded"]
    usable = [facts for facts in official if available(facts) and purpose in facts.purposes]
    if usable:
        where = choose_device(device)
        named = [facts for facts in usable if facts.name in given]
        suited = named or [facts for facts in usable if where in facts.auto_on]
        usable = suited or (usable if policy == "official" else [])
    for facts in (*usable, *embedded):
        if purpose in facts.purposes:
            return facts
    allowed = [facts for facts in official if purpose in facts.purposes]
    if official and not allowed:
        raise _licence_refused(capability, purpose, *official)
    if allowed:
        easiest = next((facts for facts in reversed(allowed) if not facts.extra), allowed[-1])
        names = tuple(facts.name for facts in official)
        raise ModelUnknownError(
            f"the official models to {capability} cannot be used: their weights are not present, or their licences do "
            f"not allow a {purpose} run ({', '.join(names)}); {_remedy(easiest)}",
            capability=capability,
            registered=names,
        )
    raise ModelUnknownError(
        f"no {policy} model is registered to {capability}; use --models auto or embedded", capability=capability
    )


def _remedy(facts: ModelFacts) -> str:
    """What a user without the weights can do."""
    pull = f"get them with `stillmotion models pull {facts.name}`"
    if facts.capability == "upscale_blend":
        return f"{pull}, or leave 'denoise' out of the recipe"
    if not any(known.embedded for known in known_models(facts.capability)):
        return pull
    return f"{pull}, or use --models auto or embedded"


def _licence_refused(capability: Capability, purpose: Purpose, *refused: ModelFacts) -> ModelUnknownError:
    """Which licences do not allow a run for this purpose, why, and what there is instead."""
    why = "; ".join(
        f"the licence of {facts.name} ({facts.licence}) does not allow a {purpose} run"
        + (f": {facts.licence_note}" if facts.licence_note else "")
        for facts in refused
    )
    others = [facts.name for facts in known_models(capability) if purpose in facts.purposes]
    if others:
        remedy = f"choose another model: {', '.join(others)}"
    else:
        allowed = " or ".join(f"--purpose {each}" for each in refused[0].purposes)
        remedy = (
            f"no model to {capability} is free for a {purpose} run; leave the stage out of the recipe, or say "
            f"{allowed} if that is what the results are for"
        )
    return ModelUnknownError(
        f"{why}; {remedy}",
        model=refused[0].name,
        licence=refused[0].licence,
        purpose=purpose,
        alternatives=others,
    )


def _refuse_missing_packages(facts: ModelFacts) -> None:
    """Raise if a model's network comes with an optional part that is not installed."""
    for package in facts.libraries if facts.extra else ():
        try:
            installed_version(package)
        except PackageNotFoundError as error:
            raise ModelUnknownError(
                f"{facts.name} needs the package {package}, which is not installed; get it with "
                f"`pip install 'stillmotion[{facts.extra}]'`",
                model=facts.name,
                package=package,
            ) from error


def choose_device(wanted: str) -> str:
    """``cpu`` or ``cuda``: what was asked for, or for ``auto`` what is there."""
    if wanted != "auto":
        return wanted
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
