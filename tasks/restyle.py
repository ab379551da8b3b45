"""Restyle: a photograph or a clip through an adapter, an outside process or service that makes other frames of frames.

A clip goes in chunks of the adapter's ``frames_per_call``, each in one call with the same prompt, style and seed, and
is kept chunk by chunk, so that an interrupted run calls nothing twice that was finished. An adapter that draws by
chance may give two chunks looks that differ a little; more ``frames_per_call`` means fewer seams, more memory and
larger steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from datasets.frame_spec import FrameSpec, Index, Pixels, chunk_key
from datasets.frames import create_frames, finished_chunks, frames_entry, write_chunk
from datasets.outputs import FramesEntry, OutputPlace
from model_blocks.adapters.finding import make_adapter
from model_blocks.adapters.frames_adapter import AdapterDeclaration, FramesRequest
from model_blocks.adapters.frames_errors import AdapterError
from model_blocks.adapters.isolation import isolation_notices
from tasks.clip_local import RGB_FORMATS, ClipState, inherited
from tasks.context import current_run
from tasks.executor import peak_memory_bytes
from tasks.ops.depth import to_depth
from tasks.ops.geometry import Shape
from tasks.ops.resample import resample_frames
from tasks.ops.video.hdr import refuse_hdr
from tasks.plan import refuse_disk, refuse_memory
from tasks.prefect_stage import stage_task
from tasks.restyle_config import RestyleConfig, restyle_adapter, restyle_key
from tasks.stage import Picture, StageOutcome, StageWork, open_frames, run_stage
from tasks.view import CLIP, open_view

COPIES = 8  # of a chunk's frames that a call holds at most: as read, sent, encoded, received, decoded, resized, joined


@dataclass(frozen=True)
class _Task:
    source: OutputPlace
    place: OutputPlace
    spec: FrameSpec
    frames: slice
    indices: tuple[Index, ...]
    declaration: AdapterDeclaration
    request: FramesRequest


@dataclass(frozen=True)
class _Result:
    checksums: Mapping[str, int]
    peak_bytes: int


@dataclass(frozen=True)
class _Work:
    entry: FramesEntry
    chunks: int
    peak_bytes: int


@stage_task("restyle")
def restyle_picture(item: str, source: Picture, config: RestyleConfig) -> StageOutcome:
    """Restyle one photograph, in one call."""
    key = restyle_key(source.fingerprint, config)

    def compute(place: OutputPlace) -> StageWork:
        entry = open_frames(source).entry
        spec = FrameSpec(entry.shape, entry.dtype, entry.chunks[:3], entry.attributes)
        work = _run(item, source, place, spec, config, step=1, times=None)
        facts = {"width": spec.shape[2], "height": spec.shape[1]}
        return _done(work, facts, config)

    return run_stage(item, key, source, compute)


@stage_task("restyle")
def restyle_clip(item: str, source: Picture, config: RestyleConfig) -> StageOutcome:
    """Restyle one clip, chunk by chunk."""
    key = restyle_key(source.fingerprint, config)

    def compute(place: OutputPlace) -> StageWork:
        state, spec = restyled(ClipState.of(source), config)
        times = (state.timing.pts, state.timing.durations)
        work = _run(item, source, place, spec, config, step=spec.chunks[0], times=times)
        facts = inherited(source.facts) | state.facts()
        return _done(work, facts, config)

    return run_stage(item, key, source, compute)


def restyled(state: ClipState, config: RestyleConfig) -> tuple[ClipState, FrameSpec]:
    """What a clip is when it is restyled, and its store: a chunk is what one call makes.

    Raises:
        HdrUnsupportedError: Adapters take frames of an ordinary range.
    """
    if not state.tonemapped:
        refuse_hdr(state.info)
    shape = state.shape
    info = state.info.with_pixels(RGB_FORMATS[state.dtype, shape.channels], shape.height, shape.width)
    if state.info.rotation in (90, 270):
        info = replace(info, sample_aspect=1 / info.sample_aspect)
    after = replace(state, info=info, tonemapped=False)
    spec = after.spec(**{CLIP: info.to_json()})
    frames = min(shape.frames, restyle_adapter(config).frames_per_call)
    return after, replace(spec, chunks=(frames, *spec.chunks[1:]))


def restyle_bytes(spec: FrameSpec) -> int:
    """Memory in bytes for one call."""
    return spec.frame_bytes * min(spec.chunks[0], spec.shape[0]) * COPIES


def _done(work: _Work, facts: Mapping[str, object], config: RestyleConfig) -> StageWork:
    notices = isolation_notices(restyle_adapter(config))
    return StageWork(work.entry, facts=facts, notices=notices, chunks=work.chunks, peak_bytes=work.peak_bytes)


def _run(
    item: str,
    source: Picture,
    place: OutputPlace,
    spec: FrameSpec,
    config: RestyleConfig,
    *,
    step: int,
    times: tuple[np.ndarray, np.ndarray] | None,
) -> _Work:
    """Call for all frames that an interrupted run did not finish.

    Args:
        step: Frames of one call.
        times: When frames are shown; those of a photograph without.
    """
    run, still = current_run(), times is None
    refuse_memory(restyle_bytes(spec), run.limits.memory_bytes, f"restyling {step} frames at a time")
    refuse_disk(run.storage, spec.raw_bytes, run.limits.disk_reserve_bytes)
    spec = create_frames(place, spec, times)
    checksums = finished_chunks(place, spec)
    frames = OutputPlace(run.storage, source.frames)
    tasks = [
        _Task(frames, place, spec, call, missing, restyle_adapter(config), config.request(still=still))
        for call in (slice(start, min(start + step, spec.shape[0])) for start in range(0, spec.shape[0], step))
        if (missing := _missing(spec, call, checksums))
    ]
    peak = 0
    for _, made in run.executor.run(_call, tasks):
        checksums.update(made.checksums)
        peak = max(peak, made.peak_bytes)
        run.chunk_done(item, "restyle", len(checksums), spec.count)
    return _Work(frames_entry(spec, checksums), spec.count, peak)


def _missing(spec: FrameSpec, call: slice, checksums: Mapping[str, int]) -> tuple[Index, ...]:
    """The chunks of a call's frames that are not there."""
    return tuple(
        index
        for index in spec.indices()
        if call.start <= spec.box(index)[0].start < call.stop and chunk_key(index) not in checksums
    )


