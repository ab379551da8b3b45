"""LaMa against its authors' outputs."""

from tests.model_blocks.parity import ParityRun

RUNS: dict[str, ParityRun] = {}
