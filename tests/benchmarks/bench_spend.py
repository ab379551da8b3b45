"""``make bench-spend``: what killed ``hero`` runs pay twice and lose, beside a loop that keeps answers after calls.

Each kind of service has a shop of its own and is killed as often as it says; half of the kills fall between an intent
and its settlement. Sums are in US dollars, and of what is unknown after the service's own list was compared.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from deployments.api_server import attach_or_start, environment, wait_until_ready
from tests.services.hero_books import Count, charges_of, requests_of
from tests.services.hero_runs import LOOK_S, STRATEGIES, WORK_S, Campaign, end_group, kill_runs, sleep_beside
from tests.services.hero_shop import save_products
from tests.services.paid_process import ROOT, serve_apart
from tests.services.paid_service import Rules

START_S = 0.5  # of the loop's process
MICRO = 1_000_000  # of a US dollar
NAIVE = "cache-after-call"


def run(kills: int = 50, items: int = 100, strategies: tuple[str, ...] = tuple(STRATEGIES)) -> list[str]:
    """Print, and return, a line for each way; a cores' number of them at once."""
    begun = time.monotonic()
    print(f"{items} items, {kills} kills each; ledger and service in USD", flush=True)
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name,
        ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool,
    ):
        folder = Path(name)
        server = _server(folder) if strategies else {}
        made = [pool.submit(partial(_hero, one, folder, items, kills, server)) for one in strategies]
        made.append(pool.submit(partial(_naive, folder / NAIVE, items, kills)))
        lines = []
        for line in made:
            lines.append(line.result())
            print(lines[-1], flush=True)
    print(f"took {time.monotonic() - begun:.0f} s")
    return lines


def _server(folder: Path) -> dict[str, str]:
    """A Prefect API for all commands; it ends soon after this process."""
    server = attach_or_start(folder / "prefect", idle_s=5)
    wait_until_ready(server, timeout_s=90)
    return environment(server)


def _hero(strategy: str, folder: Path, items: int, kills: int, server: Mapping[str, str]) -> str:
    done = kill_runs(strategy, folder / strategy, items=items, kills=kills, seed=len(strategy), environment=server)
    return _line(f"hero, {strategy}", done)


def _line(name: str, done: Campaign) -> str:
    found = done.count
    return (
        f"{name:<18}kills={done.kills} between={done.between} sent={done.sent} delivered={found.delivered} "
        f"paid_twice={found.paid_twice} lost={found.lost} unknown={found.unknown} "
        f"ledger={found.ledger / MICRO:.3f} service={found.service / MICRO:.3f}"
    )


def _naive(folder: Path, items: int, kills: int) -> str:
    """The loop, killed as often. Its books are its answers: each stands for one price."""
    answers = folder / "answers"
    answers.mkdir(parents=True)
    photos = save_products(folder / "in", items)
    rules = Rules(work_s=WORK_S)
    with serve_apart(folder / "service", rules) as service:
        loop = _Loop(service.url, answers, photos, folder / "service" / "paid_service.db")
        between = _kill_loop(loop, kills, random.Random(len(NAIVE)))
        assert loop.start().wait(timeout=600) == 0
        charges = charges_of(loop.books)
    kept = len(list(answers.iterdir()))
    found = Count(
        delivered=kept,
        paid_twice=len(charges) - len({charge.digest for charge in charges}),
        lost=items - kept,
        unknown=0,
        ledger=kept * rules.price_micro_usd,
        service=sum(charge.micro_usd for charge in charges),
    )
    return _line(NAIVE, Campaign(NAIVE, items, kills, between, between, found))


@dataclass(frozen=True)
class _Loop:
    url: str
    answers: Path
    photos: tuple[Path, ...]
    books: Path

    def start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "tests.benchmarks.cache_after_call", self.url, str(self.answers)]
        return subprocess.Popen([*command, *map(str, self.photos)], cwd=ROOT, start_new_session=True)

    @property
    def asked(self) -> int:
        """Requests that it has no answer of."""
        return requests_of(self.books) - len(list(self.answers.iterdir()))


def _kill_loop(loop: _Loop, kills: int, chance: random.Random) -> int:
    """Kill it, half of the times as soon as it waits for an answer; returns how often it did wait."""
    between = 0
    for number in range(kills):
        before, running = loop.asked, loop.start()
        while number % 2 and loop.asked == before and running.poll() is None:
            time.sleep(LOOK_S)
        sleep_beside(chance.uniform(0, WORK_S if number % 2 else START_S + WORK_S), running)
        end_group(running)
        between += loop.asked > before
    return between


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="of each way")
    parser.add_argument("--items", type=int, default=100, help="for each way")
    given = parser.parse_args()
    from tests.benchmarks.__main__ import machine  # with all libraries, which the workers here do not need

    print(machine())
    run(given.kills, given.items)


if __name__ == "__main__":
    main()
