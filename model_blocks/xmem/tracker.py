"""XMem's inference: any number of objects, which may appear on any frame, followed frame by frame.

Source: Cheng, Schwing 2022, XMem, and the procedure of its authors' own program.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets.errors import FrameShapeError, UsageError
from model_blocks.facts import Precision
from model_blocks.nets.xmem import HIDDEN, STRIDE, Seen, XMemNet
from model_blocks.xmem.memory import Memory
from model_blocks.xmem.settings import MemorySettings
from model_blocks.xmem.state import XMemState

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pictures, RGB
SURE = 1e-7  # probabilities stay this far from 0 and 1
Sides = tuple[int, int, int, int]


@dataclass(frozen=True)
class _Plan:
    """What is done with a frame."""

    segment: bool
    remember: bool
    reinforce: bool
    update: bool


class XMemTracker:
    """Follows objects, numbered from 0 in the order in which they appear, in pictures of one size.

    Args:
        network: With its weights, in evaluation mode.
        settings: How memory is kept.
        device: Where it runs.
        precision: What the network computes in; memory and results are float32 in any case.
    """

    def __init__(
        self, network: XMemNet, settings: MemorySettings, *, device: str = "cpu", precision: Precision = "float32"
    ) -> None:
        self._dtype: torch.dtype = getattr(torch, precision)
        self.network = network.to(device=device, dtype=self._dtype)
        self.settings = settings
        self.device = torch.device(device)
        self._mean = torch.tensor(MEAN, device=device).view(3, 1, 1)
        self._std = torch.tensor(STD, device=device).view(3, 1, 1)

    @torch.inference_mode()
    def step(
        self, state: XMemState | None, image: Tensor, masks: Mapping[int, Tensor] | None = None, *, last: bool = False
    ) -> tuple[Tensor, XMemState]:
        """One frame.

        Args:
            state: After the frame before; None: this is the first.
            image: (3, H, W), RGB, 0..1.
            masks: (H, W), 0 or 1, of objects whose place is known on this frame, by their numbers; those that appear
                on it among them, all others are found.
            last: No frame follows, so nothing needs to be remembered.

        Returns:
            Probabilities (1 + K, H, W), float32, that sum to one: background first, then every object; and the state
            after the frame.

        Raises:
            FrameShapeError: A mask or the frame has another size.
            UsageError: A first frame without masks, or numbers that leave one out.
        """
        given = dict(masks or {})
        objects = _objects_with(state, given)
        sides = padding(image.shape[1], image.shape[2])
        pixels = F.pad(self.normalised(image), sides)[None]
        plan = self._plan(state, objects, given, last)
        seen = self.network.encode_key(pixels)
        known = state or self._blank(image, seen)
        if known.hidden.shape[2:] != seen.key.shape[2:]:
            raise FrameShapeError(
                f"expected a frame of the first one's size, got {tuple(image.shape)}", image=list(image.shape)
            )
        found = None
        if plan.segment:
            found, known = self._segmented(known, seen, plan)
        if given:
            found = self._told(given, found, objects, image, sides)
            known = replace(known, hidden=_widened(known.hidden, objects))
        assert found is not None
        if plan.remember:
            known = self._remembering(known, pixels, seen, found[1:], plan)
        return _cropped(found, sides), replace(known, frame=known.frame + 1)

    def _plan(self, state: XMemState | None, objects: int, given: Mapping[int, Tensor], last: bool) -> _Plan:
        settings, number = self.settings, 0 if state is None else state.frame + 1
        remembered = 0 if state is None else state.remembered
        remember = not last and (number - remembered >= settings.every or bool(given))
        if settings.reinforce_every is None:
            reinforce = remember
            update = not remember
        else:
            since = settings.reinforce_every if state is None else number - state.reinforced
            reinforce = since >= settings.reinforce_every
            update = True
        return _Plan(
            segment=state is not None and len(given) < objects,
            remember=remember,
            reinforce=reinforce and not last,
            update=update and not last,
        )

    def normalised(self, image: Tensor) -> Tensor:
        """(3, H, W), RGB, 0..1, as the network takes it."""
        return ((image.to(self.device, torch.float32) - self._mean) / self._std).to(self._dtype)

    def _blank(self, image: Tensor, seen: Seen) -> XMemState:
        """Before the first frame: nothing is known."""
        hidden = torch.zeros((0, HIDDEN, *seen.key.shape[2:]), device=self.device)
        none = hidden.new_zeros((0, 0))
        memory = Memory(none, none, none, none, none, (), 0, (), 0)
        return XMemState((image.shape[1], image.shape[2]), -1, 0, -(self.settings.reinforce_every or 0), hidden, memory)

    def _segmented(self, state: XMemState, seen: Seen, plan: _Plan) -> tuple[Tensor, XMemState]:
        read, memory = state.memory.read(_rows(seen.key), _rows(seen.selection), self.settings.top_k)
        values = read.permute(1, 2, 0).reshape(*read.shape[1:], *seen.key.shape[2:]).to(self._dtype)
        logits, hidden = self.network.segment(seen, values, state.hidden.to(self._dtype), update=plan.update)
        found = shared_out(torch.sigmoid(logits.float()))
        return found, replace(state, hidden=hidden.float(), memory=memory)

    def _told(
        self, given: Mapping[int, Tensor], found: Tensor | None, objects: int, image: Tensor, sides: Sides
    ) -> Tensor:
        """Probabilities with those objects where they are known to be; others give way to them."""
        height, width = image.shape[1:]
        masks = torch.zeros((objects, height, width), device=self.device)
        for number, mask in given.items():
            if mask.shape != (height, width):
                raise FrameShapeError(
                    f"expected masks of the frame's size {height}×{width}, got {tuple(mask.shape)}",
                    image=list(image.shape),
                    mask=list(mask.shape),
                )
            masks[number] = mask.to(self.device, torch.float32)
        masks = F.pad(masks, sides)
        if found is not None:
            free = masks.sum(dim=0) <= 0.5
            for number in range(found.shape[0] - 1):
                if number not in given:
                    masks[number] = found[1 + number] * free
        return shared_out(masks)

    def _remembering(self, state: XMemState, pixels: Tensor, seen: Seen, masks: Tensor, plan: _Plan) -> XMemState:
        value, hidden = self.network.encode_value(
            pixels, seen.f16, state.hidden.to(self._dtype), masks.to(self._dtype), reinforce=plan.reinforce
        )
        rows = _rows(seen.key), _rows(seen.shrinkage)[:, 0], _rows(seen.selection)
        values = value.float().flatten(2).permute(2, 0, 1).contiguous()
        held = state.memory
        memory = held.with_frame(*rows, values) if held.values else Memory.of_frame(*rows, values)
        state = replace(state, memory=memory.bounded(self.settings), remembered=state.frame + 1)
        return replace(state, hidden=hidden.float(), reinforced=state.frame + 1) if plan.reinforce else state


def padding(height: int, width: int) -> Sides:
    """Left, right, top, bottom to multiples of 16; where they cannot be equal, more at the right and the bottom."""
    across, down = -width % STRIDE, -height % STRIDE
    return across // 2, across - across // 2, down // 2, down - down // 2


def shared_out(probabilities: Tensor) -> Tensor:
    """Probabilities (K, H, W) of single objects to those of background and objects, (1 + K, H, W), that sum to one."""
    background = (1 - probabilities).prod(dim=0, keepdim=True)
    odds = torch.cat((background, probabilities)).clamp(SURE, 1 - SURE)
    return torch.softmax(torch.log(odds / (1 - odds)), dim=0)


def _objects_with(state: XMemState | None, given: Mapping[int, Tensor]) -> int:
    """How many there are after a frame."""
    known = 0 if state is None else state.objects
    new = sorted(number for number in given if number >= known)
    if (not known and not new) or new != list(range(known, known + len(new))) or any(each < 0 for each in given):
        raise UsageError(
            f"expected masks of new objects numbered from {known} on, got {sorted(given) or 'none'}",
            known=known,
            given=sorted(given),
        )
    return known + len(new)


def _widened(hidden: Tensor, objects: int) -> Tensor:
    """The sensory memory with room for objects that appear; they begin with none."""
    return torch.cat((hidden, hidden.new_zeros((objects - hidden.shape[0], *hidden.shape[1:]))))


def _rows(features: Tensor) -> Tensor:
    """(1, C, h, w) to (h*w, C), float32."""
    return features[0].float().flatten(1).T.contiguous()


def _cropped(found: Tensor, sides: Sides) -> Tensor:
    left, right, top, bottom = sides
    return found[:, top : found.shape[1] - bottom, left : found.shape[2] - right]
