"""One row of a catalogue: looked at first, and taken through the recipe only if something about it has changed."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from datasets.catalogue import BadRow, CatalogueRow, RowReason
from datasets.errors import PipelineError
from datasets.ledger import CatalogueChange, CatalogueState, CatalogueTouch, ItemNotes, ItemRecord, RunRecord
from datasets.outputs import MANIFEST, OutputPlace
from datasets.storage import Storage
from flows.catalogue_identity import RowRecipes, RowRefusedError, item_of, row_identity, sku_key
from flows.catalogue_pictures import Arrived, Pictures, shown
from flows.catalogue_tally import FAILED, RowEnd
from flows.items import process_item
from flows.recipes import INTAKE, Recipe
from flows.summary import Delivered, ItemResult, Reason
from tasks.batch_stages import Batch, BatchItem, working_on
from tasks.context import RunContext
from tasks.intake import UnreadableError
from tasks.ops.photo_errors import IntakeError, IntakeTimeoutError

FOLDER = "pictures"  # below the run's own, for what is delivered
AGAIN_S = (1.0, 3.0, 10.0, 30.0)  # pauses before an item is tried again whose storage or ledger was away
PASSING = ("storage_unavailable", "worker_lost")
KEPT = ("added", "changed", "recovered")  # what an unfinished run found and did not come to tell
NO_PRODUCT = ("sku_", "control_characters")  # what is wrong with a row of which no product can be told


@dataclass(frozen=True)
class Looked:
    """What looking at a row came to.

    Attributes:
        kind: ``same``: delivered as it is; ``settled``: it would fail again as it did; ``work``: to be done;
            ``failed``: it cannot be begun.
    """

    kind: Literal["same", "settled", "work", "failed"]
    arrived: Arrived | None = None
    recipe: Recipe | None = None
    identity: str | None = None
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True)
class Rows:
    """Looks at rows and works on them; the same for all threads of a run.

    Attributes:
        last_run: The catalogue's last whole run.
    """

    run: RunContext
    record: RunRecord
    catalogue: str
    out: Path
    recipes: RowRecipes
    pictures: Pictures
    last_run: str | None = None

    def look(self, row: CatalogueRow, state: CatalogueState | None) -> Looked:
        """Ask for the picture and say whether anything has changed since it was delivered."""
        try:
            recipe = self.recipes.of_row(row)
            if self.run.dry and (state is None or state.asset is None):
                return Looked("work", recipe=recipe)
            arrived = self.pictures.arrive(row, state)
            identity = row_identity(arrived.asset, self.recipes.identity_of(row))
            kind = self._kind(state, identity)
            if kind == "work" and not self.run.dry and not self.pictures.is_kept(arrived.asset):
                arrived = self.pictures.arrive(row, state, whole=True)
                identity = row_identity(arrived.asset, self.recipes.identity_of(row))
        except RowRefusedError as error:
            return Looked("failed", reasons=(refused(error.reason),))
        except PipelineError as error:
            return Looked("failed", reasons=(Reason.of_error(error),))
        return Looked(kind, arrived, recipe, identity)

    def _kind(self, state: CatalogueState | None, identity: str) -> Literal["same", "settled", "work"]:
        if state is None or state.identity != identity:
            return "work"
        if state.status == FAILED:
            return "settled" if state.settled else "work"
        delivered = state.status == "delivered" and all(self._is_there(each) for each in state.outputs)
        return "same" if delivered and state.outputs else "work"

    def _is_there(self, output: Mapping[str, object]) -> bool:
        """Whether a delivered file lies where this run would put it, untouched, and the store still has its output."""
        path = Path(str(output["path"]))
        try:
            facts = path.stat()
        except OSError:
            return False
        if path.parent != self.out or (facts.st_size, facts.st_mtime_ns) != (output["bytes"], output["mtime_ns"]):
            return False
        return _has_manifest(self.run.storage, str(output["fingerprint"]))

    def leave(self, row: CatalogueRow, state: CatalogueState, looked: Looked, notes: ItemNotes) -> RowEnd:
        """Note that a row is as it was."""
        arrived = looked.arrived
        assert arrived is not None
        change = self._unchanged(state) if looked.kind == "same" else FAILED
        notes.touch = CatalogueTouch(
            sku_key=state.sku_key,
            sku=row.sku,
            line=row.line,
            image=row.image,
            fetched_url=arrived.fetched_url,
            etag=arrived.etag,
            last_modified=arrived.last_modified,
            change=change,
        )
        end = RowEnd(row.line, row.sku, state.status, change, state.reasons)
        return self._told(end, notes, state.sku_key)

    def _unchanged(self, state: CatalogueState) -> str:
        """Compared with the last whole run: what one that was killed had found still counts."""
        if state.retired_at is not None:
            return "added"
        unfinished = state.run_id != self.last_run and state.change in KEPT
        return state.change if unfinished else "unchanged"

    def work(
        self, row: CatalogueRow, state: CatalogueState | None, looked: Looked, batch: Batch, notes: ItemNotes
    ) -> RowEnd:
        """Take a row through its recipe, again after a while if storage or ledger were away.

        Raises:
            RunStoppedError: The run is being stopped; nothing is known about the row.
        """
        begun = time.perf_counter()
        arrived, recipe = looked.arrived, looked.recipe
        if arrived is None or recipe is None:
            return self._failed_before(row, state, looked, notes)
        item = state.item if state is not None else item_of(row.sku)
        with working_on(BatchItem(batch, notes)):
            for pause in (*AGAIN_S, None):
                result = process_item(item, shown(row.image), recipe, self.out, kept=arrived.asset)
                passing = result.status == FAILED and any(each.code in PASSING for each in result.reasons)
                if not passing or pause is None or self.run.stopping.wait(pause):
                    break
        self.run.refuse_if_stopping()
        now = self._state(row, state, looked, result, item)
        notes.item = _item(self.record.run_id, row, item, result)
        notes.state = now
        end = RowEnd(row.line, row.sku, now.status, now.change, now.reasons, worked=True,
                     seconds=time.perf_counter() - begun, result=result)  # fmt: skip
        return self._told(end, notes, now.sku_key)

    def _state(
        self, row: CatalogueRow, before: CatalogueState | None, looked: Looked, result: ItemResult, item: str
    ) -> CatalogueState:
        arrived = looked.arrived
        assert arrived is not None
        delivered = result.status == "delivered"
        settled = result.status == FAILED and result.failed_at == INTAKE and _comes_again(result)
        outputs = [_output(each) for each in result.outputs] if delivered else list(before.outputs if before else [])
        return CatalogueState(
            catalogue=self.catalogue,
            sku_key=sku_key(row.sku),
            sku=row.sku,
            item=item,
            line=row.line,
            image=row.image,
            status=result.status,
            change=self._change(before, result.status, outputs),
            run_id=self.record.run_id,
            changed_at=datetime.now(UTC),
            fetched_url=arrived.fetched_url,
            etag=arrived.etag,
            last_modified=arrived.last_modified,
            asset=arrived.asset,
            identity=looked.identity if delivered or settled else None,
            settled=settled,
            reasons=[reason.to_json() for reason in result.reasons],
            outputs=outputs,
        )

    def _change(self, before: CatalogueState | None, status: str, outputs: Sequence[Mapping[str, object]]) -> str:
        if status != "delivered":
            return status
        if before is None or before.retired_at is not None:
            return "added"
        if before.status == FAILED:
            return "recovered"
        if not before.outputs:
            return "added"
        same = [each["sha256"] for each in outputs] == [each["sha256"] for each in before.outputs]
        return self._unchanged(before) if same else "changed"

    def _failed_before(
        self, row: CatalogueRow, state: CatalogueState | None, looked: Looked, notes: ItemNotes
    ) -> RowEnd:
        """A row whose picture did not come: what was delivered of it before stays."""
        reasons = [reason.to_json() for reason in looked.reasons]
        notes.state = self._failing(row.sku, row.line, row.image, state, reasons)
        item = ItemResult(notes.state.item, shown(row.image), FAILED, reasons=looked.reasons, failed_at="fetch")
        notes.item = _item(self.record.run_id, row, item.item, item)
        return self._told(RowEnd(row.line, row.sku, FAILED, FAILED, reasons, worked=True), notes, notes.state.sku_key)

    def _failing(
        self, sku: str, line: int, image: str, state: CatalogueState | None, reasons: list[dict[str, object]]
    ) -> CatalogueState:
        known = state or CatalogueState(
            self.catalogue, sku_key(sku), sku, item_of(sku), line, image, FAILED, FAILED, "", datetime.now(UTC)
        )
        return replace(
            known, sku=sku, line=line, image=image, status=FAILED, change=FAILED, settled=False, reasons=reasons,
            run_id=self.record.run_id, retired_at=None,
        )  # fmt: skip

    def refuse(self, row: BadRow, state: CatalogueState | None, notes: ItemNotes) -> RowEnd:
        """A row of the table that cannot be used. A product that has such a row has not retired."""
        reasons = [refused(reason).to_json() for reason in row.reasons]
        if names_product(row.sku, [reason.code for reason in row.reasons]):
            assert row.sku is not None
            notes.state = self._failing(row.sku, row.line, state.image if state else "", state, reasons)
        key = sku_key(row.sku) if row.sku else ""
        return self._told(RowEnd(row.line, row.sku, FAILED, FAILED, reasons), notes, key)

    def _told(self, end: RowEnd, notes: ItemNotes, key: str) -> RowEnd:
        if end.change != "unchanged":
            reasons = [dict(reason) for reason in end.reasons]
            notes.changes.append(
                CatalogueChange(self.record.run_id, end.line, key, end.sku, end.change, end.status, reasons)
            )
        return end


def names_product(sku: str | None, codes: Sequence[str]) -> bool:
    """Whether a refused row is a product's own row, rather than one of no or another product."""
    return bool(sku) and not any(code.startswith(NO_PRODUCT) for code in codes)


