"""The models of one process: made on first use, kept, never made twice."""

from collections.abc import Callable
from functools import lru_cache
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
        return cast(Upscaler, _made(ref.facts.factory, scale))
    if blend is None:
        return cast(Upscaler, _model(ref))
    return cast(
        Upscaler,
        _model(ref, weak_denoise_path=blend.path, weak_denoise_sha256=blend.weights or None, denoise_strength=denoise),
    )


def _model(ref: ModelRef, **options: str | float | None) -> Any:
    facts = ref.facts
    if facts.embedded:
        return _made(facts.factory)
    chosen = tuple(sorted(options.items()))
    return _opened(facts.factory, ref.name, ref.path, ref.weights, ref.device, ref.precision, chosen)


@lru_cache(maxsize=16)
def _made(factory: str, *arguments: int) -> Any:
    return _factory(factory)(*arguments)


@lru_cache(maxsize=4)
def _opened(
    factory: str,
    name: str,
    path: str,
    sha256: str,
    device: str,
    precision: str,
    options: tuple[tuple[str, str | float | None], ...],
) -> Any:
    """A model from its weights file, checked against its digest; kept by plain values."""
    return _factory(factory)(name, path, sha256=sha256, device=device, precision=precision, **dict(options))


def _factory(factory: str) -> Callable[..., Any]:
    module, name = factory.split(":")
    return cast(Callable[..., Any], getattr(import_module(module), name))
