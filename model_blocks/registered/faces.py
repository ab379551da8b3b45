"""Finding and restoring faces: YuNet, GFPGAN, CodeFormer."""

from model_blocks.facts import ModelFacts

FACES: tuple[ModelFacts, ...] = ()
