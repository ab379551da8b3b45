"""Chunk-local stages, upscale and grade, alone or fused: one read, several array functions, one write."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from datasets.frame_spec import still_spec
from datasets.outputs import OutputPlace
from tasks.chunks import run_chunks
from tasks.context import current_run
from tasks.ops.geometry import Shape
from tasks.passes import ChunkPass, fuse
from tasks.prefect_stage import stage_task
from tasks.stage import Picture, StageKey, StageOutcome, StageWork, open_frames, run_stage


class LocalStage(Protocol):
    """A stage whose output chunk depends on a neighbourhood of its input alone, known from the shape."""

    @property
    def name(self) -> str: ...

    @property
    def resources(self) -> dict[str, float]: ...

    def key(self, source_fingerprint: str) -> StageKey: ...

    def passes(self, shape: Shape) -> tuple[ChunkPass, ...]: ...


def local_stage(item: str, source: Picture, stages: Sequence[LocalStage]) -> StageOutcome:
    """Run neighbouring chunk-local stages as one pass, a Prefect task that bears all their names.

    The output's fingerprint is that of the last stage after all the others, so fused and unfused share the cache.
    """
    return stage_task("+".join(stage.name for stage in stages))(_run_local)(item, source, tuple(stages))


def _run_local(item: str, source: Picture, stages: tuple[LocalStage, ...]) -> StageOutcome:
    key = fused_key(source.fingerprint, stages)

    def compute(place: OutputPlace) -> StageWork:
        return _compute(item, source, stages, key.label, place)

    return run_stage(item, key, source, compute)


def fused_key(source_fingerprint: str, stages: Sequence[LocalStage]) -> StageKey:
    """The key of the last stage, with the keys of those before it."""
    keys: list[StageKey] = []
    for stage in stages:
        keys.append(stage.key(keys[-1].fingerprint if keys else source_fingerprint))
    return replace(keys[-1], fused=tuple(keys[:-1]))


def _compute(item: str, source: Picture, stages: tuple[LocalStage, ...], label: str, place: OutputPlace) -> StageWork:
    run = current_run()
    reader = open_frames(source)
    begun = Shape(*reader.shape)
    passes, shape = _passes(stages, begun)
    spec = still_spec(shape.height, shape.width, shape.channels, reader.dtype.name)
    work = run_chunks(
        reader.place,
        place,
        fuse(passes),
        spec,
        executor=run.executor,
        limits=run.limits,
        resources={name: amount for stage in stages for name, amount in stage.resources.items()},
        report=partial(run.chunk_done, item, label),
    )
    return StageWork(
        frames=work.entry,
        facts={"width": shape.width, "height": shape.height, "enlarged": _enlarged(source, begun, shape)},
        chunks=work.made + work.reused,
        peak_bytes=work.peak_bytes,
    )


def _enlarged(source: Picture, begun: Shape, ended: Shape) -> float:
    """How many times as large as the photograph the picture is now, along its longer side."""
    before = source.facts.get("enlarged")
    ratio = max(ended.height, ended.width) / max(begun.height, begun.width)
    return round(ratio * (before if isinstance(before, float) else 1.0), 4)


def _passes(stages: Sequence[LocalStage], shape: Shape) -> tuple[list[ChunkPass], Shape]:
    """All passes of all stages in order, and the shape they end in."""
    passes: list[ChunkPass] = []
    for stage in stages:
        for each in stage.passes(shape):
            passes.append(each)
            shape = each.output_shape(shape)
    return passes, shape
