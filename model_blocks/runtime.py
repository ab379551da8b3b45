"""The models of one process: made on first use, kept on a shelf within a memory budget, never made twice at a time."""

from collections.abc import Callable, Hashable
from importlib import import_module
from typing import Any, cast

from model_blocks.capabilities import (
    AlphaFinder,
    DepthEstimator,
    FaceDetector,
    FaceRestorer,
    Inpainter,
    Interpolator,
    Matter,
    Propagator,
    Segmenter,
    Upscaler,
)
from model_blocks.choice import ModelRef
from model_blocks.shelf import ModelShelf
from model_blocks.shelf_facts import ModelKey

SHELF = ModelShelf()  # of this process
USUAL_SCALE = 2  # of an upscaler that is made for a factor, when nobody has asked for one yet


def segmenter(ref: ModelRef) -> Segmenter:
    return cast(Segmenter, _model(ref))


def matter(ref: ModelRef) -> Matter | AlphaFinder:
    return cast("Matter | AlphaFinder", _model(ref))


def interpolator(ref: ModelRef) -> Interpolator:
    return cast(Interpolator, _model(ref))


def propagator(ref: ModelRef) -> Propagator:
    return cast(Propagator, _model(ref))


def inpainter(ref: ModelRef) -> Inpainter:
    return cast(Inpainter, _model(ref))


def face_detector(ref: ModelRef) -> FaceDetector:
    return cast(FaceDetector, _model(ref))


def face_restorer(ref: ModelRef) -> FaceRestorer:
    return cast(FaceRestorer, _model(ref))


def depth_estimator(ref: ModelRef) -> DepthEstimator:
    return cast(DepthEstimator, _model(ref))


def upscaler(ref: ModelRef, scale: int, blend: ModelRef | None = None, denoise: float = 1.0) -> Upscaler:
    """The upscaler at a whole factor; a model with weights has a factor of its own.

    Args:
        ref: The model.
        scale: Output pixels per input pixel along a side.
        blend: The weakly denoising model to blend it with.
        denoise: Its share in the blend; 1: the model alone.
    """
    if ref.facts.embedded:
        return cast(Upscaler, _model(ref, scale))
    if blend is None:
        return cast(Upscaler, _model(ref))
    return cast(
        Upscaler,
        _model(ref, weak_denoise_path=blend.path, weak_denoise_sha256=blend.weights or None, denoise_strength=denoise),
    )


def bring(ref: ModelRef) -> None:
    """Have a model loaded before anybody asks for it."""
    if ref.facts.embedded and ref.facts.capability == "upscale":
        _model(ref, USUAL_SCALE, asked=False)
    else:
        _model(ref, asked=False)


def _model(ref: ModelRef, *arguments: int, asked: bool = True, **options: str | float | None) -> Any:
    """A model off the shelf, named by plain values; one with weights from its file, checked against its digest."""
    facts = ref.facts
    making: tuple[Hashable, ...]
    if facts.embedded:
        making = (facts.factory, *arguments)
    else:
        making = (facts.factory, ref.path, ref.weights, ref.precision, *sorted(options.items()))

    def load() -> Any:
        make = _factory(facts.factory)
        if facts.embedded:
            return make(*arguments)
        how = {"sha256": ref.weights, "device": ref.device, "precision": ref.precision}
        return make(ref.name, ref.path, **how, **options)

    return SHELF.get(ModelKey(ref.name, ref.device, making), load, lambda: _factory(facts.factory), asked=asked)


def _factory(factory: str) -> Callable[..., Any]:
    module, name = factory.split(":")
    return cast(Callable[..., Any], getattr(import_module(module), name))
