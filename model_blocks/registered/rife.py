"""RIFE, which makes frames between two others."""

from model_blocks.facts import ModelFacts

RIFE: tuple[ModelFacts, ...] = ()
