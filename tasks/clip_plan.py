"""The plan of a whole clip: what memory and disk its stages will need, worked out and refused before any work."""

from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from model_blocks.choice import ModelRef
from tasks.chunks import Limits
from tasks.clip_local import ClipState, follow, pass_spec
from tasks.clip_target import EncodeConfig, choose_target, encode_bytes, expected_bytes
from tasks.clip_thumbnails import PICTURES_FRAMES
from tasks.decode import DecodeConfig, Probe, chunk_frames, clip_spec, decode_bytes
from tasks.local import LocalStage
from tasks.ops.geometry import Shape
from tasks.passes import ChunkPass, fuse
from tasks.plan import plan_chunks, refuse_memory
from tasks.propagate import propagate_bytes, propagated
from tasks.restyle_config import RestyleConfig
from tasks.view import ViewedPass, ViewFacts

WORKER_BYTES = 900 << 20  # of a process with the libraries loaded and nothing to do; measured


@dataclass(frozen=True)
class StagePlan:
    """What one stage needs.

    Attributes:
        memory_bytes: In the worker that computes it.
        disk_bytes: Of its result, while that is needed.
        after: The clip when it is done, and how it is stored.
    """

    memory_bytes: int
    disk_bytes: int
    after: ClipState
    facts: ViewFacts


def plan_decode(probe: Probe, reading: DecodeConfig, limits: Limits) -> StagePlan:
    """Decoding a clip.

    Raises:
        PlanTooLargeError: Not even single frames fit.
    """
    frames = chunk_frames(probe.state.info, limits.memory_bytes)
    spec = clip_spec(probe, reading, frames)
    facts = ViewFacts(spec, probe.state.info)
    return StagePlan(decode_bytes(probe.state.info, frames), spec.raw_bytes, probe.state, facts)


def plan_pass(before: StagePlan, stages: Sequence[LocalStage], limits: Limits) -> StagePlan:
    """A pass over the frames.

    Raises:
        PlanTooLargeError: Not even single frames fit.
    """
    passes, ended = follow(stages, before.after)
    chunk_pass: ChunkPass = fuse(passes)
    if before.facts.converted:
        chunk_pass = ViewedPass(chunk_pass, before.facts)
    spec = pass_spec(before.after, ended)
    chunks = plan_chunks(chunk_pass, Shape(*before.facts.shape), spec.dtype, spec.chunks, limits.memory_bytes)
    return StagePlan(chunks.peak_bytes, spec.raw_bytes, ended, ViewFacts(spec, ended.info))


def plan_propagate(before: StagePlan, models: Sequence[ModelRef], limits: Limits) -> StagePlan:
    """Following an object.

    Raises:
        PlanTooLargeError: Not even single frames fit.
    """
    after, spec = propagated(before.after)
    needed = propagate_bytes(spec, models) + before.facts.bytes_of(spec.chunks[0])
    refuse_memory(needed, limits.memory_bytes, f"following an object in {after.shape.width}×{after.shape.height}")
    return StagePlan(needed, spec.raw_bytes, after, ViewFacts(spec, after.info))


def plan_restyle(before: StagePlan, config: RestyleConfig, limits: Limits) -> StagePlan:
    """Restyling a clip.

    Raises:
        PlanTooLargeError: The frames of one call do not fit.
        HdrUnsupportedError: Adapters take frames of an ordinary range.
    """
    from tasks.restyle import restyle_bytes, restyled  # with all that speaks to the outside

    after, spec = restyled(before.after, config)
    needed = restyle_bytes(spec) + before.facts.bytes_of(spec.chunks[0])
    refuse_memory(needed, limits.memory_bytes, f"restyling {spec.chunks[0]} frames at a time")
    return StagePlan(needed, spec.raw_bytes, after, ViewFacts(spec, after.info))


def plan_encode(before: StagePlan, config: EncodeConfig, limits: Limits) -> StagePlan:
    """Encoding a clip.

    Raises:
        PlanTooLargeError: The encoder's pictures do not fit.
        ClipFormatError: The container does not hold the codec.
    """
    target = choose_target(config, before.after, before.facts)
    needed = encode_bytes(target, before.facts)
    size = f"{before.after.shape.width}×{before.after.shape.height}"
    refuse_memory(needed, limits.memory_bytes, f"encoding frames of {size}")
    return StagePlan(needed, expected_bytes(before.after, target), before.after, before.facts)


def plan_pictures(before: StagePlan, limits: Limits) -> StagePlan:
    """Thumbnails of a clip.

    Raises:
        PlanTooLargeError: Single frames do not fit.
    """
    frames = before.facts.spec.chunks[0]
    needed = before.facts.bytes_of(frames) + before.facts.spec.frame_bytes * (frames + PICTURES_FRAMES)
    size = f"{before.after.shape.width}×{before.after.shape.height}"
    refuse_memory(needed, limits.memory_bytes, f"pictures of frames of {size}")
    return StagePlan(needed, 0, before.after, before.facts)


def announced_bytes(together: Sequence[StagePlan], largest_bytes: int, workers: int) -> int:
    """Memory of all processes together that a clip will not pass: the libraries', and that of what is at work.

    Args:
        together: Stages that work at the same time, the decoder first, which is in the run's own process.
        largest_bytes: What the largest of all stages needs.
    """
    first = together[0].memory_bytes if together else 0
    if workers == 1:
        needed = WORKER_BYTES + max(largest_bytes, sum(plan.memory_bytes for plan in together))
    else:
        needed = (workers + 1) * WORKER_BYTES + workers * largest_bytes + first
    return min(needed, psutil.virtual_memory().total)
