"""What the ways of photographs and clips through their recipes have in common: ends, repairs, deliveries."""

import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from datasets.assets import asset_path, copy_asset
from datasets.errors import OutputDamagedError, OutputIncompleteError, PipelineError, StorageUnavailableError
from datasets.identity import digest_file
from datasets.ledger import ErrorRecord, OutputRecord
from datasets.ledger.leases import held
from datasets.outputs import OutputPlace, StoredFile, read_manifest
from datasets.storage import part_name
from flows.fallback import hand_over, taken_over
from flows.journey_state import Journey
from flows.provenance import chain_to, keep_recipe_files, put_beside, record_deliveries
from flows.recipes import Step
from flows.signing import signed
from flows.summary import Delivered, ItemResult, Reason
from tasks.batch_stages import books_of_item
from tasks.context import RunStoppedError, current_run
from tasks.encoding import Published
from tasks.ends import NotDeliveredError
from tasks.local_failures import is_local

DAMAGED = (OutputDamagedError, OutputIncompleteError)
MOST_REPAIRS = 8  # ways through the recipe in which something stored turned out damaged; then the disk is to blame


def repaired(begin: Callable[[], Journey], travel: Callable[[Journey], ItemResult]) -> ItemResult:
    """Take an item through its recipe. Stored bytes that turn out to be damaged on the way are made again."""
    for _ in range(MOST_REPAIRS):
        journey = begin()
        try:
            return travel(journey)
        except DAMAGED as error:
            forget(error, journey)
            current_run().progress.again(journey.item, len(journey.stages))
    return failed(journey, Reason.of_error(_storage_error(journey.item)))


def guarded(journey: Journey, steps: Callable[[], None]) -> ItemResult:
    """Go through all steps; whatever happens stays with the item.

    Raises:
        OutputDamagedError, OutputIncompleteError: Something in the store is gone, or is not what was written.
        RunStoppedError: The run was interrupted on the way; nothing is known about the item.
    """
    try:
        steps()
    except (*DAMAGED, RunStoppedError):
        raise
    except NotDeliveredError as end:
        return ended(journey, end)
    except PipelineError as error:
        hand_over(journey, error)
        tell_circuit(error)
        return failed(journey, Reason.of_error(error))
    except Exception as error:
        tell_circuit(error)
        message = (
            f"{journey.at} ended in an unexpected {type(error).__name__}: {error}; "
            "`stillmotion show RUN --json` holds the details, please report them"
        )
        facts: dict[str, object] = {"type": type(error).__name__, "traceback": traceback.format_exc()}
        return failed(journey, Reason("unexpected", message, facts, "error"))
    return result(journey, "delivered")


def tell_circuit(error: Exception) -> None:
    """If this machine is what failed, and the run has a paid service: buy nothing more once that piles up."""
    run = current_run()
    if run.service is not None and is_local(error) and not run.stopping.is_set():
        run.service.circuit.failed_here(run.service.adapter.declaration.name)


def forget(error: OutputDamagedError | OutputIncompleteError, journey: Journey) -> None:
    """Remove the damaged thing from the store, so that the next way through finds it missing and makes it again.

    So do those before it whose pixels were let go of: else every way through would only meet the next of them.
    """
    run = current_run()
    if "digest" in error.facts:
        run.storage.remove_tree(asset_path(str(error.facts["digest"])))
    if "fingerprint" in error.facts:
        damaged = str(error.facts["fingerprint"])
        discard(damaged)
        for key in chain_to(damaged, journey.keys()):
            if key.fingerprint != damaged and _has_no_pixels(OutputPlace(run.storage, key.fingerprint)):
                discard(key.fingerprint)


def _has_no_pixels(place: OutputPlace) -> bool:
    try:
        return read_manifest(place).frames is None
    except OutputIncompleteError:
        return False


def discard(fingerprint: str) -> None:
    """Remove an output, unless somebody is making it right now."""
    with output_held(fingerprint) as ours:
        if ours:
            OutputPlace(current_run().storage, fingerprint).discard()


@contextmanager
def output_held(fingerprint: str) -> Iterator[bool]:
    """Whether the output is ours to change while the block runs; not if somebody is making it right now."""
    run = current_run()
    with held(run.ledger.lease(run.storage.tenant, fingerprint, ttl_s=run.settings.lease_s)) as ours:
        yield ours


