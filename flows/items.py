"""One item's way through a recipe. Items fail apart from each other: whatever happens to one stays with it."""

import traceback
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from datasets.assets import asset_path
from datasets.errors import OutputDamagedError, OutputIncompleteError, PipelineError, StorageUnavailableError
from datasets.ledger import ErrorRecord, OutputRecord
from datasets.outputs import OutputPlace
from datasets.storage import write_atomically
from flows.recipes import INTAKE, SINKS, Recipe, Step
from flows.summary import Delivered, ItemResult, Reason
from tasks.compose import ComposeConfig, compose
from tasks.context import RunStoppedError, current_run
from tasks.cutout import CutoutConfig, cutout
from tasks.encoding import Published, read_published
from tasks.grade import GradeConfig, prepare_grade
from tasks.intake import intake
from tasks.local import LocalStage, local_stage
from tasks.publish import PublishConfig, publish, published
from tasks.stage import Picture, StageOutcome, WouldComputeError, skip_stage
from tasks.thumbnails import ThumbnailsConfig, published_thumbnails, thumbnails
from tasks.upscale import UpscaleConfig, UpscaleStage

DAMAGED = (OutputDamagedError, OutputIncompleteError)
MOST_REPAIRS = 8  # ways through the recipe in which something stored turned out damaged; then the disk is to blame


class _Journey:
    """The state of one item on its way."""

    def __init__(self, item: str, source: str, recipe: Recipe, out: Path) -> None:
        self.item, self.source, self.recipe, self.out = item, source, recipe, out
        self.pictures: dict[str, Picture] = {}
        self.stages: list[StageOutcome] = []
        self.delivered: list[Delivered] = []
        self.at = INTAKE

    def keep(self, name: str, outcome: StageOutcome) -> None:
        self.pictures[name] = outcome.picture
        self.stages.append(outcome)


def process_item(item: str, source: str, recipe: Recipe, out: Path) -> ItemResult:
    """Take one photograph through a recipe. Stored bytes that turn out to be damaged on the way are made again.

    Returns:
        What became of it; errors become reasons and are kept in the ledger.
    """
    for _ in range(MOST_REPAIRS):
        journey = _Journey(item, source, recipe, out)
        try:
            return _travel(journey)
        except DAMAGED as error:
            _forget(error)
            current_run().progress.again(item, len(journey.stages))
    return _failed(journey, Reason.of_error(_storage_error(item)))


def _travel(journey: _Journey) -> ItemResult:
    """All steps, one after the other.

    Raises:
        OutputDamagedError, OutputIncompleteError: Something in the store is gone, or is not what was written.
        RunStoppedError: The run was interrupted on the way; nothing is known about the item.
    """
    try:
        journey.keep(INTAKE, intake(journey.item, journey.source))
        for group in grouped(journey.recipe):
            journey.at = group[-1].config.stage_name
            _run_group(journey, group)
    except (*DAMAGED, RunStoppedError):
        raise
    except PipelineError as error:
        return _failed(journey, Reason.of_error(error))
    except Exception as error:
        message = (
            f"{journey.at} ended in an unexpected {type(error).__name__}: {error}; "
            "`stillmotion show RUN --json` holds the details, please report them"
        )
        facts: dict[str, object] = {"type": type(error).__name__, "traceback": traceback.format_exc()}
        return _failed(journey, Reason("unexpected", message, facts, "error"))
    return _result(journey, "delivered")


def _forget(error: OutputDamagedError | OutputIncompleteError) -> None:
    """Remove the damaged thing from the store, so that the next way through finds it missing and makes it again."""
    run = current_run()
    if "digest" in error.facts:
        run.storage.remove_tree(asset_path(str(error.facts["digest"])))
    if "fingerprint" in error.facts:
        fingerprint = str(error.facts["fingerprint"])
        lease = run.ledger.lease(run.storage.tenant, fingerprint, ttl_s=run.settings.lease_s)
        if lease.try_acquire():  # else somebody is making it again already
            try:
                OutputPlace(run.storage, fingerprint).discard()
            finally:
                lease.release()


def _storage_error(item: str) -> PipelineError:
    """What is said when the store damages whatever is written to it."""
    return StorageUnavailableError(
        f"what was stored for {item} was damaged again and again; check the disk below the storage root", item=item
    )


def plan_item(item: str, source: str, recipe: Recipe, out: Path) -> ItemResult:
    """What of an item's way is in the store already, and which stages would be computed."""
    journey = _Journey(item, source, recipe, out)
    groups = grouped(recipe)
    names = [INTAKE, *("+".join(step.config.stage_name for step in group) for group in groups)]
    try:
        journey.keep(INTAKE, intake(item, source))
        for group in groups:
            _run_group(journey, group)
    except WouldComputeError:
        missing = ", ".join(names[len(journey.stages) :])
        reason = Reason("would_compute", f"Would be computed: {missing}.", {"stages": missing}, "plan")
        return _result(journey, "planned", reason)
    except PipelineError as error:
        return _result(journey, "failed", Reason.of_error(error), INTAKE)
    return _result(journey, "planned", Reason("unchanged", "Everything is in the store already.", {}, "plan"))


