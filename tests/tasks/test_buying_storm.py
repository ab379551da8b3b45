"""A service that is down for minutes, with many items waiting: it is left alone, and all are delivered afterwards."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

import pytest

from tests.services.paid_books import Books
from tests.services.paid_service import Core, Rules
from tests.tasks.buying import FastClock, Shop, shop

SCALE = 60.0  # a storm of five minutes takes five seconds
STORM_S = 300.0
ITEMS = 20


@dataclass
class Storm(Core):
    """A service that refuses everything for a while. ``begins`` counts requests that are served before.

    Attributes:
        says_s: What ``Retry-After`` asks for; None for what is left of the storm.
        refusals: When a request was refused and until when nobody may come, both in real seconds since 1970.
    """

    begins: int = 0
    says_s: float | None = None
    ends: float | None = None
    refusals: list[tuple[float, float]] = field(default_factory=list)
    seen: list[float] = field(default_factory=list)

    def next_fault(self) -> dict[str, Any]:
        with self.lock:
            now = time.time()
            self.seen.append(now)
            if len(self.seen) <= self.begins:
                return {"kind": "ok"}
            if self.ends is None:
                self.ends = now + STORM_S / SCALE
            if now >= self.ends:
                return {"kind": "ok"}
            asked = ceil((self.ends - now) * SCALE) if self.says_s is None else self.says_s
            self.refusals.append((now, now + asked / SCALE))
            return {"kind": "unavailable", "retry_after": asked}

    def early(self, on_their_way_s: float) -> list[float]:
        """Requests before a ``Retry-After`` had passed, but for those that were on their way when it was said."""
        return [at for at in self.seen for said, until in self.refusals if said + on_their_way_s < at < until]


def weather(opened: Shop) -> None:
    """Twenty items at once; all of them are bought."""
    with ThreadPoolExecutor(ITEMS) as threads:
        states = [one.state for one in threads.map(lambda number: opened.buy(f"item-{number}"), range(ITEMS))]
    assert states == ["settled"] * ITEMS
    assert opened.totals["charges"] == ITEMS
    assert set(opened.totals["by_key"].values()) == {1}


@pytest.mark.parametrize(
    "says_s",
    [
        pytest.param(None, id="until the end"),
        pytest.param(60, id="a minute", marks=pytest.mark.slow),
        pytest.param(15, id="a quarter", marks=pytest.mark.slow),
    ],
)
def test_a_storm_of_five_minutes_is_waited_out(tmp_path: Path, says_s: float | None) -> None:
    storm = Storm(Rules(), Books(tmp_path / "service"), says_s=says_s)
    with shop(tmp_path, core=storm, clock=FastClock(SCALE), calls=ITEMS, deadline_s=SCALE * 3) as opened:
        weather(opened)
    assert storm.refusals
    assert storm.early(on_their_way_s=0.0) == []
    assert len(storm.seen) <= 1.2 * ITEMS


@pytest.mark.slow
def test_a_storm_in_the_middle_meets_only_what_was_on_its_way(tmp_path: Path) -> None:
    calls = 4
    storm = Storm(Rules(work_s=0.1), Books(tmp_path / "service"), begins=9)
    with shop(tmp_path, core=storm, clock=FastClock(SCALE), calls=calls, deadline_s=SCALE * 3) as opened:
        weather(opened)
    first = storm.refusals[0][0]
    assert len(storm.refusals) <= calls
    assert storm.early(on_their_way_s=0.5) == []
    assert all(said < first + 0.5 for said, _ in storm.refusals)
    assert len(storm.seen) <= ITEMS + calls


def test_another_process_leaves_the_service_alone_too(tmp_path: Path) -> None:
    storm = Storm(Rules(), Books(tmp_path / "service"))
    with shop(tmp_path, core=storm, clock=FastClock(SCALE), deadline_s=SCALE * 3) as opened:
        other = opened.elsewhere()
        with ThreadPoolExecutor(2) as threads:
            first = threads.submit(opened.buy, "cup")
            while not storm.refusals:
                time.sleep(0.01)
            time.sleep(0.2)
            second = threads.submit(other.buy, "jug")
            assert {first.result().state, second.result().state} == {"settled"}
    assert storm.early(on_their_way_s=0.0) == []
    assert len(storm.seen) == 3
