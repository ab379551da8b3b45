"""The models of one process: made on first use, kept, never made twice."""

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any, cast

from model_blocks.capabilities import Inpainter, Interpolator, Matter, Propagator, Segmenter, Upscaler
from model_blocks.choice import ModelRef
from model_blocks.registry import Precision


@lru_cache(maxsize=16)
def _made(factory: str, *arguments: int) -> Any:
    module, name = factory.split(":")
    make = cast(Callable[..., Any], getattr(import_module(module), name))
    return make(*arguments)


def segmenter(ref: ModelRef) -> Segmenter:
    return cast(Segmenter, _made(ref.facts.factory))


def matter(ref: ModelRef) -> Matter:
    return cast(Matter, _made(ref.facts.factory))


def interpolator(ref: ModelRef) -> Interpolator:
    return cast(Interpolator, _made(ref.facts.factory))


def propagator(ref: ModelRef) -> Propagator:
    return cast(Propagator, _made(ref.facts.factory))


def inpainter(ref: ModelRef) -> Inpainter:
    return cast(Inpainter, _made(ref.facts.factory))


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
    weak = (blend.path, blend.weights) if blend is not None else ("", "")
    return _opened(ref.name, ref.path, ref.weights, ref.device, ref.precision, weak, denoise)


@lru_cache(maxsize=4)
def _opened(
    name: str, path: str, sha256: str, device: str, precision: Precision, weak: tuple[str, str], denoise: float
) -> Upscaler:
    """A model from its weights file, checked against its digest; kept by plain values."""
    from model_blocks.realesrgan import open_realesrgan

    return open_realesrgan(
        name,
        path,
        weak_denoise_path=weak[0] or None,
        denoise_strength=denoise,
        sha256=sha256,
        weak_denoise_sha256=weak[1] or None,
        device=device,
        precision=precision,
    )