def grouped(recipe: Recipe) -> list[tuple[Step, ...]]:
    """The steps in order, neighbouring chunk-local ones together where only the last one's picture is needed."""
    groups: list[tuple[Step, ...]] = []
    for step in recipe.steps:
        previous = groups[-1][-1] if groups else None
        if previous is not None and _fuses(recipe, previous, step):
            groups[-1] = (*groups[-1], step)
        else:
            groups.append((step,))
    return groups


def _fuses(recipe: Recipe, first: Step, second: Step) -> bool:
    """Whether the second step can work on the chunk the first one made, before anything is written."""
    chunk_local = isinstance(first.config, UpscaleConfig | GradeConfig) and isinstance(
        second.config, UpscaleConfig | GradeConfig
    )
    measured = isinstance(second.config, GradeConfig) and second.config.needs_statistics
    alone = second.source == first.name and recipe.consumers(first.name) == 1
    return chunk_local and alone and not measured and second.config.when is None and not recipe.keep


def _run_group(journey: _Journey, group: tuple[Step, ...]) -> None:
    first, last = group[0], group[-1]
    source = journey.pictures[first.source]
    reason = first.config.when.reason_to_skip(source.facts) if first.config.when else None
    if reason is not None:
        journey.keep(first.name, skip_stage(journey.item, first.config.stage_name, source, reason))
        if len(group) > 1:
            _run_group(journey, group[1:])
        return
    journey.keep(last.name, _run_steps(journey, group, source))
    if isinstance(last.config, SINKS) and not current_run().dry:
        _deliver(journey, last, journey.stages[-1])


def _run_steps(journey: _Journey, group: tuple[Step, ...], source: Picture) -> StageOutcome:
    config = group[0].config
    match config:
        case CutoutConfig():
            return cutout(journey.item, source, config)
        case ComposeConfig():
            return compose(journey.item, source, config)
        case PublishConfig():
            return publish(journey.item, source, config)
        case ThumbnailsConfig():
            return thumbnails(journey.item, source, config)
        case _:
            return local_stage(journey.item, source, [_local(step, source) for step in group])


def _local(step: Step, source: Picture) -> LocalStage:
    if isinstance(step.config, UpscaleConfig):
        return UpscaleStage(step.config, current_run().models["upscale"])
    assert isinstance(step.config, GradeConfig)
    return prepare_grade(step.config, source)


def _deliver(journey: _Journey, step: Step, outcome: StageOutcome) -> None:
    """Put the files where the user wants them and note them in the ledger."""
    run = current_run()
    if isinstance(step.config, ThumbnailsConfig):
        files: Sequence[Published] = published_thumbnails(outcome, step.config)
    else:
        files = [published(outcome, step.role)]
    number = f"-{step.number}" if step.number > 1 else ""
    for file in files:
        extension = file.stored.rsplit(".", 1)[1]
        path = journey.out / f"{journey.item}-{file.role}{number}{file.suffix}.{extension}"
        data = read_published(OutputPlace(run.storage, file.fingerprint), file)
        _put(path, data)
        journey.delivered.append(Delivered(path, file))
    with run.ledger.session(run.storage.tenant) as session:
        for delivered in journey.delivered[-len(files) :]:
            session.record_output(_output_record(run.run_id, journey.item, delivered))


def _put(path: Path, data: bytes) -> None:
    """Write a delivered file unless it is there already.

    Raises:
        StorageUnavailableError: The folder does not take it.
    """
    try:
        if not path.is_file() or path.read_bytes() != data:
            write_atomically(path, data)
    except OSError as error:
        raise StorageUnavailableError(
            f"could not write {path}: {error.strerror}; check space and rights, then run the same command again",
            path=str(path),
        ) from error


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
        extra={"stored": file.stored},
    )


def _failed(journey: _Journey, reason: Reason) -> ItemResult:
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
    with run.ledger.session(run.storage.tenant) as session:
        session.record_error(error)
    run.progress.dropped(journey.item, len(grouped(journey.recipe)) + 1 - len(journey.stages))
    return _result(journey, "failed", reason, journey.at)


def _result(journey: _Journey, status: str, reason: Reason | None = None, failed_at: str | None = None) -> ItemResult:
    warnings = [Reason.of_notice(notice) for stage in journey.stages for notice in stage.notices]
    asset = journey.pictures[INTAKE].facts.get("asset") if INTAKE in journey.pictures else None
    return ItemResult(
        item=journey.item,
        source=journey.source,
        status=status,
        asset=str(asset) if asset else None,
        reasons=((reason,) if reason else ()) + tuple(warnings),
        outputs=tuple(journey.delivered),
        stages=tuple(journey.stages),
        failed_at=failed_at,
    )
