"""Segment Anything 2.1, which finds and follows what is pointed at."""

from model_blocks.facts import ModelFacts

SAM2: tuple[ModelFacts, ...] = ()
