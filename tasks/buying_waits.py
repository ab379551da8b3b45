"""How long an item waits before it asks for a purchase again, and when it gives up."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from datasets.ledger import OpenUntil
from model_blocks.adapters.waiting import Retries
from tasks.buying_ends import away, busy

if TYPE_CHECKING:
    from tasks.buying import PaidService

LOOK_S = 0.2  # how often a waiting item looks whether the run is being stopped
PROBE_S = 1.0  # between two looks whether the one call that tries the service has come back
PAUSES = Retries()  # how the pauses of an item grow from one failure to the next


@dataclass(frozen=True)
class Again:
    """Claim it again.

    Attributes:
        wait_s: Not before that many seconds.
        why: For whoever reads that it took too long.
        charged: A request may have been charged.
        failed: A request failed, so a pause of our own comes on top.
        busy: Another process is at it; that has an end of its own.
    """

    wait_s: float
    why: str
    charged: bool = False
    failed: bool = False
    busy: bool = False


class Patience:
    """One item's waiting, measured from its first failure on."""

    def __init__(self, service: "PaidService", refuse_if_stopping: Callable[[], None]) -> None:
        self._service, self._clock = service, service.clock
        self._name = service.adapter.declaration.name
        self._refuse_if_stopping = refuse_if_stopping
        self._since: float | None = None
        self._failures = 0

    def wait(self, again: Again) -> None:
        """Wait until it may be claimed again.

        Raises:
            NotDeliveredError: That would take longer than the terms say.
            RunStoppedError: The run is being stopped.
        """
        self._failures += again.failed
        pause_s = PAUSES.pause_s(self._failures, self._clock.chance()) if again.failed else 0.0
        self._sleep(again, again.wait_s + pause_s)
        while (
            not again.busy and (found := self._service.circuit.look(self._name)) is not None and not fails_here(found)
        ):
            self._sleep(again, PROBE_S if found.probing else seconds_to(found.at, self._clock.now()))

    def _sleep(self, again: Again, seconds: float) -> None:
        now = self._clock.monotonic()
        self._since = now if self._since is None else self._since
        if now + seconds > self._since + self._longest_s(again):
            if again.busy:
                raise busy(self._name, again.why)
            raise away(self._name, self._clock.now() + timedelta(seconds=seconds), again.why, charged=again.charged)
        while (rest := now + seconds - self._clock.monotonic()) > 0:
            self._refuse_if_stopping()
            self._clock.sleep(min(rest, LOOK_S))

    def _longest_s(self, again: Again) -> float:
        """A call that lives comes back before its deadline; one that died is found out after its lease."""
        terms = self._service.terms
        more_s = self._service.adapter.declaration.deadline_s + terms.lease_s if again.busy else 0.0
        return terms.patience_s + more_s


def fails_here(found: OpenUntil) -> bool:
    """Whether a service is left alone because of this machine, and no call is trying just now."""
    return found.kind == "local" and not found.probing


def seconds_to(moment: datetime | None, now: datetime) -> float:
    """Seconds until a moment, 0 if it has passed."""
    return 0.0 if moment is None else max(0.0, (moment - now).total_seconds())
