"""LaMa, which fills holes."""

from model_blocks.facts import ModelFacts

INPAINTING: tuple[ModelFacts, ...] = ()
