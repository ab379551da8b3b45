"""SAM 2.1 on shots: what is marked in the first frame is followed frame by frame, with a memory of fixed size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from datasets.errors import FrameShapeError
from model_blocks.facts import Precision
from model_blocks.registry import find_model
from model_blocks.sam2.configs import SIZES, Network, video_network
from model_blocks.sam2.memory import Sam2State
from model_blocks.sam2.network import Features, computing, encode_image, opened
from model_blocks.sam2.pictures import as_image, frame_pixels
from model_blocks.sam2.prompts import Box, Labels, Points, prompt_at
from model_blocks.sam2.tracking import Found, found_by_mask, found_by_memory, found_by_prompt


@dataclass(frozen=True)
class Tracked:
    """An object in one frame.

    Attributes:
        logits: (H, W), float32, on the CPU; above 0 belongs to the object, -1024 where it is not to be seen.
        found: What the network found, on its device.
        state: What is remembered after the frame.
    """

    logits: Tensor
    found: Found
    state: Sam2State


class Sam2Propagator:
    """Follows an object through a shot; a Propagator. States are values, so several objects can be followed at once.

    Args:
        network: With its weights, on its device.
        device: Where that is.
        precision: What products are taken in; results are float32.
    """

    def __init__(self, network: Network, *, device: str = "cpu", precision: Precision = "float32") -> None:
        self.network = network
        self._device = device
        self._precision = precision

    def begin(self, image: Tensor, mask: Tensor, *, frames: int = 0) -> Sam2State:
        """Remembers the object of a shot's first frame.

        Args:
            image: (3, H, W), RGB, 0..1.
            mask: (1, H, W), 0..1; above 0.5 is the object.
            frames: How many the shot has. Only those of less than 16 are followed differently where it is known.

        Raises:
            FrameShapeError: The two do not belong together.
        """
        if image.ndim != 3 or image.shape[0] != 3 or mask.shape != (1, *image.shape[1:]):
            raise FrameShapeError(
                f"expected an image (3, H, W) and its mask (1, H, W), got {tuple(image.shape)} and {tuple(mask.shape)}",
                image=list(image.shape),
                mask=list(mask.shape),
            )
        with computing(self._device, self._precision):
            features = self._encoded(image)
            found = found_by_mask(self.network, features, mask[0].to(self._device) > 0.5)
        return _beginning(image, found, frames).state

    def begin_pointing(
        self,
        image: Tensor,
        *,
        points: Points | None = None,
        labels: Labels | None = None,
        box: Box | None = None,
        frames: int = 0,
    ) -> Tracked:
        """The object that points or a box mean in a shot's first frame; see ``prompt_at`` for what can be given.

        Raises:
            FrameShapeError: The image is not (3, H, W).
            UsageError: Nothing is pointed at, or something has another shape.
        """
        image = as_image(image)
        prompt = prompt_at((image.shape[1], image.shape[2]), points=points, labels=labels, box=box)
        with computing(self._device, self._precision):
            found = found_by_prompt(self.network, self._encoded(image), prompt)
        return _beginning(image, found, frames)

    def step(self, state: Sam2State, image: Tensor) -> tuple[Tensor, Sam2State]:
        """The mask (1, H, W), 0..1, of the next frame (3, H, W), and what is remembered for the one after it.

        Raises:
            FrameShapeError: The frame's size is not that of the first one.
        """
        (tracked,) = self.track([state], image)
        return tracked.logits[None].sigmoid().to(image.device), tracked.state

    def track(self, states: Sequence[Sam2State], image: Tensor) -> list[Tracked]:
        """Several objects in the next frame (3, H, W), which is encoded once; none of them knows of the others.

        Raises:
            FrameShapeError: The frame's size is not that of the first one.
        """
        for state in states:
            if image.shape != (3, *state.size):
                raise FrameShapeError(
                    f"expected a frame of the shot's size (3, {state.size[0]}, {state.size[1]}), "
                    f"got {tuple(image.shape)}",
                    image=list(image.shape),
                    size=list(state.size),
                )
        with computing(self._device, self._precision):
            features = self._encoded(image)
            found = [found_by_memory(self.network, features, state) for state in states]
        return [
            Tracked(_enlarged(each, state.size), each, state.after(each.remembered))
            for each, state in zip(found, states, strict=True)
        ]

    def restore(self, arrays: Mapping[str, Any]) -> Sam2State:
        """The state that ``Sam2State.to_arrays`` was asked of."""
        return Sam2State.from_arrays(arrays, self._device)

    def _encoded(self, image: Tensor) -> Features:
        return encode_image(self.network, frame_pixels(image).to(self._device))


def _beginning(image: Tensor, found: Found, frames: int) -> Tracked:
    size = (image.shape[1], image.shape[2])
    return Tracked(_enlarged(found, size), found, Sam2State(size, 0, frames, found.remembered))


def _enlarged(found: Found, size: tuple[int, int]) -> Tensor:
    return F.interpolate(found.low_res.cpu()[None, None], size, mode="bilinear", align_corners=False)[0, 0]


def open_sam2_video(
    name: str,
    path: str | Path,
    *,
    sha256: str | None = None,
    device: str = "cpu",
    precision: Precision = "float32",
) -> Sam2Propagator:
    """A registered SAM 2.1 model for shots from a file of its authors.

    Args:
        name: As in the registry.
        path: The authors' file.
        sha256: What its bytes must hash to; None takes any.
        device: Where it runs.
        precision: What products are taken in.

    Raises:
        ModelUnknownError: Nothing of that name is registered for shots.
        WeightsMissingError, WeightsDigestError, WeightsDamagedError, WeightsUnsafeError: As ``read_state`` does.
        WeightsKeysError: The file holds something else.
    """
    facts = find_model(name, "propagate")
    network = video_network(SIZES[name.removeprefix("sam2.1-").removesuffix("-video")])
    return Sam2Propagator(opened(network, facts, path, sha256, device), device=device, precision=precision)
