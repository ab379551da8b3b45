"""A process that follows noise through many frames and says what that took: ``WEIGHTS FRAMES SETTINGS``."""

import json
import sys
from pathlib import Path

import psutil
import torch
from torch import Tensor

from model_blocks.xmem.propagator import open_xmem
from model_blocks.xmem.settings import MemorySettings
from model_blocks.xmem.state import XMemState
from tasks.allocation import share_freed_memory
from tests.model_blocks.parity_xmem import NAME

HEIGHT, WIDTH = 64, 96
LOOKED_AT = 200  # frames after which everything that is kept at all should be there


def shown(number: int) -> Tensor:
    return torch.rand((3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(number))


def kept_bytes(state: XMemState) -> int:
    return sum(value.nbytes for value in state.to_arrays().values())


def main(weights: str, frames: int, settings: MemorySettings) -> dict[str, list[int]]:
    """Most resident memory after any frame so far, bytes of the state, long-term and working elements: twice each."""
    model = open_xmem(NAME, Path(weights), settings=settings)
    mask = torch.zeros(1, HEIGHT, WIDTH)
    mask[:, 16:48, 16:48] = 1
    state, seen = model.begin(shown(0), mask), dict[str, list[int]](peak=[], state=[], long=[], working=[])
    process, peak = psutil.Process(), 0
    for number in range(1, frames):
        found, state = model.step(state, shown(number))
        peak = max(peak, process.memory_info().rss)  # the system's own peak is that of loading, which hides the rest
        if number in (LOOKED_AT, frames - 1):
            assert bool(found.isfinite().all())
            now = (peak, kept_bytes(state), state.memory.long, state.memory.working)
            for name, value in zip(seen, now, strict=True):
                seen[name].append(value)
    return seen


if __name__ == "__main__":
    share_freed_memory()  # as the command does: else what was freed lies in the heap and counts
    given = MemorySettings(**json.loads(sys.argv[3]))
    sys.stdout.write(json.dumps(main(sys.argv[1], int(sys.argv[2]), given)))