def _call(task: _Task) -> _Result:
    """Make the frames of one call and write their chunks. Runs on a worker."""
    view = open_view(task.source)
    _, height, width, _ = view.shape
    pixels = view.read((task.frames, slice(0, height), slice(0, width)))
    made = _restyled(pixels, task)
    checksums: dict[str, int] = {}
    for index in task.indices:
        frames, rows, columns = task.spec.box(index)
        within = slice(frames.start - task.frames.start, frames.stop - task.frames.start)
        values = np.ascontiguousarray(made[within, rows, columns])
        checksums[chunk_key(index)] = write_chunk(task.place, task.spec, index, values)
    return _Result(checksums, peak_memory_bytes())


def _restyled(pixels: Pixels, task: _Task) -> Pixels:
    """What the adapter makes of frames (T, H, W, C), in their size and depth, their alpha kept."""
    colours = np.ascontiguousarray(pixels[..., :3])
    try:
        made = make_adapter(task.declaration).restyle(colours, task.request)
    except AdapterError as error:
        where = "" if task.request.still else f"frames {task.frames.start} to {task.frames.stop - 1}: "
        raise type(error)(f"{where}{error.message}", **error.facts, frame=task.frames.start) from error
    frames, height, width, channels = pixels.shape
    seen = Shape(frames, made.shape[1], made.shape[2], 3)
    sized = resample_frames(
        made,
        read=seen.whole,
        region=Shape(frames, height, width, 3).whole,
        in_size=(seen.height, seen.width),
        out_size=(height, width),
    )
    result = to_depth(sized, pixels.dtype)
    return result if channels == 3 else np.concatenate([result, pixels[..., 3:]], axis=-1)
