"""The models of one process: made on first use, kept, never made twice."""

from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any, cast

from model_blocks.capabilities import Matter, Segmenter, Upscaler
from model_blocks.choice import ModelRef


@lru_cache(maxsize=16)
def _made(factory: str, *arguments: int) -> Any:
    module, name = factory.split(":")
    make = cast(Callable[..., Any], getattr(import_module(module), name))
    return make(*arguments)


def segmenter(ref: ModelRef) -> Segmenter:
    return cast(Segmenter, _made(ref.facts.factory))


def matter(ref: ModelRef) -> Matter:
    return cast(Matter, _made(ref.facts.factory))


def upscaler(ref: ModelRef, scale: int) -> Upscaler:
    """The upscaler at a whole factor; a model with weights has a factor of its own."""
    if ref.facts.embedded:
        return cast(Upscaler, _made(ref.facts.factory, scale))
    return _opened(ref.name, ref.path, ref.weights, ref.device)


@lru_cache(maxsize=4)
def _opened(name: str, path: str, sha256: str, device: str) -> Upscaler:
    """A model from its weights file, checked against its digest; kept by plain values."""
    from model_blocks.realesrgan import open_realesrgan

    return open_realesrgan(name, path, sha256=sha256, device=device)
