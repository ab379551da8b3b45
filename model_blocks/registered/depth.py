"""Depth Anything V2, which estimates depth."""

from model_blocks.facts import ModelFacts

DEPTH: tuple[ModelFacts, ...] = ()
