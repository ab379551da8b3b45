"""What XMem remembers of past frames: added to, read by likeness, consolidated when it grows.

Elements of long-term memory stand before those of working memory, so that reading takes them as they lie. Objects that
appear together form a group. All groups share keys; a group that appeared later has values for the last elements of
long-term and of working memory only.

Source: Cheng, Schwing 2022, XMem, section 3 and appendix. Where a group appears later, values lie beside the keys as in
the authors' own program, which after a consolidation is not always the key they were made with.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from model_blocks.xmem.settings import MemorySettings

NEWBORN = 1e-7  # age of an element that was never there to be read
FINE = 2.0**40  # steps of 1 in which uses are added up: whole numbers give one sum in any order


@dataclass(frozen=True)
class Memory:
    """Everything float32. T elements, ``long`` of them long-term, the rest W working memory.

    Attributes:
        key: (T, 64).
        shrinkage: (T,).
        selection: (W, 64).
        uses: (T,), how much each was read.
        ages: (T,), in how many frames it could have been.
        values: Per group (t, objects, 512), t at most T.
        long: Elements of long-term memory.
        long_values: Per group, how many of its values are long-term.
        frame_elements: Elements that one frame makes.
    """

    key: Tensor
    shrinkage: Tensor
    selection: Tensor
    uses: Tensor
    ages: Tensor
    values: tuple[Tensor, ...]
    long: int
    long_values: tuple[int, ...]
    frame_elements: int

    @property
    def working(self) -> int:
        """Elements of working memory."""
        return self.key.shape[0] - self.long

    @classmethod
    def of_frame(cls, key: Tensor, shrinkage: Tensor, selection: Tensor, value: Tensor) -> "Memory":
        """The memory of a first frame: (N, 64), (N,), (N, 64), and (N, K, 512) for K objects."""
        born = torch.full_like(shrinkage, NEWBORN)
        return cls(key, shrinkage, selection, torch.zeros_like(born), born, (value,), 0, (0,), key.shape[0])

    def with_frame(self, key: Tensor, shrinkage: Tensor, selection: Tensor, value: Tensor) -> "Memory":
        """One more frame; objects that no group holds yet become one of their own."""
        born = torch.full_like(shrinkage, NEWBORN)
        sizes = [held.shape[1] for held in self.values]
        *known, new = torch.split(value, [*sizes, value.shape[1] - sum(sizes)], dim=1)
        values = tuple(torch.cat(pair) for pair in zip(self.values, known, strict=True))
        return replace(
            self,
            key=torch.cat((self.key, key)),
            shrinkage=torch.cat((self.shrinkage, shrinkage)),
            selection=torch.cat((self.selection, selection)),
            uses=torch.cat((self.uses, torch.zeros_like(born))),
            ages=torch.cat((self.ages, born)),
            values=(*values, new.contiguous()) if new.shape[1] else values,
            long_values=(*self.long_values, 0) if new.shape[1] else self.long_values,
        )

    def read(self, key: Tensor, selection: Tensor, top_k: int) -> tuple[Tensor, "Memory"]:
        """What is remembered for N places of a frame, by their keys and selections (N, 64).

        Returns:
            (N, K, 512) and the memory that knows what was read.
        """
        alike = similarity(self.key, self.shrinkage, key, selection)
        found, uses = [], self.uses
        for group, values in enumerate(self.values):
            weights, places = strongest(self._of_group(alike, group), top_k)
            if group == 0:  # the first group has values for all elements
                uses = uses + _summed(weights, places, uses.shape[0])
            held = F.embedding_bag(places, values.flatten(1), per_sample_weights=weights, mode="sum")
            found.append(held.view(-1, *values.shape[1:]))
        read = found[0] if len(found) == 1 else torch.cat(found, dim=1)
        return read, replace(self, uses=uses, ages=self.ages + 1)

    def _of_group(self, alike: Tensor, group: int) -> Tensor:
        """The columns of (N, T) that a group has values for."""
        held = self.values[group].shape[0]
        if held == self.key.shape[0]:
            return alike
        long, end = self.long_values[group], alike.shape[1]
        return torch.cat((alike[:, self.long - long : self.long], alike[:, end - (held - long) :]), dim=1)

    def bounded(self, settings: MemorySettings) -> "Memory":
        """The same, its working memory consolidated if it is full, and its long-term memory cut if that is."""
        if not settings.long_term or self.working < settings.most_frames * self.frame_elements:
            return self
        room = settings.most_elements - settings.prototypes
        return self.forgetting(room).consolidated(settings)

    def forgetting(self, most: int) -> "Memory":
        """With at most this many elements of long-term memory: those go that were read least for their age."""
        excess = self.long - most
        if excess <= 0:
            return self
        usage = (self.uses / self.ages)[: self.long]
        limit = torch.topk(usage, excess, largest=False).values[-1]
        kept = usage > limit
        stays = torch.cat((kept, kept.new_ones(self.working)))
        groups = zip(self.values, self.long_values, strict=True)
        values = tuple(_without(held, ~kept[self.long - long :]) for held, long in groups)
        return replace(
            self,
            key=self.key[stays],
            shrinkage=self.shrinkage[stays],
            uses=self.uses[stays],
            ages=self.ages[stays],
            values=values,
            long=int(kept.sum()),
            long_values=tuple(int(kept[self.long - long :].sum()) for long in self.long_values),
        )

    def consolidated(self, settings: MemorySettings) -> "Memory":
        """Working memory between its first and its last frames becomes prototypes."""
        taken = slice(self.frame_elements, self.working - (settings.least_frames - 1) * self.frame_elements)
        inside = slice(self.long + taken.start, self.long + taken.stop)
        key, shrinkage, selection = self.key[inside], self.shrinkage[inside], self.selection[taken]
        usage = (self.uses / self.ages)[inside]
        chosen = torch.topk(usage, min(settings.prototypes, usage.shape[0])).indices
        alike = similarity(key, shrinkage, key[chosen], selection[chosen])
        made = [self._prototypes(group, chosen, alike, settings) for group in range(len(self.values))]
        born = torch.full_like(usage[: len(chosen)], NEWBORN)

        def spliced(held: Tensor, new: Tensor) -> Tensor:
            return torch.cat((held[: self.long], new, held[self.long : inside.start], held[inside.stop :]))

        return replace(
            self,
            key=spliced(self.key, key[chosen]),
            shrinkage=spliced(self.shrinkage, torch.softmax(alike, dim=1) @ shrinkage),
            selection=torch.cat((self.selection[: taken.start], self.selection[taken.stop :])),
            uses=spliced(self.uses, torch.zeros_like(born)),
            ages=spliced(self.ages, born),
            values=tuple(values for values, _ in made),
            long=self.long + len(chosen),
            long_values=tuple(long for _, long in made),
        )

    def _prototypes(self, group: int, chosen: Tensor, alike: Tensor, settings: MemorySettings) -> tuple[Tensor, int]:
        """A group's values with prototypes made of those between, and how many are long-term then.

        Groups that appeared lately give none, and keep what they have until there is enough of it.
        """
        held, long = self.values[group], self.long_values[group]
        working, one = held.shape[0] - long, self.frame_elements
        least = (settings.least_frames + 1) * one
        start, stop = long + one, held.shape[0] - (settings.least_frames - 1) * one
        if working < least and working < self.working:
            return held, long
        new = held[:0]
        if working == self.working or working > least:
            candidates = held[start:stop]
            seen = alike[chosen >= alike.shape[1] - candidates.shape[0], -candidates.shape[0] :]
            new = (torch.softmax(seen, dim=1) @ candidates.flatten(1)).view(-1, *held.shape[1:])
        return torch.cat((held[:long], new, held[long:start], held[stop:])), long + new.shape[0]


def similarity(key: Tensor, shrinkage: Tensor, query: Tensor, selection: Tensor) -> Tensor:
    """How alike N places are to T elements, (N, T): minus a distance whose channels the place selects, times shrinkage.

    Args:
        key: (T, C).
        shrinkage: (T,).
        query: (N, C).
        selection: (N, C).
    """
    selected = query * selection
    alike = (2 * selected) @ key.T
    alike -= selection @ key.square().T
    alike -= (selected * query).sum(dim=1, keepdim=True)
    alike *= shrinkage / math.sqrt(key.shape[1])
    return alike


def strongest(alike: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Weights (N, k) that sum to one, and the elements they belong to; k is ``top_k`` or all there are.

    The greatest is taken off before the exponential, so that places that are like nothing at all have weights, too.
    """
    values, places = torch.topk(alike, min(top_k, alike.shape[1]), dim=1)
    return torch.softmax(values, dim=1), places


def _summed(weights: Tensor, places: Tensor, size: int) -> Tensor:
    """Per element the sum of its weights, the same on any number of threads and on any device."""
    parts = (weights.double() * FINE).round().long().flatten()
    sums = torch.zeros(size, dtype=torch.int64, device=weights.device).index_add_(0, places.flatten(), parts)
    return (sums.double() / FINE).float()


def _without(values: Tensor, gone: Tensor) -> Tensor:
    """Values without those of the first elements that are gone."""
    return values[torch.cat((~gone, gone.new_ones(values.shape[0] - gone.shape[0])))]
