"""Chunk-local stages on clips: upscale, grade, interpolate, alone or fused into one pass over the frames."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Any, cast

from datasets.frame_spec import CLIP_CHUNK, FrameSpec, rgb_spec
from datasets.outputs import OutputPlace
from tasks.chunks import run_chunks, run_growing
from tasks.clip_masks import InpaintStage, MatteStage
from tasks.context import current_run
from tasks.faces import FacesStage
from tasks.growing import Growing, Teller
from tasks.interpolate import InterpolateStage
from tasks.local import LocalStage, fused_key
from tasks.ops.geometry import Shape
from tasks.ops.video.cadence import Timing
from tasks.ops.video.clip import ClipInfo
from tasks.ops.video.hdr import refuse_hdr, tonemapped
from tasks.passes import ChunkPass, fuse
from tasks.prefect_stage import stage_task
from tasks.stage import Picture, StageKey, StageOutcome, StageWork, begin_stage, open_frames, run_stage
from tasks.upscale import UpscaleStage
from tasks.view import CLIP, ViewFacts

MOST_TIMES = Fraction(3)  # as long as those of its source a clip's chunks may be
HALO_SHARE = 1 / CLIP_CHUNK  # one frame more than a chunk: a block of several would be lost when a worker dies
RGB_FORMATS = {("uint8", 3): "rgb24", ("uint8", 4): "rgba", ("uint16", 3): "rgb48le", ("uint16", 4): "rgba64le"}


@dataclass(frozen=True)
class ClipState:
    """What is known about a clip at some point of its recipe.

    Attributes:
        info: The clip as its frames are kept.
        shape: (T, H, W, C) as it is seen.
        dtype: ``uint8`` or ``uint16``.
        timing: When its frames are shown.
        cuts: Indices of the first frames of all shots but the first.
        stretch: How many times as long as the source it is.
        tonemapped: Whether its view shows an ordinary range.
    """

    info: ClipInfo
    shape: Shape
    dtype: str
    timing: Timing
    cuts: tuple[int, ...] = ()
    stretch: Fraction = Fraction(1)
    tonemapped: bool = False

    @classmethod
    def of(cls, source: Picture) -> "ClipState":
        """The state of a stored clip."""
        reader = open_frames(source)
        facts = ViewFacts.of(reader.entry)
        assert facts.clip is not None
        cuts = cast("list[int]", source.facts.get("cuts", []))
        return cls(
            facts.clip,
            Shape(*facts.shape),
            reader.entry.dtype,
            Timing(*reader.times(), facts.clip.time_base),
            tuple(cuts),
            Fraction(str(source.facts.get("stretch", "1"))),
            facts.tonemapped,
        )

    def facts(self) -> dict[str, object]:
        """What later stages, the report and the ledger are told."""
        return {
            "clip": self.info.to_json(),
            "frames": self.shape.frames,
            "width": self.shape.width,
            "height": self.shape.height,
            "alpha": self.shape.channels == 4,
            "bit_depth": 16 if self.dtype == "uint16" else 8,
            "seconds": round(self.timing.seconds, 6),
            "fps": round(float(self.timing.rate), 6),
            "cuts": list(self.cuts),
            "stretch": str(self.stretch),
        }

    def spec(self, **attributes: object) -> FrameSpec:
        """The store of its frames in RGB."""
        shape = self.shape
        return rgb_spec(
            shape.frames,
            shape.height,
            shape.width,
            shape.channels,
            self.dtype,
            **{CLIP: self.info.to_json(), "time_base": str(self.timing.time_base), **attributes},
        )


def clip_stage(item: str, source: Picture, stages: Sequence[LocalStage]) -> StageOutcome:
    """Run neighbouring chunk-local stages on a clip as one pass, a Prefect task that bears all their names."""
    return stage_task("+".join(stage.name for stage in stages))(_run)(item, source, tuple(stages))


def _run(item: str, source: Picture, stages: tuple[LocalStage, ...]) -> StageOutcome:
    key = fused_key(source.fingerprint, stages)

    def compute(place: OutputPlace) -> StageWork:
        run = current_run()
        begun = ClipState.of(source)
        passes, ended = follow(_with_backgrounds(source, stages, place, begun), begun)
        work = run_chunks(
            OutputPlace(run.storage, source.frames),
            place,
            fuse(passes),
            pass_spec(begun, ended),
            executor=run.executor,
            limits=replace(run.limits, halo_share=HALO_SHARE),
            resources=resources_of(stages),
            report=partial(run.chunk_done, item, key.label),
            times=(ended.timing.pts, ended.timing.durations),
            teller=Teller(run.growing_of(item, key.fingerprint), ended),
        )
        return StageWork(
            frames=work.entry,
            facts=inherited(source.facts) | ended.facts(),
            chunks=work.made + work.reused,
            peak_bytes=work.peak_bytes,
        )

    return run_stage(item, key, source, compute)


def _with_backgrounds(
    source: Picture, stages: tuple[LocalStage, ...], place: OutputPlace, begun: ClipState
) -> tuple[LocalStage, ...]:
    """The stages, with what is behind the object where one compares with that."""
    frames = OutputPlace(current_run().storage, source.frames)
    return tuple(
        stage.with_background(frames, place, begun.cuts) if isinstance(stage, MatteStage) else stage for stage in stages
    )


def begin_clip_stage(item: str, key: StageKey, source: Growing, stages: Sequence[LocalStage]) -> None:
    """Begin on the frames of a clip that is still being decoded; ``clip_stage`` goes on behind it."""

    def begin(place: OutputPlace) -> None:
        run, known = current_run(), source.begun()
        if known is None:
            return
        _, _, begun = known
        _, ended = follow(stages, begun)
        run_growing(
            source,
            place,
            lambda cuts: fuse(follow(stages, replace(begun, cuts=cuts))[0]),
            pass_spec(begun, ended),
            executor=run.executor,
            limits=replace(run.limits, halo_share=HALO_SHARE),
            resources=resources_of(stages),
            report=partial(run.chunk_done, item, key.label),
            times=(ended.timing.pts, ended.timing.durations),
            teller=Teller(run.growing_of(item, key.fingerprint), ended),
        )

    begin_stage(item, key, source, begin)


def pass_spec(begun: ClipState, ended: ClipState) -> FrameSpec:
    """The store of a pass's frames.

    It says what times it was made from: chunks begun for others are of no use. Where there are more frames than before,
    its chunks hold as many more, so that each is made of a whole chunk and its halo.
    """
    spec = ended.spec(source_times=begun.timing.digest)
    share = min(Fraction(ended.shape.frames, begun.shape.frames), MOST_TIMES)
    frames = min(spec.shape[0], math.ceil(CLIP_CHUNK * max(share, Fraction(1))))
    return replace(spec, chunks=(frames, *spec.chunks[1:]))


def resources_of(stages: Sequence[LocalStage]) -> dict[str, float]:
    return {name: amount for stage in stages for name, amount in stage.resources.items()}


def inherited(facts: Mapping[str, object]) -> dict[str, Any]:
    """The facts that every output of a clip carries itself: those of stages before it may be released by then."""
    return {name: facts[name] for name in ("asset", "source", "damage", "measures") if name in facts}


def follow(stages: Sequence[LocalStage], state: ClipState) -> tuple[list[ChunkPass], ClipState]:
    """All passes of all stages in order, and what the clip is after them.

    Raises:
        HdrUnsupportedError: A model made for an ordinary range is asked to work on a high one.
    """
    passes: list[ChunkPass] = []
    for stage in stages:
        if _made_for_sdr(stage) and not state.tonemapped:
            refuse_hdr(state.info)
        timing, cuts, stretch = state.timing, state.cuts, state.stretch
        prepared: LocalStage = stage
        if isinstance(stage, InterpolateStage):
            cadence = stage.config.cadence(timing, cuts)
            prepared = replace(stage, cadence=cadence)
            timing, cuts, stretch = cadence.timing, cadence.moved(cuts), stretch * cadence.stretch
        if isinstance(stage, InpaintStage):
            prepared = replace(stage, cuts=cuts)
        shape = state.shape
        for each in prepared.passes(shape):
            passes.append(each)
            shape = each.output_shape(shape)
        state = replace(state, shape=shape, timing=timing, cuts=cuts, stretch=stretch)
    return passes, _kept_as_rgb(state)


def _made_for_sdr(stage: LocalStage) -> bool:
    """Whether its model was trained on ordinary pictures; what needs no weights knows no range."""
    if isinstance(stage, FacesStage):
        return True
    models = UpscaleStage | MatteStage | InpaintStage | InterpolateStage
    return isinstance(stage, models) and not stage.model.facts.embedded


def _kept_as_rgb(state: ClipState) -> ClipState:
    shape = state.shape
    info = state.info.with_pixels(RGB_FORMATS[state.dtype, shape.channels], shape.height, shape.width)
    info = replace(info, time_base=state.timing.time_base, average_rate=state.timing.rate)
    if state.tonemapped:
        info = tonemapped(info)
    if state.info.rotation in (90, 270):
        info = replace(info, sample_aspect=1 / info.sample_aspect)
    return replace(state, info=info, tonemapped=False)
