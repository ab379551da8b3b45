"""XMem with the reference weights, opened once per process from a file such as its authors publish."""

import io
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from model_blocks.xmem.propagator import XMemPropagator, open_xmem
from model_blocks.xmem.state import XMemState
from tests.model_blocks.parity import checkpoint
from tests.model_blocks.parity_xmem import NAME


@lru_cache
def opened() -> XMemPropagator:
    with tempfile.TemporaryDirectory() as folder:
        return open_xmem(NAME, checkpoint(NAME, Path(folder) / "XMem.pth"))


def through_a_file(_: int, state: XMemState) -> XMemState:
    """The state as a resumed run finds it."""
    stream = io.BytesIO()
    np.savez(stream, **state.to_arrays())
    with np.load(io.BytesIO(stream.getvalue())) as read:
        arrays: dict[str, Any] = {name: read[name] for name in read.files}
    return opened().restore(arrays)