def _storage_error(item: str) -> PipelineError:
    """What is said when the store damages whatever is written to it."""
    return StorageUnavailableError(
        f"what was stored for {item} was damaged again and again; check the disk below the storage root", item=item
    )


def deliver(journey: Journey, step: Step, files: Sequence[Published]) -> None:
    """Put files where the user wants them and note them in the ledger."""
    run = current_run()
    number = f"-{step.number}" if step.number > 1 else ""
    put: list[Delivered] = []
    for file in files:
        extension = file.stored.rsplit(".", 1)[1]
        path = journey.out / f"{journey.item}-{file.role}{number}{file.suffix}.{extension}"
        final = signed(journey, file)
        _put(OutputPlace(run.storage, file.fingerprint), final, path)
        put.append(Delivered(path, final))
    journey.delivered.extend(put)
    kept = keep_recipe_files(run.storage, journey.stage_configs)
    with books_of_item() as session:
        for delivered in put:
            session.record_output(_output_record(run.run_id, journey.item, delivered))
        records = record_deliveries(session, journey, step, put, kept)
    put_beside(put, records)


def _put(place: OutputPlace, file: Published, path: Path) -> None:
    """Write a delivered file unless it is there already; a reader sees all of it or nothing.

    Raises:
        StorageUnavailableError: The folder does not take it.
        OutputDamagedError: What is stored is not what was made.
    """
    part = path.with_name(part_name())
    try:
        if path.is_file() and path.stat().st_size == file.bytes and digest_file(path) == file.sha256:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.unsigned_sha256 is None:
            place.copy_file(file.stored, StoredFile(file.sha256, file.bytes), part)
        else:
            copy_asset(place.storage, file.sha256, part)
        part.replace(path)
    except OSError as error:
        raise StorageUnavailableError(
            f"could not write {path}: {error.strerror}; check space and rights, then run the same command again",
            path=str(path),
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _output_record(run_id: str, item: str, delivered: Delivered) -> OutputRecord:
    file = delivered.file
    return OutputRecord(
        run_id=run_id,
        item=item,
        role=file.role,
        path=str(delivered.path),
        sha256=file.sha256,
        bytes=file.bytes,
        width=file.width,
        height=file.height,
        format=file.format,
        fingerprint=file.fingerprint,
        extra={"stored": file.stored, **file.extra},
    )


def failed(journey: Journey, reason: Reason) -> ItemResult:
    """The end of an item that failed: kept in the ledger, the rest of its stages will not come."""
    run = current_run()
    run.refuse_if_stopping()
    error = ErrorRecord(
        error_id=str(uuid.uuid4()),
        run_id=run.run_id,
        item=journey.item,
        stage=journey.at,
        code=reason.code,
        message=reason.message,
        facts=reason.facts,
        at=datetime.now(UTC),
    )
    with books_of_item() as session:
        session.record_error(error)
    run.progress.dropped(journey.item, journey.expected - len(journey.stages))
    return result(journey, "failed", reason, failed_at=journey.at)


def ended(journey: Journey, end: NotDeliveredError) -> ItemResult:
    """The end of an item on purpose: stopped, deferred or held. The rest of its stages will not come."""
    run = current_run()
    run.refuse_if_stopping()
    run.progress.dropped(journey.item, journey.expected - len(journey.stages))
    return result(journey, end.status, *Reason.of_end(end))


def result(journey: Journey, status: str, *reasons: Reason, failed_at: str | None = None) -> ItemResult:
    """What became of an item, with everything its owner should know, said once."""
    told: dict[tuple[str, str], Reason] = {}
    for stage in journey.stages:
        for notice in stage.notices:
            told.setdefault((notice.code, notice.message), Reason.of_notice(notice))
    for warning in (*journey.warnings, *taken_over()):
        told.setdefault((warning.code, warning.message), warning)
    return ItemResult(
        item=journey.item,
        source=journey.source,
        status=status,
        asset=journey.asset,
        reasons=(*reasons, *told.values()),
        outputs=tuple(journey.delivered),
        stages=tuple(journey.stages),
        failed_at=failed_at,
    )
