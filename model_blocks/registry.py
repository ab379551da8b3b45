"""The model registry: an explicit table of facts. A model is one module, an entry in ``registered/``, one test."""

from datasets.errors import ModelUnknownError
from model_blocks.facts import EVERY_PURPOSE, Capability, Device, ModelFacts, Precision, Purpose
from model_blocks.own import own_model, own_models
from model_blocks.registered.depth import DEPTH
from model_blocks.registered.embedded import EMBEDDED
from model_blocks.registered.faces import FACES
from model_blocks.registered.inpainting import INPAINTING
from model_blocks.registered.matting import MATTING
from model_blocks.registered.realesrgan import REALESRGAN
from model_blocks.registered.rife import RIFE
from model_blocks.registered.sam2 import SAM2
from model_blocks.registered.xmem import XMEM

__all__ = [
    "EVERY_PURPOSE",
    "MODELS",
    "Capability",
    "Device",
    "ModelFacts",
    "Precision",
    "Purpose",
    "find_model",
    "known_models",
]

MODELS: tuple[ModelFacts, ...] = (
    *EMBEDDED,
    *REALESRGAN,
    *SAM2,
    *XMEM,
    *MATTING,
    *INPAINTING,
    *RIFE,
    *FACES,
    *DEPTH,
)


def known_models(capability: Capability | None = None) -> tuple[ModelFacts, ...]:
    """All registered models, or those with a capability, in order of preference; those of other packages come last."""
    names = {facts.name for facts in MODELS}
    own = tuple(facts for facts in own_models() if facts.name not in names)
    return tuple(facts for facts in (*MODELS, *own) if capability in (None, facts.capability))


def find_model(name: str, capability: Capability | None = None) -> ModelFacts:
    """The facts of a model.

    Raises:
        ModelUnknownError: Nothing of that name is registered (for that capability); the known ones are named.
        OwnBrokenError: Another package brings a model of that name, and it cannot be used.
    """
    found = next((facts for facts in MODELS if facts.name == name), None) or own_model(name)
    if found is not None and capability in (None, found.capability):
        return found
    known = ", ".join(facts.name for facts in known_models(capability))
    wanted = f"model {name!r}" if capability is None else f"model {name!r} for {capability}"
    raise ModelUnknownError(f"unknown {wanted}; registered: {known}", name=name, registered=known)
