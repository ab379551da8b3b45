"""The life of one stage output: named by its fingerprint, taken from the store if it is there, made once if not.

Two runs that want the same output at the same time: the first holds the lease, the second waits and takes the result.
"""

import itertools
import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property

from datasets.errors import PipelineError
from datasets.frames import FrameReader
from datasets.identity import fingerprint
from datasets.ledger import Lease, StageRecord
from datasets.notices import Notice
from datasets.outputs import FramesEntry, Manifest, OutputPlace, StoredFile, clear_damage, find_output
from model_blocks.choice import ModelRef
from tasks.batch_stages import batched, books_of_item, task_run_of_item
from tasks.context import RunContext, current_run
from tasks.ends import NotDeliveredError
from tasks.executor import peak_memory_bytes
from tasks.growing import Growing
from tasks.model_faults import blaming

_POSITIONS = itertools.count()  # keeps stages of one instant in their order
LOG = logging.getLogger("stillmotion")
WAIT_S = 0.1  # how often a waiting run looks whether the other one has finished


@dataclass(frozen=True)
class StageKey:
    """Everything that decides an output, and nothing else.

    Attributes:
        stage: Name of the stage.
        version: Raised whenever the same input would give other bytes.
        parameters: The stage's configuration as plain values.
        inputs: Kind and digest of every input: an asset's sha256, another output's fingerprint, a file's sha256.
        models: The models it runs.
        libraries: Versions of libraries and encoders that decide the bytes.
        fused: Keys of the stages that the same pass does before this one, first to last. Their outputs are never
            written; they stand in ``inputs`` as fingerprints, so they are not part of this key's identity again.
    """

    stage: str
    version: int
    parameters: Mapping[str, object]
    inputs: tuple[tuple[str, str], ...]
    models: tuple[ModelRef, ...] = ()
    libraries: Mapping[str, str] = field(default_factory=dict)
    fused: tuple["StageKey", ...] = ()

    @property
    def label(self) -> str:
        """How the stage is shown: ``upscale``, or ``upscale+grade`` for a fused pass."""
        return "+".join(key.stage for key in (*self.fused, self))

    @property
    def all_models(self) -> tuple[ModelRef, ...]:
        return tuple(model for key in (*self.fused, self) for model in key.models)

    @property
    def edges(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """The lineage of this output and of those fused into it: fingerprint, and kind and digest of every input."""
        return [
            (key.fingerprint, [*key.inputs, *(("weights", m.weights) for m in key.models if m.weights)])
            for key in (*self.fused, self)
        ]

    @cached_property  # looking up the versions of a model's libraries takes milliseconds
    def fingerprint(self) -> str:
        return fingerprint(
            {
                "stage": self.stage,
                "version": self.version,
                "parameters": self.parameters,
                "inputs": [list(entry) for entry in self.inputs],
                "models": [model.identity for model in self.models],
                "libraries": self.libraries,
            }
        )


@dataclass(frozen=True)
class StageWork:
    """What computing a stage came to, before its manifest is written.

    Attributes:
        frames: The frames written into the output's place; None if it holds none.
        same_as: Fingerprint of an earlier output whose frames stand for this one's, if the stage changed nothing.
        files: Files written into the output's place.
        facts: Facts for later stages; they add to those of the input.
    """

    frames: FramesEntry | None = None
    same_as: str | None = None
    files: Mapping[str, StoredFile] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()
    chunks: int = 1
    peak_bytes: int = 0


@dataclass(frozen=True)
class Picture:
    """A reference to the picture at some point of a recipe; never its pixels.

    Attributes:
        fingerprint: Of the stage output.
        frames: Fingerprint of the output whose frames hold the pixels.
        facts: Everything known so far: width, height, alpha, object_found, ...
    """

    fingerprint: str
    frames: str
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class StageOutcome:
    """What one stage came to for one item."""

    item: str
    stage: str
    picture: Picture
    files: Mapping[str, StoredFile]
    notices: tuple[Notice, ...]
    cached: bool
    seconds: float
    chunks: int
    peak_bytes: int
    models: tuple[ModelRef, ...] = ()
    skipped: str | None = None
    key: StageKey | None = None

    @property
    def model(self) -> str | None:
        return model_label(self.models)


def model_label(models: Sequence[ModelRef]) -> str | None:
    """How models of a stage are shown; None where there are none."""
    return " + ".join(model.label for model in models) or None


Compute = Callable[[OutputPlace], StageWork]


def run_stage(item: str, key: StageKey, source: Picture | None, compute: Compute) -> StageOutcome:
    """The output of a stage: from the store, from another run that is making it right now, or made here.

    Args:
        item: Whose output it is, for progress and ledger; not part of the identity.
        key: What decides the output.
        source: The picture it works on, whose facts it inherits.
        compute: Writes the output into its place and says what it wrote; called again only if the lease was lost.
    """
    run = current_run()
    place = OutputPlace(run.storage, key.fingerprint)
    if run.dry:
        return _look_up(item, key, source, place)
    run.refuse_if_stopping()
    begun, started_at = run.began.pop((item, place.fingerprint), (time.perf_counter(), datetime.now(UTC)))
    run.progress.started(item, key.label)
    level = logging.DEBUG if batched() else logging.INFO  # a catalogue's lines are its batches
    LOG.log(level, "%s: %s begins", item, key.label)
    try:
        with blaming([model.name for model in key.all_models]):
            manifest, work = _obtain(run, place, key, compute)
    except PipelineError as error:
        run.refuse_if_stopping()  # what fails while everything is being taken down says nothing about the item
        seconds = time.perf_counter() - begun
        _record_failure(run, item, key, error, seconds, started_at)
        if isinstance(error, NotDeliveredError):
            LOG.info("%s: %s ends after %.2f s, %s: %s [%s]", item, key.label, seconds, error.status, error, error.code)
        else:
            LOG.error("%s: %s failed after %.2f s: %s [%s]", item, key.label, seconds, error, error.code)  # noqa: TRY400
        raise
    outcome = _outcome(item, key, source, manifest, work, time.perf_counter() - begun)
    record_stage(run, outcome, key, started_at)
    how = "was in the store" if outcome.cached else f"took {outcome.seconds:.2f} s for {outcome.chunks} chunks"
    LOG.log(level, "%s: %s %s", item, key.label, how)
    run.progress.finished(item, key.label, seconds=outcome.seconds, cached=outcome.cached, skipped=None)
    return outcome


def begin_stage(item: str, key: StageKey, source: Growing, begin: Callable[[OutputPlace], None]) -> None:
    """Do of a stage what can be done while its source is still being made; the stage itself goes on behind it.

    Whatever goes wrong is left to the stage, which will meet it again.

    Args:
        source: What it works on. If that turns out not to be what was promised, the caller discards the output.
        begin: Writes what is ready into the output's place until its source is over.
    """
    run = current_run()
    place = OutputPlace(run.storage, key.fingerprint)
    lease = run.ledger.lease(run.storage.tenant, place.fingerprint, ttl_s=run.settings.lease_s)
    try:
        if find_output(place) is None and lease.try_acquire():
            try:
                clear_damage(place)
                if source.begun() is not None:
                    run.began[item, place.fingerprint] = begun, at = time.perf_counter(), datetime.now(UTC)
                    run.progress.started(item, key.label)
                    begin(place)
                    run.began[item, place.fingerprint] = begun + source.waited_s, at  # waiting is no work
            finally:
                lease.release()
    except Exception as error:
        LOG.debug("%s: %s did not go on before its source was done: %s", item, key.label, error)


class WouldComputeError(PipelineError):
    """In a dry run: the output is not in the store, so everything from here on would be computed."""

    code = "would_compute"


def _look_up(item: str, key: StageKey, source: Picture | None, place: OutputPlace) -> StageOutcome:
    manifest = find_output(place)
    if manifest is None:
        raise WouldComputeError(f"{key.label} would be computed", stage=key.label)
    return _outcome(item, key, source, manifest, None, 0.0)


def _obtain(run: RunContext, place: OutputPlace, key: StageKey, compute: Compute) -> tuple[Manifest, StageWork | None]:
    manifest = find_output(place)
    lease = run.ledger.lease(run.storage.tenant, place.fingerprint, ttl_s=run.settings.lease_s)
    while manifest is None:
        if lease.try_acquire():
            try:
                made = _make(place, key, compute, lease)
            finally:
                lease.release(later=batched())
            if made is not None:
                return made
        else:
            time.sleep(WAIT_S)
            run.refuse_if_stopping()
        manifest = find_output(place)
    return manifest, None


def _make(
    place: OutputPlace, key: StageKey, compute: Compute, lease: Lease
) -> tuple[Manifest, StageWork | None] | None:
    """Compute the output under its lease; None if another run took the lease over meanwhile and will finish it."""
    manifest = find_output(place)
    if manifest is not None:  # finished between the look and the lease
        return manifest, None
    clear_damage(place)
    work = compute(place)
    return None if lease.lost else (_finish(place, key, work), work)


def _finish(place: OutputPlace, key: StageKey, work: StageWork) -> Manifest:
    place.sweep()
    facts = dict(work.facts) | ({"same_as": work.same_as} if work.same_as else {})
    return place.finish(
        Manifest(
            fingerprint=place.fingerprint,
            stage=key.label,
            objects=place.stored_objects(),
            frames=work.frames,
            files=dict(work.files),
            facts=facts,
            notices=work.notices,
        )
    )


def _outcome(
    item: str, key: StageKey, source: Picture | None, manifest: Manifest, work: StageWork | None, seconds: float
) -> StageOutcome:
    same_as = manifest.facts.get("same_as")
    inherited = dict(source.facts) if source else {}
    facts = {name: value for name, value in manifest.facts.items() if name != "same_as"}
    return StageOutcome(
        item=item,
        stage=key.label,
        picture=Picture(manifest.fingerprint, str(same_as or manifest.fingerprint), inherited | facts),
        files=manifest.files,
        notices=manifest.notices,
        cached=work is None,
        seconds=seconds,
        chunks=work.chunks if work else 0,
        peak_bytes=max(work.peak_bytes, peak_memory_bytes()) if work else 0,
        models=key.all_models,
        key=key,
    )


def skip_stage(item: str, stage: str, source: Picture, reason: str) -> StageOutcome:
    """A stage that its condition skipped: the picture stays as it is, and the reason is kept."""
    run = current_run()
    outcome = StageOutcome(
        item, stage, source, {}, (), cached=False, seconds=0.0, chunks=0, peak_bytes=0, skipped=reason
    )
    record_stage(run, outcome, None, datetime.now(UTC))
    run.progress.finished(item, stage, seconds=0.0, cached=False, skipped=reason)
    return outcome


def record_stage(run: RunContext, outcome: StageOutcome, key: StageKey | None, started_at: datetime) -> None:
    """Write what a stage came to into the ledger, with the edges of its lineage."""
    record = _record(run, outcome.item, outcome.stage, outcome.picture.fingerprint, outcome.seconds, started_at)
    devices = {model.device for model in outcome.models}
    with books_of_item() as session:
        session.record_stage(
            replace(
                record,
                model=outcome.model,
                device="cuda" if "cuda" in devices else "cpu",
                peak_memory_bytes=outcome.peak_bytes or None,
                cached=outcome.cached,
                chunks=outcome.chunks,
                skipped=outcome.skipped,
            )
        )
        if key is not None and (not outcome.cached or batched()):  # a killed batch may not have come to write them
            for digest, inputs in key.edges:
                session.record_inputs(digest, inputs)


def _record_failure(
    run: RunContext, item: str, key: StageKey, error: PipelineError, seconds: float, started_at: datetime
) -> None:
    record = _record(run, item, key.label, key.fingerprint, seconds, started_at)
    device = "cuda" if any(model.device == "cuda" for model in key.all_models) else "cpu"
    with books_of_item() as session:
        session.record_stage(replace(record, model=model_label(key.all_models), device=device, error_code=error.code))


def _record(run: RunContext, item: str, stage: str, digest: str, seconds: float, started_at: datetime) -> StageRecord:
    return StageRecord(
        stage_run_id=str(uuid.uuid4()),
        run_id=run.run_id,
        item=item,
        position=next(_POSITIONS),
        stage=stage,
        fingerprint=digest,
        model=None,
        device=None,
        seconds=seconds,
        peak_memory_bytes=None,
        cached=False,
        chunks=0,
        skipped=None,
        error_code=None,
        task_run_id=_task_run_id(),
        started_at=started_at,
    )


def _task_run_id() -> str | None:
    if batched():
        return task_run_of_item()
    from prefect.context import TaskRunContext

    context = TaskRunContext.get()
    return str(context.task_run.id) if context else None


def open_frames(picture: Picture) -> FrameReader:
    """A reader of the picture's pixels, for the driver's own small looks; stages read on workers."""
    return FrameReader(OutputPlace(current_run().storage, picture.frames))
