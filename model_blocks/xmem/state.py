"""What XMem knows between two frames of a shot, and how it is kept in a file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model_blocks.xmem.memory import Memory

TENSORS = ("key", "shrinkage", "selection", "uses", "ages")


@dataclass(frozen=True)
class XMemState:
    """Nothing in it is ever written to, so that an earlier state stays what it was.

    Attributes:
        size: (H, W) of the clip's frames.
        frame: Number of the last frame, from 0.
        remembered: Number of the last frame that was remembered.
        reinforced: Number of the last frame from which the sensory memory was reinforced; below 0: of none.
        hidden: (K, 64, h, w), float32, the sensory memory.
        memory: Working and long-term memory.
    """

    size: tuple[int, int]
    frame: int
    remembered: int
    reinforced: int
    hidden: Tensor
    memory: Memory

    @property
    def objects(self) -> int:
        """How many are followed."""
        return self.hidden.shape[0]

    def to_arrays(self) -> dict[str, Any]:
        """Everything as numpy arrays, by name. They may share memory with the state and are not to be written to."""
        memory = self.memory
        held = {name: getattr(memory, name).cpu().numpy() for name in TENSORS}
        values = {f"values_{group}": each.cpu().numpy() for group, each in enumerate(memory.values)}
        clock = np.array([self.frame, self.remembered, self.reinforced], dtype=np.int64)
        return {
            "size": np.array(self.size, dtype=np.int64),
            "clock": clock,
            "hidden": self.hidden.cpu().numpy(),
            "elements": np.array([memory.frame_elements, memory.long], dtype=np.int64),
            "long_values": np.array(memory.long_values, dtype=np.int64),
            **held,
            **values,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], device: torch.device | str) -> "XMemState":
        """The state that ``to_arrays`` was asked of, to the last bit."""

        def held(name: str) -> Tensor:
            # Copied: torch aligns its memory, numpy's may lie anywhere, and where it lies can change a product's bits.
            return torch.tensor(np.asarray(arrays[name]), device=device)

        height, width = (int(side) for side in arrays["size"])
        frame, remembered, reinforced = (int(number) for number in arrays["clock"])
        frame_elements, long = (int(number) for number in arrays["elements"])
        long_values = tuple(int(number) for number in arrays["long_values"])
        values = tuple(held(f"values_{group}") for group in range(len(long_values)))
        tensors = {name: held(name) for name in TENSORS}
        memory = Memory(**tensors, values=values, long=long, long_values=long_values, frame_elements=frame_elements)
        return cls((height, width), frame, remembered, reinforced, held("hidden"), memory)
