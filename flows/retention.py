"""Removes what nothing holds on to any more, beside runs that are at work; a dry run says what would go."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from datasets.condemned import (
    Condemned,
    all_condemned,
    bury,
    condemn,
    condemned_digests,
    last_touched,
    release_frames,
    restore,
)
from datasets.errors import LeaseBusyError, OutputIncompleteError
from datasets.ledger import Ledger
from datasets.ledger.leases import held
from datasets.ledger.retention_rows import read_holds
from datasets.outputs import OutputPlace
from datasets.retention import Holds, Judge, Kind, RetentionRules, Stored
from datasets.storage import Storage
from datasets.stored import look_again, stored_assets, stored_outputs

LEASE = "retention"  # one at a time
HIDING_S = 600.0  # longer than it takes to put something aside once its note is written
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Removed:
    """What a pass came to, or would come to.

    Attributes:
        things: How many by kind.
        bytes: Of them, by kind.
        waiting: Taken out of sight, and kept until runs that may have found them are at their end.
        restored: Taken out of sight in vain: somebody holds on to them again.
        busy: Left alone because somebody is making them right now.
    """

    things: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    waiting: int = 0
    restored: int = 0
    busy: int = 0

    def count(self, kind: Kind, stored: Stored) -> None:
        self.things[kind] += 1
        self.bytes[kind] += stored.frames_bytes if kind == "frames" else stored.bytes

    @property
    def document(self) -> dict[str, Any]:
        found = sorted(kind for kind, number in self.things.items() if number)
        kinds = {kind: {"things": self.things[kind], "bytes": self.bytes[kind]} for kind in found}
        others = {"waiting": self.waiting, "restored": self.restored, "busy": self.busy}
        return {"kinds": kinds, "bytes": self.bytes.total(), **others}


@dataclass(frozen=True)
class Retention:
    """One pass over a tenant's storage.

    Attributes:
        clock: Tells the time; the storage's own times are compared with it.
    """

    storage: Storage
    ledger: Ledger
    rules: RetentionRules
    lease_s: float = 15.0
    clock: Clock = utc_now

    def plan(self) -> Removed:
        """What would go now. Nothing is changed."""
        removed, judge, counted = Removed(), self._judge(), set[str]()
        for stored in self._all_in_sight():
            if (kind := judge.expired(stored)) is not None:
                removed.count(kind, stored)
                counted.add(stored.digest)
        for condemned in all_condemned(self.storage):
            if condemned.digest not in counted:
                removed.count(condemned.kind, condemned.stored)
        return removed

    def run(self) -> Removed:
        """Remove it. Killed at any moment, the next pass goes on; nothing that is half gone counts as there.

        Raises:
            LeaseBusyError: Another one is at it.
        """
        removed = Removed()
        with self._alone():
            judge = self._judge()
            for stored in self._all_in_sight():
                self._let_go(judge, stored, removed)
            self._settle(removed)
        return removed

    def _judge(self) -> Judge:
        now = self.clock()
        return Judge(read_holds(self.ledger, self.storage.tenant, self.rules, now), self.rules, now.timestamp())

    def _all_in_sight(self) -> Iterator[Stored]:
        """All but outputs whose manifest was taken away by an earlier pass; what has a note and is there counts."""
        condemned = frozenset(condemned_digests(self.storage))
        found = chain(stored_outputs(self.storage), stored_assets(self.storage))
        return (each for each in found if each.digest not in condemned or each.finished)

    def _let_go(self, judge: Judge, stored: Stored, removed: Removed) -> None:
        kind = judge.expired(stored)
        if kind is None:
            return
        with self._held(stored) as ours:
            if not ours or look_again(self.storage, stored) != stored:  # it is being made, or was made anew
                removed.busy += 1
            elif kind == "frames":
                self._release(stored, removed)
            else:
                condemn(self.storage, stored, kind, self.clock().timestamp())

    def _release(self, stored: Stored, removed: Removed) -> None:
        try:
            release_frames(OutputPlace(self.storage, stored.digest))
        except OutputIncompleteError:  # damaged: whoever wants it makes it again
            return
        removed.count("frames", stored)

    def _settle(self, removed: Removed) -> None:
        """Bury what was taken out of sight, by what the ledger says now; it may have been found just before."""
        if not condemned_digests(self.storage):
            return
        judge = self._judge()
        for condemned in all_condemned(self.storage):
            with self._held(condemned.stored) as ours:
                if ours:
                    self._decide(judge, condemned, removed)
                else:
                    removed.busy += 1

    def _decide(self, judge: Judge, condemned: Condemned, removed: Removed) -> None:
        if judge.expired(last_touched(self.storage, condemned)) in (None, "frames"):
            restore(self.storage, condemned)
            removed.restored += 1
        elif self._may_be_in_hand(judge.holds, condemned):
            removed.waiting += 1
        else:
            bury(self.storage, condemned)
            removed.count(condemned.kind, condemned.stored)

    @staticmethod
    def _may_be_in_hand(holds: Holds, condemned: Condemned) -> bool:
        """Whether a run is at work that began before it was out of sight."""
        oldest = holds.oldest_open_run
        return oldest is not None and oldest.timestamp() <= condemned.at + HIDING_S

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with held(self.ledger.lease(self.storage.tenant, LEASE, ttl_s=self.lease_s)) as ours:
            if not ours:
                raise LeaseBusyError("another upkeep is removing what is not needed; let it finish", key=LEASE)
            yield

    @contextmanager
    def _held(self, stored: Stored) -> Iterator[bool]:
        """Whether it is ours to change while the block runs: an output that is being made is not."""
        if not stored.is_output:
            yield True
            return
        with held(self.ledger.lease(self.storage.tenant, stored.digest, ttl_s=self.lease_s)) as ours:
            yield ours
