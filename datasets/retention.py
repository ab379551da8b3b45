"""What is kept and what may go: what something still holds on to is kept; the rest goes after a number of days.

Everything that is stored is named by a sha256, so holding on is a graph: an output holds what it was made of.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

LONGEST_DAYS = 36_500  # a century
Kind = Literal["frames", "steps", "outputs", "originals", "assets"]


class RetentionRules(BaseModel):
    """Days by kind; empty keeps a kind for ever. What is still held on to is kept however old it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    frames_days: int | None = Field(
        default=14,
        ge=1,
        le=LONGEST_DAYS,
        description="Pixels of steps on the way, since they were last used; facts and files of the step stay.",
    )
    steps_days: int | None = Field(
        default=30,
        ge=1,
        le=LONGEST_DAYS,
        description="Steps that led to nothing delivered (failed, stopped, interrupted), since they were last used.",
    )
    outputs_days: int | None = Field(
        default=365,
        ge=1,
        le=LONGEST_DAYS,
        description="How long a run holds on to what it delivered, after its end; live catalogue rows do for ever.",
    )
    originals_days: int | None = Field(
        default=90, ge=1, le=LONGEST_DAYS, description="Photographs and clips that nothing was kept of."
    )
    assets_days: int | None = Field(
        default=90, ge=1, le=LONGEST_DAYS, description="Other files that nothing kept was made with: masks, LUTs, ..."
    )
    quarantine_days: int | None = Field(
        default=30,
        ge=1,
        le=LONGEST_DAYS,
        description="What a guardrail stopped, after somebody released it; until then it is always kept.",
    )
    events_days: int | None = Field(
        default=90, ge=1, le=LONGEST_DAYS, description="Events about runs that their sink has taken."
    )
    reports_days: int | None = Field(
        default=90, ge=1, le=LONGEST_DAYS, description="Pictures and tables of runs shown in the Prefect UI."
    )
    grace_hours: int = Field(
        default=24, ge=1, le=8760, description="What was written or used within this time is never removed."
    )

    def days(self, kind: "Kind") -> int | None:
        """How long a kind is kept; None: for ever."""
        return dict[Kind, int | None](
            frames=self.frames_days,
            steps=self.steps_days,
            outputs=self.outputs_days,
            originals=self.originals_days,
            assets=self.assets_days,
        )[kind]


@dataclass(frozen=True)
class Holds:
    """What holds on to what, as the ledger knows it at one moment.

    Attributes:
        roots: Digests that are held by themselves: what runs delivered, answers that were paid, what is in quarantine.
        whole: Those of them that are held with their pixels: what is being worked on, or waits to go on.
        edges: What every output was made of, by its fingerprint.
        used: When outputs were last asked for, seconds since the epoch.
        delivered: Outputs that were ever delivered.
        originals: Assets that are somebody's photograph or clip.
        oldest_open_run: When the first of the runs that are not at their end began; None if all are.
    """

    roots: frozenset[str] = frozenset()
    whole: frozenset[str] = frozenset()
    edges: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    used: Mapping[str, float] = field(default_factory=dict)
    delivered: frozenset[str] = frozenset()
    originals: frozenset[str] = frozenset()
    oldest_open_run: datetime | None = None

    @cached_property
    def reached(self) -> frozenset[str]:
        """Everything that is held, directly or by what is made of it."""
        return reachable(self.roots | self.whole, self.edges)

    @cached_property
    def reached_whole(self) -> frozenset[str]:
        """The same with its pixels."""
        return reachable(self.whole, self.edges)

    @cached_property
    def used_in(self) -> Mapping[str, float]:
        """When something that was made of it was last asked for, by digest."""
        latest: dict[str, float] = {}
        for made, sources in self.edges.items():
            at = self.used.get(made, 0.0)
            for source in sources:
                latest[source] = max(at, latest.get(source, 0.0))
        return latest


def reachable(roots: Iterable[str], edges: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    """The roots and all that can be reached from them."""
    reached, waiting = set[str](), list(roots)
    while waiting:
        digest = waiting.pop()
        if digest not in reached:
            reached.add(digest)
            waiting += edges.get(digest, ())
    return frozenset(reached)


@dataclass(frozen=True)
class Stored:
    """An output or an asset as it lies in the storage.

    Attributes:
        modified: When any part of it was last written, seconds since the epoch.
        frames_bytes: Of an output, the part of ``bytes`` that is pixels.
        finished: Of an output, whether it has its manifest.
    """

    digest: str
    bytes: int
    modified: float
    is_output: bool
    frames_bytes: int = 0
    finished: bool = True


@dataclass(frozen=True)
class Judge:
    """Says of what is stored whether its time is over.

    Attributes:
        now: Seconds since the epoch.
    """

    holds: Holds
    rules: RetentionRules
    now: float

    def expired(self, stored: Stored) -> Kind | None:
        """As what kind it is to go, ``frames`` if only its pixels are; None if it is to stay."""
        last = self._last_use(stored)
        if last > self.now - timedelta(hours=self.rules.grace_hours).total_seconds():
            return None
        if stored.digest not in self.holds.reached:
            kind = self._kind(stored)
            if self._is_over(kind, last):
                return kind
        held_whole = stored.digest in self.holds.reached_whole
        if stored.frames_bytes and stored.finished and not held_whole and self._is_over("frames", last):
            return "frames"
        return None

    def _last_use(self, stored: Stored) -> float:
        used = self.holds.used if stored.is_output else self.holds.used_in
        return max(stored.modified, used.get(stored.digest, 0.0))

    def _kind(self, stored: Stored) -> Kind:
        if stored.is_output:
            return "outputs" if stored.digest in self.holds.delivered else "steps"
        return "originals" if stored.digest in self.holds.originals else "assets"

    def _is_over(self, kind: Kind, last: float) -> bool:
        days = self.rules.days(kind)
        return days is not None and last <= self.now - timedelta(days=days).total_seconds()
