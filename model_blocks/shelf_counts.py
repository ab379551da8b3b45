"""What a shelf knows of each model: how often it was asked for, whether somebody has it, what it took."""

import sys
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from model_blocks.shelf_facts import ModelCounts, ModelKey

KEPT_TIMES = 4096  # requests that are remembered of a model, for their rate
SHORTEST_WINDOW_S = 60.0


@dataclass
class Counts:
    """Of a model on a device, whatever it was made of; outlives its evictions. Times are seconds since the epoch."""

    born: float
    times: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT_TIMES))
    bytes: int = 0
    loads: int = 0
    hits: int = 0
    evictions: int = 0
    requests: int = 0
    told_requests: int = 0

    def per_minute(self, now: float, window_s: float) -> float:
        """Requests a minute, over a window or over the model's life if that is shorter."""
        window_s = min(window_s, max(SHORTEST_WINDOW_S, now - self.born))
        return sum(each >= now - window_s for each in self.times) * 60 / window_s


@dataclass
class Entry:
    """A model that is loaded."""

    key: ModelKey
    model: Any
    counts: Counts
    bytes: int
    loaded_at: float
    last_used: float
    alone: int = 0  # references while nobody but the shelf has it

    @property
    def in_use(self) -> bool:
        """Whether somebody holds the model, for the length of a chunk or longer: then its memory would not be freed.

        References are counted by CPython, exactly and at once, so nobody has to give a model back.
        """
        return sys.getrefcount(self.model) > self.alone

    def count_request(self, now: float) -> None:
        self.last_used = now
        self.counts.requests += 1
        self.counts.times.append(now)


def told(name: str, device: str, counts: Counts, entry: Entry | None, per_minute: float) -> ModelCounts:
    """The counts as plain values."""
    return ModelCounts(
        model=name,
        device=device,
        bytes=counts.bytes,
        loaded_at=None if entry is None else datetime.fromtimestamp(entry.loaded_at, UTC),
        last_used_at=datetime.fromtimestamp(counts.times[-1], UTC) if counts.times else None,
        requests_per_minute=round(per_minute, 3),
        loads=counts.loads,
        hits=counts.hits,
        evictions=counts.evictions,
        requests=counts.requests,
    )
