"""The model registry: an explicit table of facts. Adding a model is one module, one entry here, one test."""

from dataclasses import dataclass, field
from typing import Literal

from datasets.errors import ModelUnknownError

Capability = Literal["segment", "matte", "upscale"]
Purpose = Literal["commercial", "research", "personal"]
EVERY_PURPOSE: tuple[Purpose, ...] = ("commercial", "research", "personal")


@dataclass(frozen=True)
class ModelFacts:
    """What is known about a model before it is loaded.

    Attributes:
        name: The name it is chosen by.
        capability: What it can be asked to do.
        architecture: The method or network, with its source.
        factory: ``module:callable`` that makes it; imported when it is first used.
        version: Raised whenever the same input would give other pixels; part of every fingerprint.
        embedded: True for models that need no weights.
        file_url: Where the authors publish the weights.
        file_name: What they call the file; empty: the last part of its address.
        bytes: Size of that file, where it is known.
        sha256: Digest of that file; None where its authors publish none.
        container_key: Where the state dict lies in the file.
        ignored_keys: Patterns (``*`` and ``?``) of keys that official files carry and inference does not use.
        licence: SPDX name.
        purposes: What the licence allows a run to be for.
        conventions: Value range, colour order, size rule.
        halo_pixels: Input pixels around an output pixel that it depends on; None: the whole picture.
        scale: Output pixels per input pixel along a side; None where the caller chooses.
        memory_factor: Working bytes per value of the larger of input and output, measured.
        libraries: Installed packages whose version decides the pixels.
    """

    name: str
    capability: Capability
    architecture: str
    factory: str
    version: int
    embedded: bool
    licence: str
    conventions: str
    memory_factor: float
    purposes: tuple[Purpose, ...] = EVERY_PURPOSE
    file_url: str | None = None
    file_name: str = ""
    bytes: int | None = None
    sha256: str | None = None
    container_key: str | None = None
    ignored_keys: tuple[str, ...] = ()
    halo_pixels: int | None = None
    scale: int | None = None
    libraries: tuple[str, ...] = field(default=())


MODELS: tuple[ModelFacts, ...] = (
    ModelFacts(
        name="embedded-segmenter",
        capability="segment",
        architecture="superpixels with boundary connectivity (Zhu et al. 2014), colour densities, minimum cut",
        factory="model_blocks.embedded.segment:EmbeddedSegmenter",
        version=1,
        embedded=True,
        licence="Apache-2.0",
        conventions="RGB 0..1, whole picture, longer side at most working_side",
        memory_factor=36.0,
        libraries=("opencv-python-headless", "numpy", "scipy"),
    ),
    ModelFacts(
        name="embedded-matter",
        capability="matte",
        architecture="local colour estimation and guided filter (He, Sun, Tang 2013; Forte 2021)",
        factory="model_blocks.embedded.matte:EmbeddedMatter",
        version=1,
        embedded=True,
        licence="Apache-2.0",
        conventions="RGB 0..1, trimap 0, 0.5, 1",
        memory_factor=48.0,
        libraries=("opencv-python-headless", "numpy", "torch"),
    ),
    ModelFacts(
        name="embedded-upscaler",
        capability="upscale",
        architecture="Lanczos with iterative back-projection (Irani, Peleg 1991) and limited sharpening",
        factory="model_blocks.embedded.upscale:EmbeddedUpscaler",
        version=1,
        embedded=True,
        licence="Apache-2.0",
        conventions="RGB 0..1, any number of channels, scale 1 to 8",
        memory_factor=45.0,
        libraries=("numpy", "torch"),
    ),
)


def known_models(capability: Capability | None = None) -> tuple[ModelFacts, ...]:
    """All registered models, or those with a capability, in order of preference."""
    return tuple(facts for facts in MODELS if capability in (None, facts.capability))


def find_model(name: str, capability: Capability | None = None) -> ModelFacts:
    """The facts of a model.

    Raises:
        ModelUnknownError: Nothing of that name is registered (for that capability); the known ones are named.
    """
    candidates = known_models(capability)
    for facts in candidates:
        if facts.name == name:
            return facts
    known = ", ".join(facts.name for facts in candidates)
    wanted = f"model {name!r}" if capability is None else f"model {name!r} for {capability}"
    raise ModelUnknownError(f"unknown {wanted}; registered: {known}", name=name, registered=known)
