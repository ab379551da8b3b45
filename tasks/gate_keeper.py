"""The gates of one run: rows of items that come at the same time are decided together."""

import threading
from dataclasses import dataclass, field
from typing import Any

from expectations.decisions import Decision
from expectations.gate import Gate
from expectations.measures import measures_table
from expectations.micro_batches import MicroBatcher
from expectations.suites import Suite

MOST = 64  # rows of a micro-batch
WAIT_S = 0.05  # for rows of other items: those of a run's threads come together or not at all


@dataclass
class GateKeeper:
    """The gates of one run. Rows of items that come at the same time are decided together."""

    threads: int = 1
    _batchers: dict[str, MicroBatcher] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def decide(self, suite: Suite, row: dict[str, Any]) -> Decision:
        """What a suite says of one row.

        Raises:
            GateError: It could not be evaluated.
        """
        with self._lock:
            batcher = self._batchers.setdefault(
                suite.model_dump_json(), MicroBatcher(Gate(suite), most=min(MOST, max(1, self.threads)), wait_s=WAIT_S)
            )
        return batcher.decide(measures_table([row]))

    def close(self) -> None:
        """Decide what waits, then end."""
        with self._lock:
            for batcher in self._batchers.values():
                batcher.close()
            self._batchers.clear()
