"""What a shelf of models is told, and what it tells: plain values that travel between processes."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

from datasets.thermal import AUTOMATIC, Wanted

EventKind = Literal["load", "evict", "load_failed", "over_budget", "out_of_memory", "gave_up", "not_finite"]
# Those that speak against a model. A smaller plan that then works does not.
FAILURES: tuple[EventKind, ...] = ("load_failed", "gave_up", "not_finite")


class ModelKey(NamedTuple):
    """Names a model on a shelf.

    Attributes:
        name: As in the registry.
        device: ``cpu`` or ``cuda``.
        making: Whatever else decides what is made: file, digest, precision, options.
    """

    name: str
    device: str
    making: tuple[Hashable, ...] = ()


@dataclass(frozen=True)
class ShelfRules:
    """What a shelf goes by.

    Attributes:
        memory_bytes: What models may take of a device's memory; None: a share of what the machine has.
        workers: Processes that share the machine's memory, where a share is taken.
        idle_s: An automatic model that nobody asked for so long is let go, unless it is asked for often.
        busy_per_minute: Often: so many requests a minute.
        window_s: The time over which they are counted.
        cold_idle_s: As ``idle_s`` for a cold model: longer than from chunk to chunk, or it would be loaded for each.
        wanted: What is wanted of models by name; the others are automatic.
    """

    memory_bytes: int | None = None
    workers: int = 1
    idle_s: float = 300.0
    busy_per_minute: float = 1.0
    window_s: float = 600.0
    cold_idle_s: float = 30.0
    wanted: Mapping[str, Wanted] = field(default_factory=dict)

    def wanted_of(self, name: str) -> Wanted:
        return self.wanted.get(name, AUTOMATIC)


@dataclass(frozen=True)
class ShelfEvent:
    """Something that happened to a model of this process."""

    kind: EventKind
    model: str
    device: str
    at: datetime
    seconds: float | None = None
    bytes: int | None = None
    detail: str | None = None


@dataclass(frozen=True)
class ModelCounts:
    """A model in a process, since the process began.

    Attributes:
        bytes: The most that it was measured to take.
        loaded_at: Since when it is loaded; None: it is not.
        hits: Requests that found it loaded.
        requests: All that were ever made.
    """

    model: str
    device: str
    bytes: int
    loaded_at: datetime | None
    last_used_at: datetime | None
    requests_per_minute: float
    loads: int
    hits: int
    evictions: int
    requests: int


@dataclass(frozen=True)
class ShelfStatistics:
    """What a process tells of its models. Events are told once, counts again and again.

    Attributes:
        new_requests: By model, since it was told the last time.
    """

    host: str
    pid: int
    at: datetime
    models: tuple[ModelCounts, ...]
    events: tuple[ShelfEvent, ...] = ()
    new_requests: Mapping[str, int] = field(default_factory=dict)

    def counts(self, model: str) -> ModelCounts:
        """Those of a model on whatever device it was used last.

        Raises:
            LookupError: The process does not know it.
        """
        for counts in self.models:
            if counts.model == model:
                return counts
        raise LookupError(model)
