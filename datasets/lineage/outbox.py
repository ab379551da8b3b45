"""Empties the outbox: events that were left with the facts go to the sink, at least once each.

A sink that is away costs a run nothing but the deadline; its events stay and go out with the next run or an upkeep.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from datasets.errors import PipelineError
from datasets.ledger import Ledger
from datasets.ledger.leases import held
from datasets.ledger.lineage_rows import OutboxRow
from datasets.lineage.events import render
from datasets.lineage.sinks import EventRefusedError, FileSink, HttpSink, Send, SinkAwayError
from datasets.settings import Settings
from datasets.storage import Storage

LOG = logging.getLogger("stillmotion")
LEASE = "lineage-outbox"
BATCH = 64
DEADLINE_S = 2.0  # that a run's end waits for the sink at most
BUSY = "another process is telling them"
TIME_OVER = "the time was over"


@dataclass(frozen=True)
class Drained:
    """What came of it: events that the sink took, events that it refused, why it was left before the end."""

    delivered: int = 0
    refused: int = 0
    error: str | None = None


def drain(ledger: Ledger, storage: Storage, settings: Settings, *, deadline_s: float = DEADLINE_S) -> Drained:
    """Tell the sink of the tenant's events that it has not taken yet, until none is left or the time is over.

    Args:
        ledger: Where the outbox is.
        storage: The tenant's; holds the file of events where no service is set.
        settings: Whether a service is set (``STILLMOTION_LINEAGE_URL``).
        deadline_s: After which no further event is sent; also how long the service may take to answer.
    """
    with held(ledger.lease(storage.tenant, LEASE)) as ours:
        if not ours:
            return Drained(error=BUSY)
        return _drain(ledger, storage, settings, time.monotonic() + deadline_s, deadline_s)


def _drain(ledger: Ledger, storage: Storage, settings: Settings, end: float, timeout_s: float) -> Drained:
    sink = HttpSink(settings.lineage_url) if settings.lineage_url else FileSink(storage)
    delivered = refused = after = 0
    with sink.opened(timeout_s) as send:
        while events := _waiting(ledger, storage.tenant, after):
            for event in events:
                if time.monotonic() > end:
                    return Drained(delivered, refused, TIME_OVER)
                try:
                    taken = _tell(ledger, storage.tenant, event, send)
                except SinkAwayError as error:
                    return Drained(delivered, refused, error.message)
                delivered, refused, after = delivered + taken, refused + (not taken), event.position
    return Drained(delivered, refused)


def _waiting(ledger: Ledger, tenant: str, after: int) -> list[OutboxRow]:
    with ledger.session(tenant, read_only=True) as session:
        return session.waiting_events(BATCH, after=after)


def _tell(ledger: Ledger, tenant: str, event: OutboxRow, send: Send) -> bool:
    """Send one event and note what came of it; False if the sink does not want it.

    Raises:
        SinkAwayError: The sink takes none now; that is noted, too.
    """
    try:
        send(event.event_id, _line(event, tenant))
    except (SinkAwayError, EventRefusedError) as error:
        with ledger.session(tenant) as session:
            session.mark_undelivered(event.event_id, error.message)
        if isinstance(error, SinkAwayError):
            raise
        return False
    with ledger.session(tenant) as session:
        session.mark_delivered(event.event_id)
    return True


def _line(event: OutboxRow, tenant: str) -> str:
    try:
        return render(event.event, tenant)
    except (KeyError, TypeError, ValueError) as error:  # a caller's facets have fields that OpenLineage does not know
        raise EventRefusedError(f"the event cannot be written as OpenLineage: {error}") from error


@contextmanager
def draining(ledger: Ledger, storage: Storage, settings: Settings) -> Iterator[None]:
    """Empty the outbox beside the block; at its end what is left of the deadline is waited for, and no longer."""
    end = time.monotonic() + DEADLINE_S
    thread = threading.Thread(target=_drain_quietly, args=(ledger, storage, settings), name="outbox", daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(max(0.0, end - time.monotonic()))


def _drain_quietly(ledger: Ledger, storage: Storage, settings: Settings) -> None:
    try:
        told = drain(ledger, storage, settings)
    except PipelineError as error:
        LOG.info("events about runs were not told: %s", error)
        return
    if told.error:
        LOG.info("events about runs wait in the ledger: %s", told.error)
