"""Which model does what in a run: the choice of a user, resolved against the registry.

``auto`` is routed (``routing.py``); names and the other policies say themselves what they mean.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Literal, cast, get_args

from datasets.errors import ModelUnknownError
from model_blocks.registry import Capability, Device, ModelFacts, Precision, Purpose, find_model, known_models
from model_blocks.routing import LicenceRefusedError, fixed, route
from model_blocks.routing_candidates import Wishes, candidate, candidates_for
from model_blocks.routing_types import Decision, RouteRequest

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


def gpu_of(*models: ModelRef) -> dict[str, float]:
    """What models ask of a worker besides memory: an accelerator, if one of them runs there."""
    return {"GPU": 1.0} if any(model.device == "cuda" for model in models) else {}


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
    """The model for a capability; see ``decide_model`` for what it is chosen by."""
    decision = decide_model(
        capability, selection, device=device, purpose=purpose, available=available, given=given, wishes=Wishes()
    )
    return ref_of(decision.chosen, device)


def ref_of(name: str, device: str) -> ModelRef:
    """A model by its name, its weights not looked for yet; embedded ones run on the CPU."""
    facts = find_model(name)
    where = "cpu" if facts.embedded else choose_device(device)
    return ModelRef(facts.name, facts.sha256 or "", where, facts.precision_on(where))


def decide_model(
    capability: Capability,
    selection: Selection,
    *,
    device: str,
    purpose: Purpose,
    available: Callable[[ModelFacts], bool],
    given: Collection[str],
    wishes: Wishes,
) -> Decision:
    """The model for a capability, with why it is that one.

    Args:
        capability: What it is to do.
        selection: ``auto``, ``official``, ``embedded``, or a name per capability; a capability that is not named
            is chosen by ``auto``.
        device: ``auto``, ``cpu`` or ``cuda``.
        purpose: What the run is for; the licence must allow it.
        available: Whether the weights of a model that needs some are present.
        given: Models whose weights the user named; they come before the others of their capability.
        wishes: What ``auto`` is routed by.

    Raises:
        ModelUnknownError: No registered model fits, or its weights are not present.
        LicenceRefusedError: Its licence does not allow the purpose.
    """
    named = selection if isinstance(selection, str) else selection.get(capability, "auto")
    if named == "auto":
        return _routed(capability, device, purpose, available, given, wishes)
    if named in get_args(Policy):
        facts, by = _by_policy(capability, cast(Policy, named), device, purpose, available, given), "policy"
    else:
        facts, by = find_model(named, capability), "named"
    if purpose not in facts.purposes:
        raise _licence_refused(capability, purpose, facts)
    _refuse_missing_package(facts)
    if not (facts.embedded or available(facts)):
        raise ModelUnknownError(f"the weights of {facts.name} are not present; {_remedy(facts)}", model=facts.name)
    where = cast(Device, "cpu" if facts.embedded else choose_device(device))
    request = RouteRequest(capability=capability, purpose=purpose, device=where, recipe=wishes.recipe)
    chosen = candidate(facts, device=where, given=facts.name in given)
    if by == "named":
        return fixed(request, chosen, "named", "it was named")
    return fixed(request, chosen, "policy", f"{named} models were asked for")


def _routed(
    capability: Capability,
    device: str,
    purpose: Purpose,
    available: Callable[[ModelFacts], bool],
    given: Collection[str],
    wishes: Wishes,
) -> Decision:
    """Rules and scores decide. The device is looked up, which takes seconds, only where a model depends on it."""
    known = known_models(capability)
    if known and not any(purpose in facts.purposes for facts in known):
        raise _licence_refused(capability, purpose, *known)

    def usable(facts: ModelFacts) -> bool:
        return available(facts) and _missing_package(facts) is None

    official = any(usable(facts) for facts in known if not facts.embedded)
    where = cast(Device, choose_device(device) if official else "cpu")
    request = RouteRequest(
        capability=capability,
        purpose=purpose,
        device=where,
        quality=wishes.quality,
        recipe=wishes.recipe,
        long_side=wishes.long_side,
        max_cost_micro_usd=wishes.max_cost_micro_usd,
        max_latency_s=wishes.max_latency_s,
        prefer=wishes.prefer,
    )
    found = candidates_for(capability, device=where, available=usable, given=given, remedy=_remedy, wishes=wishes)
    return route(request, found, wishes.rules)


def _by_policy(
    capability: Capability,
    policy: Policy,
    device: str,
    purpose: Purpose,
    available: Callable[[ModelFacts], bool],
    given: Collection[str],
) -> ModelFacts:
    """Embedded: the first one. Official: what is there and may be used, given weights first, then by the device."""
    known = [facts for facts in known_models(capability) if facts.embedded == (policy == "embedded")]
    usable = [facts for facts in known if (facts.embedded or available(facts)) and purpose in facts.purposes]
    if policy == "official" and usable:
        where = choose_device(device)
        usable.sort(key=lambda facts: (facts.name not in given, where not in facts.auto_on))
    if usable:
        return usable[0]
    allowed = [facts for facts in known if purpose in facts.purposes]
    if known and not allowed:
        raise _licence_refused(capability, purpose, *known)
    if allowed:
        easiest = next((facts for facts in reversed(allowed) if not facts.extra), allowed[-1])
        names = tuple(facts.name for facts in known)
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
    if (package := _missing_package(facts)) is not None:
        pull = f"{pull}, and the package {package} with `pip install 'stillmotion[{facts.extra}]'`"
    if facts.capability == "upscale_blend":
        return f"{pull}, or leave 'denoise' out of the recipe"
    if not any(known.embedded for known in known_models(facts.capability)):
        return pull
    return f"{pull}, or use --models auto or embedded"


def _licence_refused(capability: Capability, purpose: Purpose, *refused: ModelFacts) -> LicenceRefusedError:
    """Which licences do not allow a run for this purpose, why, and what there is instead."""
    why = "; ".join(
        f"the licence of {facts.name} ({facts.licence}) does not allow a {purpose} run"
        + (f": {facts.licence_note}" if facts.licence_note else "")
        for facts in refused
    )
    others = [facts.name for facts in known_models(capability) if purpose in facts.purposes]
    allowed = " or ".join(f"--purpose {each}" for each in refused[0].purposes)
    if others:
        remedy = f"models that may: {', '.join(others)}; {allowed} would allow it"
    else:
        remedy = (
            f"no model to {capability} is free for a {purpose} run; leave the stage out of the recipe, or say "
            f"{allowed} if that is what the results are for"
        )
    return LicenceRefusedError(
        f"{why}; {remedy}",
        model=refused[0].name,
        licence=refused[0].licence,
        purpose=purpose,
        alternatives=others,
        purposes=list(refused[0].purposes),
    )


def _missing_package(facts: ModelFacts) -> str | None:
    """A package of an optional part that the model's network comes with and that is not installed."""
    for package in facts.libraries if facts.extra else ():
        try:
            installed_version(package)
        except PackageNotFoundError:
            return package
    return None


def _refuse_missing_package(facts: ModelFacts) -> None:
    """Raise if a model's network comes with an optional part that is not installed."""
    package = _missing_package(facts)
    if package is not None:
        raise ModelUnknownError(
            f"{facts.name} needs the package {package}, which is not installed; get it with "
            f"`pip install 'stillmotion[{facts.extra}]'`",
            model=facts.name,
            package=package,
        )


def choose_device(wanted: str) -> str:
    """``cpu`` or ``cuda``: what was asked for, or for ``auto`` what is there."""
    if wanted != "auto":
        return wanted
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