def _has_manifest(storage: Storage, fingerprint: str) -> bool:
    relative = OutputPlace(storage, fingerprint).inside(MANIFEST)
    path = storage.local_path(relative)
    return path.is_file() if path is not None else storage.exists(relative)


def refused(reason: RowReason) -> Reason:
    """A table's reason as a run tells it."""
    return Reason(reason.code, reason.message, dict(reason.facts), "error")


_BY_CONTENT: tuple[type[PipelineError], ...] = (IntakeError, *IntakeError.__subclasses__(), UnreadableError)
SETTLED = {kind.code for kind in _BY_CONTENT} - {IntakeTimeoutError.code}


def _comes_again(result: ItemResult) -> bool:
    """Whether the same picture would fail for the same reason."""
    return any(reason.level == "error" and reason.code in SETTLED for reason in result.reasons)


def _output(each: Delivered) -> dict[str, object]:
    return {**each.to_json(), "mtime_ns": each.path.stat().st_mtime_ns}


def _item(run_id: str, row: CatalogueRow, item: str, result: ItemResult) -> ItemRecord:
    return ItemRecord(
        run_id=run_id,
        item=item,
        position=row.line,
        source=shown(row.image),
        asset_digest=result.asset,
        status=result.status,
        reasons=[reason.to_json() for reason in result.reasons],
        percent=100.0 if result.status == "delivered" else None,
    )
