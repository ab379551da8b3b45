"""XMem, which follows objects through clips of any length."""

from model_blocks.facts import ModelFacts

XMEM: tuple[ModelFacts, ...] = ()
