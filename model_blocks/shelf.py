"""The models that a process has loaded: each once, within a memory budget, as warm as is wanted of them."""

import os
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from datasets.errors import UsageError
from datasets.ledger.processes import host_name
from datasets.thermal import Thermal, Wanted
from model_blocks.residency import default_limit, free_caches, held_bytes, tensor_bytes
from model_blocks.shelf_counts import Counts, Entry, told
from model_blocks.shelf_facts import EventKind, ModelKey, ShelfEvent, ShelfRules, ShelfStatistics

KEPT_EVENTS = 1000


def _none() -> None:
    """For models that need nothing imported."""


class ModelShelf:
    """Models by key, made when they are first asked for. Threads share one; loads take turns.

    They take turns because a model's memory is what the process gained while it was loaded. A model that is there is
    handed out meanwhile.

    Args:
        rules: What it goes by until ``obey`` says otherwise.
        clock: Seconds since the epoch.
        held: Bytes of a device's memory that this process holds.
        free: Gives back the memory of models that were let go.
    """

    def __init__(
        self,
        rules: ShelfRules | None = None,
        clock: Callable[[], float] = time.time,
        held: Callable[[str], int] = held_bytes,
        free: Callable[[], None] = free_caches,
    ) -> None:
        self._rules = rules or ShelfRules()
        self._clock = clock
        self._held_of_device = held
        self._free = free
        self._lock = threading.Lock()  # of what follows; held for moments
        self._loading = threading.RLock()  # a model may be made of others
        self._entries: OrderedDict[ModelKey, Entry] = OrderedDict()  # the least recently used first
        self._counts: dict[tuple[str, str], Counts] = {}
        self._limits: dict[str, int] = {}
        self._events: deque[ShelfEvent] = deque(maxlen=KEPT_EVENTS)

    def get(
        self, key: ModelKey, load: Callable[[], Any], libraries: Callable[[], object] = _none, *, asked: bool = True
    ) -> Any:
        """The model of a key; loaded if it is not there. A load that fails leaves nothing behind.

        Args:
            key: Names it.
            load: Makes it.
            libraries: Imports what making it needs, before anything is measured: that stays when the model goes.
            asked: False: it is only to be there, which is no request.
        """
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                return self._handed_out(entry, asked)
        with self._loading:
            with self._lock:
                entry = self._entries.get(key)
                if entry is not None:  # another thread was quicker
                    return self._handed_out(entry, asked)
            return self._loaded(key, load, libraries, asked)

    def obey(self, rules: ShelfRules) -> None:
        """Go by other rules from now on; what they do not let stay goes."""
        with self._lock:
            self._rules = rules
            self._limits.clear()
        self.sweep()

    @property
    def rules(self) -> ShelfRules:
        return self._rules

    def sweep(self) -> None:
        """Let go of what has been idle for longer than its state allows."""
        with self._lock:
            gone = self._evicted([entry for entry in self._entries.values() if self._has_lapsed(entry)], "idle")
        self._forget(gone)

    def want(self, name: str, wanted: Wanted) -> None:
        """Change what is wanted of one model; one that is to be off or cold goes now, if nobody is using it."""
        with self._lock:
            self._rules = replace(self._rules, wanted={**self._rules.wanted, name: wanted})
            cooled = wanted.thermal in ("off", "cold")
            named = [entry for entry in self._entries.values() if cooled and entry.key.name == name]
            gone = self._evicted([entry for entry in named if not entry.in_use], "cooled")
        self._forget(gone)

    def release(self, device: str) -> None:
        """Let go of all that nobody uses and nobody wants kept: memory ran out, and any of it may help."""
        with self._lock:
            there = [entry for entry in self._entries.values() if entry.key.device == device]
            gone = self._evicted([entry for entry in there if self._may_go(entry)], "memory")
        self._forget(gone)

    def note(self, kind: EventKind, model: str, device: str, detail: str | None = None) -> None:
        """Write down something that happened to a model outside the shelf."""
        with self._lock:
            self._add_event(kind, model, device, detail=detail)

    def statistics(self, *, tell: bool = False) -> ShelfStatistics:
        """What was counted so far, the models in the order of their names.

        Args:
            tell: Whoever asks writes it down: events and new requests are not told again.
        """
        with self._lock:
            loaded = {(entry.key.name, entry.key.device): entry for entry in self._entries.values()}
            found = [
                (name, device, counts, loaded.get((name, device)))
                for (name, device), counts in sorted(self._counts.items())
            ]
            models = tuple(told(*each, self._per_minute(each[2])) for each in found)
            new = {name: counts.requests - counts.told_requests for name, _, counts, _ in found}
            events = tuple(self._events)
            if tell:
                self._events.clear()
                for counts in self._counts.values():
                    counts.told_requests = counts.requests
        now = datetime.fromtimestamp(self._clock(), UTC)
        asked = {name: count for name, count in new.items() if count}
        return ShelfStatistics(host_name(), os.getpid(), now, models, events, asked)

    # loading

    def _handed_out(self, entry: Entry, asked: bool) -> Any:
        if asked:
            self._entries.move_to_end(entry.key)
            entry.counts.hits += 1
            entry.count_request(self._clock())
        return entry.model

    def _loaded(self, key: ModelKey, load: Callable[[], Any], libraries: Callable[[], object], asked: bool) -> Any:
        counts = self._counts_of(key)
        self._make_room(key, coming=counts.bytes)
        self.sweep()
        libraries()
        model, seconds, gained = self._measured(key, load)
        taken = max(gained, tensor_bytes(model))
        now = self._clock()
        entry = Entry(key, model, counts, taken, now, now)
        with self._lock:
            counts.loads += 1
            counts.bytes = max(counts.bytes, taken)
            self._entries[key] = entry
            if asked:
                entry.count_request(self._clock())
            self._add_event("load", key.name, key.device, seconds=seconds, size=taken)
            entry.alone = sys.getrefcount(entry.model) - 1  # this function's own
        self._make_room(key)
        return model

    def _measured(self, key: ModelKey, load: Callable[[], Any]) -> tuple[Any, float, int]:
        """A new model, the seconds it took, and the bytes that the process gained."""
        before, begun, failed = self._held_of_device(key.device), time.perf_counter(), True
        try:
            model = load()
            failed = False
        finally:
            error = sys.exception()
            if failed and isinstance(error, Exception) and not isinstance(error, UsageError):
                self.note("load_failed", key.name, key.device, f"{type(error).__name__}: {error}")
        return model, time.perf_counter() - begun, max(0, self._held_of_device(key.device) - before)

    # letting go

    def _make_room(self, key: ModelKey, coming: int = 0) -> None:
        """Let go of the least recently used until what is there, with what comes, is within the budget."""
        with self._lock:
            limit = self._limit(key.device)
            over = self._taken(key.device) + coming - limit
            going: list[Entry] = []
            for entry in self._in_order_of_leaving(key):
                if over <= 0:
                    break
                going.append(entry)
                over -= entry.bytes
            if over > 0 and not coming:
                self._add_event("over_budget", key.name, key.device, size=over)
            gone = self._evicted(going, "memory")
        self._forget(gone)

    def _in_order_of_leaving(self, spared: ModelKey) -> Iterable[Entry]:
        there = [each for each in self._entries.values() if each.key.device == spared.device and each.key != spared]
        able = [entry for entry in there if self._may_go(entry)]
        return sorted(able, key=lambda entry: self._thermal(entry) == "automatic")  # cold ones first; sorting is stable

    def _may_go(self, entry: Entry) -> bool:
        return self._thermal(entry) not in ("hot", "warm") and not entry.in_use

    def _has_lapsed(self, entry: Entry) -> bool:
        if not self._may_go(entry):
            return False
        idle_s = self._clock() - entry.last_used
        if self._thermal(entry) == "automatic":
            return idle_s > self._rules.idle_s and self._per_minute(entry.counts) < self._rules.busy_per_minute
        return idle_s > self._rules.cold_idle_s

    def _evicted(self, entries: list[Entry], why: str) -> list[Entry]:
        for entry in entries:
            del self._entries[entry.key]
            entry.counts.evictions += 1
            self._add_event("evict", entry.key.name, entry.key.device, size=entry.bytes, detail=why)
        return entries

    def _forget(self, gone: list[Entry]) -> None:
        """Really free what was let go; outside the lock, for it may take a while."""
        for entry in gone:
            entry.model = None  # callers may still have the entry in a variable
        if gone:
            self._free()

    # counting; the lock is held

    def _thermal(self, entry: Entry) -> Thermal:
        return self._rules.wanted_of(entry.key.name).at(self._clock())

    def _limit(self, device: str) -> int:
        if self._rules.memory_bytes is not None:
            return self._rules.memory_bytes
        if device not in self._limits:
            self._limits[device] = default_limit(device, self._rules.workers)
        return self._limits[device]

    def _taken(self, device: str) -> int:
        return sum(entry.bytes for entry in self._entries.values() if entry.key.device == device)

    def _counts_of(self, key: ModelKey) -> Counts:
        with self._lock:
            return self._counts.setdefault((key.name, key.device), Counts(self._clock()))

    def _per_minute(self, counts: Counts) -> float:
        return counts.per_minute(self._clock(), self._rules.window_s)

    def _add_event(
        self,
        kind: EventKind,
        model: str,
        device: str,
        *,
        seconds: float | None = None,
        size: int | None = None,
        detail: str | None = None,
    ) -> None:
        at = datetime.fromtimestamp(self._clock(), UTC)
        self._events.append(ShelfEvent(kind, model, device, at, seconds, size, detail))
