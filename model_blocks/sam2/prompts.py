"""What is pointed at in a picture, in the network's own coordinates."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from datasets.errors import UsageError
from model_blocks.sam2.configs import LOW_RES, SIDE

NEAR, FAR = 2, 3  # labels of a box's first and second corner

Points = Sequence[Sequence[float]] | Tensor
Labels = Sequence[int] | Tensor
Box = Sequence[float] | Tensor


@dataclass(frozen=True)
class Prompt:
    """What is pointed at.

    Attributes:
        points: (N, 2), x and y on the network's square of 1024 pixels.
        labels: (N,), 1 on the object, 0 beside it, 2 and 3 the corners of a box, -1 no point.
        mask: (1, 1, 256, 256), logits of a mask to begin with, or None.
    """

    points: Tensor
    labels: Tensor
    mask: Tensor | None = None


def nothing() -> Prompt:
    """Nothing is pointed at; memory says what is looked for."""
    return Prompt(torch.zeros(1, 2), torch.full((1,), -1))


def prompt_at(
    size: tuple[int, int],
    *,
    points: Points | None = None,
    labels: Labels | None = None,
    box: Box | None = None,
    mask: Tensor | None = None,
) -> Prompt:
    """A prompt from what is given in a picture's pixels; a box counts as two points before the others.

    Args:
        size: (H, W) of the picture.
        points: (N, 2), x and y in pixels.
        labels: One for each point: 1 on the object, 0 beside it.
        box: Left, top, right, bottom in pixels.
        mask: (1, 256, 256), logits that an earlier prompt gave.

    Raises:
        UsageError: Nothing is given, points and labels do not agree, or something has another shape.
    """
    coordinates = [torch.empty(0, 2)]
    kinds = [torch.empty(0, dtype=torch.int64)]
    if box is not None:
        coordinates.append(_numbers(box, "a box of left, top, right, bottom", (4,)).view(2, 2))
        kinds.append(torch.tensor((NEAR, FAR)))
    if (points is None) != (labels is None):
        raise UsageError("points and their labels belong together, got one without the other")
    if points is not None and labels is not None:
        coordinates.append(_numbers(points, "points of x and y, one for each label", (len(labels), 2)))
        kinds.append(torch.as_tensor(labels, device="cpu").to(torch.int64))
    if mask is not None:
        mask = _numbers(mask, "logits of a mask", (1, LOW_RES, LOW_RES))[None]
    if not sum(map(len, kinds)) and mask is None:
        raise UsageError("nothing is pointed at; give points, a box or a mask")
    height, width = size
    scaled = torch.cat(coordinates) / torch.tensor((width, height)) * SIDE
    return Prompt(scaled, torch.cat(kinds), mask)


def _numbers(values: Points | Box, what: str, shape: tuple[int, ...]) -> Tensor:
    numbers = torch.as_tensor(values, dtype=torch.float32, device="cpu")
    if tuple(numbers.shape) != shape:
        raise UsageError(f"expected {what}, {shape}, got {tuple(numbers.shape)}", shape=list(numbers.shape))
    return numbers
