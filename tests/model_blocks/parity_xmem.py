"""XMem against its authors' outputs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model_blocks.xmem.propagator import XMemPropagator, open_xmem
from model_blocks.xmem.settings import MemorySettings
from model_blocks.xmem.state import XMemState
from model_blocks.xmem.tracker import XMemTracker
from tests.model_blocks.parity import Arrays, ParityRun, kept

NAME = "xmem"
SECOND_APPEARS = {"c": 4}  # frame; in the other runs both objects are there from the first one on
SETTINGS = {
    "a": MemorySettings(every=2, most_frames=4, least_frames=2, prototypes=16),
    "b": MemorySettings(every=1, most_frames=4, least_frames=2, prototypes=16, most_elements=40),
    "c": MemorySettings(every=3, reinforce_every=2, most_frames=3, least_frames=2, prototypes=16),
}
Found = dict[str, np.ndarray[Any, Any]]
Between = Callable[[int, XMemState], XMemState]


def as_image(frame: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(frame.astype(np.float32) / 255).permute(2, 0, 1)


def untouched(_: int, state: XMemState) -> XMemState:
    return state


def followed(model: XMemTracker, inputs: Arrays, scenario: str, between: Between = untouched) -> np.ndarray[Any, Any]:
    """Probabilities (frames, 3, H, W): background and two objects. ``between`` is given every state."""
    frames, labels = inputs["frames_u8"], inputs["mask_labels"]
    late = SECOND_APPEARS.get(scenario, 0)
    state, made = None, np.zeros((len(frames), 3, *frames.shape[1:3]), np.float32)
    for number, frame in enumerate(frames):
        masks = {}
        if number == 0:
            masks[0] = torch.from_numpy(labels[0] == 1)
        if number == late:
            masks[1] = torch.from_numpy(labels[1 if late else 0] == 2)
        found, state = model.step(state, as_image(frame), masks, last=number == len(frames) - 1)
        made[number, : len(found)] = found.cpu().numpy()
        state = between(number, state)
    return made


def encoded(model: XMemTracker, inputs: Arrays) -> Found:
    """The network's own outputs for the upper left 64x96 of the first frame."""
    labels = inputs["mask_labels"][0, :64, :96]
    masks = torch.from_numpy(np.stack([labels == 1, labels == 2]).astype(np.float32)).to(model.device)
    with torch.inference_mode():
        image = model.normalised(as_image(inputs["frames_u8"][0, :64, :96]))[None]
        seen = model.network.encode_key(image)
        hidden = torch.zeros((2, 64, *seen.key.shape[2:]), device=model.device)
        value, hidden = model.network.encode_value(image, seen.f16, hidden, masks, reinforce=True)
    outputs = {"key": seen.key, "shrinkage": seen.shrinkage, "selection": seen.selection}
    outputs |= {"value": value[None, :, ::4], "hidden": hidden[None]}
    return {name: each.cpu().numpy() for name, each in outputs.items()}


def tracker(model: XMemPropagator, scenario: str) -> XMemTracker:
    """The opened model with the memory of a run."""
    return XMemTracker(model.tracker.network, SETTINGS[scenario], device=str(model.tracker.device))


def outputs(model: XMemPropagator, inputs: Arrays, between: Between = untouched) -> Found:
    found = {f"prob_{each}": followed(tracker(model, each), inputs, each, between) for each in SETTINGS}
    return found | encoded(model.tracker, inputs)


def _run(path: Path, inputs: Arrays) -> Found:
    return outputs(open_xmem(NAME, path), inputs)


def _run_saved(path: Path, inputs: Arrays) -> Found:
    model = open_xmem(NAME, path)
    return outputs(model, inputs, lambda _, state: model.restore(kept(state)))


RUNS: dict[str, ParityRun] = {NAME: ParityRun(NAME, _run)}
SAVED = {NAME: ParityRun(f"{NAME}, saved each frame", _run_saved)}
