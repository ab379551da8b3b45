"""Signs of life: one thread per ledger keeps the leases and runs of this process from being taken for dead."""

import logging
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from sqlalchemy.exc import SQLAlchemyError

from datasets.errors import PipelineError

if TYPE_CHECKING:
    from datasets.ledger.engine import Ledger

LOGGER = logging.getLogger(__name__)


class Pulse(Protocol):
    """Something that must be heard of every so often."""

    @property
    def every_s(self) -> float:
        """Seconds between two beats."""

    def beat(self) -> None:
        """Write a sign of life."""


class Heart:
    """Beats for every pulse that was added, from one thread that begins with the first and sleeps while none is due."""

    def __init__(self) -> None:
        self._due: dict[Pulse, float] = {}  # time.monotonic() of each pulse's next beat
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, pulse: Pulse) -> None:
        """Beat for it from now on; one with a shorter period than the others wakes the thread in time."""
        with self._changed:
            self._due[pulse] = time.monotonic() + pulse.every_s
            if self._thread is None or not self._thread.is_alive():  # none yet, stopped, or left behind by a fork
                self._thread = threading.Thread(target=self._run, name="ledger-heart", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def remove(self, pulse: Pulse) -> None:
        with self._changed:
            self._due.pop(pulse, None)

    def stop(self) -> None:
        """Beat for nothing any more; the next ``add`` begins with a new thread."""
        with self._changed:
            self._due.clear()
            self._thread = None
            self._changed.notify_all()

    def _run(self) -> None:
        while (due := self._wait_until_due()) is not None:
            for pulse in due:
                _beat(pulse)

    def _wait_until_due(self) -> list[Pulse] | None:
        """The pulses whose time has come; None once this thread is not the one any more."""
        with self._changed:
            while self._thread is threading.current_thread():
                now = time.monotonic()
                due = [pulse for pulse, moment in self._due.items() if moment <= now]
                if due:
                    self._due.update({pulse: now + pulse.every_s for pulse in due})
                    return due
                first = min(self._due.values(), default=None)
                self._changed.wait(None if first is None else first - now)
            return None


def _beat(pulse: Pulse) -> None:
    try:
        pulse.beat()
    # A database that is locked or away now may be there at the next beat.
    except (PipelineError, SQLAlchemyError) as error:
        LOGGER.info("a sign of life could not be written: %s", error)


class RunHeart:
    """While the block runs, the run's ``heartbeat_at`` follows the clock.

    Args:
        ledger: Where the run is kept.
        tenant: Whose run it is.
        run_id: The run, begun already.
        every_s: Seconds between two beats; well below the silence after which other hosts take a run for dead.
    """

    def __init__(self, ledger: "Ledger", tenant: str, run_id: str, every_s: float = 10.0) -> None:
        self._ledger = ledger
        self._tenant = tenant
        self._run_id = run_id
        self.every_s = every_s

    def beat(self) -> None:
        """Write one sign of life."""
        with self._ledger.session(self._tenant) as session:
            session.beat(self._run_id)

    def __enter__(self) -> "RunHeart":
        self._ledger.heart.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ledger.heart.remove(self)
