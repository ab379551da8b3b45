"""``hero`` runs that are killed again and again, and what is left of the money then."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from tests.services.hero_books import Count, OnItsWay, charges_of, count, decided, on_its_way, requests_of, states
from tests.services.hero_shop import Shop, open_shop
from tests.services.paid_service import Rules

WORK_S = 0.3  # of the service on one picture, before it charges: what most kills fall into
LOOK_S = 0.005  # between two looks at the ledger
Wait = Callable[["subprocess.Popen[bytes]", OnItsWay], None]
STRATEGIES = {  # what the service offers, by what a run can do about an unknown outcome
    "keys": Rules(keys=True, work_s=WORK_S),
    "look-up": Rules(look_up=True, settle_s=0.5, work_s=WORK_S),
    "hold": Rules(work_s=WORK_S),
}


@dataclass(frozen=True)
class Campaign:
    """What was done to a shop, and what came of it.

    Attributes:
        strategy: One of ``STRATEGIES``.
        kills: How often the command was killed.
        between: How often the ledger then knew of a purchase between its intent and its settlement.
        sent: How often one of them was sent.
        count: Both sides' books in the end.
    """

    strategy: str
    items: int
    kills: int
    between: int
    sent: int
    count: Count


def kill_runs(
    strategy: str, folder: Path, *, items: int, kills: int, seed: int, environment: Mapping[str, str] | None = None
) -> Campaign:
    """Take a shop's items through ``hero`` with a service of that kind, kill the command, and let it end at last.

    At least half of the kills fall between an intent and its settlement; the others come at any time.

    Args:
        folder: Of this campaign alone.
        kills: At least so many.
        seed: Of the moments.
        environment: Of the command, on top of this process's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open_shop(folder, items, STRATEGIES[strategy], environment) as shop:
        killer = _Killer(shop, kills, random.Random(seed))
        killer.go()
        shop.run()
        paid = len(charges_of(shop.books))
        became = shop.run()
        assert len(charges_of(shop.books)) == paid, "a finished run bought something"
        assert len(became) == items
        return Campaign(strategy, items, killer.done.kills, killer.done.between, killer.done.sent, count(shop, became))


@dataclass(frozen=True)
class _Done:
    kills: int = 0
    between: int = 0
    sent: int = 0


class _Killer:
    """Kills a shop's command at moments that leave something to buy for the kills to come."""

    def __init__(self, shop: Shop, kills: int, chance: random.Random) -> None:
        self._shop, self._kills, self._chance = shop, kills, chance
        self._reach_s = 10.0  # until a run buys something; measured then
        self._at_service = cycle((True, False))
        self.done = _Done()

    def go(self) -> None:
        """Kill until there were enough, and enough of both kinds."""
        wanted = (self._kills + 1) // 2
        while self.done.kills < self._kills or self.done.between < wanted:
            by_chance = self.done.kills - self.done.between < self._kills // 2
            if by_chance and self._chance.random() < 0.5:
                self._kill(self._any_moment)
            else:
                self._kill(self._while_buying)

    def _kill(self, wait: Wait) -> None:
        before = on_its_way(self._shop.ledger)
        begun = time.monotonic()
        running = self._shop.start()
        try:
            wait(running, before)
            ended = running.poll() is not None
        finally:
            end_group(running)
        if ended:  # before its moment came, so that was no kill
            self._shop.check(running.returncode)
            self._reach_s = (time.monotonic() - begun) / 2
            return
        found = states(on_its_way(self._shop.ledger) - before)
        self.done = _Done(self.done.kills + 1, self.done.between + bool(found), self.done.sent + ("sent" in found))

    def _any_moment(self, running: "subprocess.Popen[bytes]", before: OnItsWay) -> None:
        with_purchases = self._reach_s + 4 * WORK_S
        sleep_beside(self._chance.uniform(0, with_purchases), running)

    def _while_buying(self, running: "subprocess.Popen[bytes]", before: OnItsWay) -> None:
        """As soon as there is an intent, or while the service works on what it was sent."""
        ledger, books = self._shop.ledger, self._shop.books
        begun, asked, seen, at_service = time.monotonic(), requests_of(books), False, next(self._at_service)
        until = decided(ledger) + self._chance.randint(0, self._affordable())
        while running.poll() is None:
            if on_its_way(ledger) - before:
                if not seen:
                    seen, self._reach_s = True, time.monotonic() - begun
                if decided(ledger) >= until and (not at_service or requests_of(books) > asked):
                    break
                if decided(ledger) < until:  # a later request is meant
                    asked = requests_of(books)
            time.sleep(LOOK_S)
        assert seen, f"nothing was left to buy after {self.done}"
        sleep_beside(self._chance.uniform(0, WORK_S) if at_service else 0.0, running)

    def _affordable(self) -> int:
        """How many purchases may end before this kill, so that enough are left for the others."""
        left = len(self._shop.photos) - decided(self._shop.ledger)
        return max(0, left // (self._kills - self.done.kills + 1) - 2)


def sleep_beside(seconds: float, running: "subprocess.Popen[bytes]") -> None:
    """Wait, or until it ended by itself."""
    end = time.monotonic() + seconds
    while running.poll() is None and (left := end - time.monotonic()) > 0:
        time.sleep(min(left, LOOK_S))


def end_group(running: "subprocess.Popen[bytes]") -> None:
    """The whole group, as a machine that loses power."""
    if running.poll() is None:
        os.killpg(running.pid, signal.SIGKILL)
    running.wait()
