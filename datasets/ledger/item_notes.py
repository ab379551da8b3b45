"""What became of items, gathered in memory and written many items at a time.

An item's facts are handed over together, when it is through, and written in one transaction with those of others:
a killed process leaves an item's facts whole or not at all. What it had made is in the store, where the next run finds
it.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self

from datasets.errors import StorageUnavailableError
from datasets.ledger.catalogue_rows import CatalogueChange, CatalogueState, CatalogueTouch
from datasets.ledger.lineage_rows import LineageRow
from datasets.ledger.records import ErrorRecord, ItemRecord, OutputRecord, RunRecord, StageRecord

if TYPE_CHECKING:
    from datasets.ledger.engine import Ledger
    from datasets.ledger.session import LedgerSession

LOG = logging.getLogger("stillmotion")
AT_ONCE = 128  # items in one transaction at most
WAIT_S = 0.5  # longest that a finished item waits to be written
PATIENCE_S = 180.0  # how long a database may be away
PAUSE_S = 1.0  # between two tries


@dataclass
class ItemNotes:
    """The facts of one item that are not in the ledger yet. Takes what a ``LedgerSession`` takes of an item's way.

    Attributes:
        run: The row of the item's run.
        known: Finds the records of files with these digests that the ledger has already.
    """

    run: RunRecord
    known: Callable[[Sequence[str]], list[LineageRow]]
    item: ItemRecord | None = None
    stages: list[StageRecord] = field(default_factory=list)
    inputs: list[tuple[str, Sequence[tuple[str, str]]]] = field(default_factory=list)
    outputs: list[OutputRecord] = field(default_factory=list)
    errors: list[ErrorRecord] = field(default_factory=list)
    lineage: list[LineageRow] = field(default_factory=list)
    state: CatalogueState | None = None
    touch: CatalogueTouch | None = None
    changes: list[CatalogueChange] = field(default_factory=list)

    def find_run(self, name: str) -> RunRecord:
        assert name == self.run.run_id
        return self.run

    def record_stage(self, stage: StageRecord) -> None:
        self.stages.append(stage)

    def record_inputs(self, fingerprint: str, inputs: Sequence[tuple[str, str]]) -> None:
        self.inputs.append((fingerprint, inputs))

    def record_output(self, output: OutputRecord) -> None:
        self.outputs.append(output)

    def record_error(self, error: ErrorRecord) -> None:
        self.errors.append(error)

    def record_lineages(self, rows: Sequence[LineageRow]) -> list[LineageRow]:
        """Note the records of published files; for those of a core that is known, the known one counts.

        Returns:
            The records that count, in order.
        """
        known = {(row.sha256, row.core): row for row in self.known([row.sha256 for row in rows])}
        self.lineage.extend(row for row in rows if (row.sha256, row.core) not in known)
        return [known.get((row.sha256, row.core), row) for row in rows]


class NotesWriter:
    """Writes notes from one thread. Leaving the block waits until all of them are in the ledger.

    Attributes:
        transactions: How many there were.
    """

    def __init__(self, ledger: "Ledger", tenant: str, catalogue: str, run_id: str) -> None:
        self._ledger, self._tenant, self._catalogue, self._run_id = ledger, tenant, catalogue, run_id
        self._waiting: queue.Queue[ItemNotes | None] = queue.Queue(maxsize=4 * AT_ONCE)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._write_all, name="ledger-notes", daemon=True)
        self.transactions = 0

    def add(self, notes: ItemNotes) -> None:
        """Hand an item's facts over; waits while too many are waiting to be written.

        Raises:
            StorageUnavailableError: The ledger was away for too long.
        """
        while True:
            self._refuse_if_failed()
            try:
                self._waiting.put(notes, timeout=1.0)
            except queue.Full:
                continue
            return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._thread.is_alive():
            try:
                self._waiting.put(None, timeout=1.0)
                break
            except queue.Full:
                continue
        self._thread.join()
        if error is None:
            self._refuse_if_failed()

    def _refuse_if_failed(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _write_all(self) -> None:
        try:
            while (batch := self._next()) is not None:
                self._write_patiently(batch)
        except Exception as error:
            self._failure = error

    def _next(self) -> list[ItemNotes] | None:
        """Notes for one transaction: all that come within a moment of the first. None at the end."""
        first = self._waiting.get()
        if first is None:
            return None
        batch, until = [first], time.monotonic() + WAIT_S
        while len(batch) < AT_ONCE:
            try:
                notes = self._waiting.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if notes is None:
                self._waiting.put(None)
                break
            batch.append(notes)
        return batch

    def _write_patiently(self, batch: list[ItemNotes]) -> None:
        give_up = time.monotonic() + PATIENCE_S
        while True:
            try:
                with self._ledger.session(self._tenant) as session:
                    self._write(session, batch)
            except StorageUnavailableError as error:
                if time.monotonic() > give_up:
                    raise
                LOG.warning("the ledger cannot be written, %d items wait: %s", len(batch), error)
                time.sleep(PAUSE_S)
            else:
                self.transactions += 1
                return

    def _write(self, session: "LedgerSession", batch: list[ItemNotes]) -> None:
        session.save_notes(batch)
        session.save_catalogue_states([notes.state for notes in batch if notes.state is not None])
        touches = [notes.touch for notes in batch if notes.touch is not None]
        session.touch_catalogue_states(self._catalogue, self._run_id, touches)
        session.save_catalogue_changes([change for notes in batch for change in notes.changes])
