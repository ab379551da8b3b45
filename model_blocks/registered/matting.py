"""BackgroundMattingV2 and MODNet, which find an alpha by themselves."""

from model_blocks.facts import ModelFacts

MATTING: tuple[ModelFacts, ...] = ()
