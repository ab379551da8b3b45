"""Cutout: find the product, make its edge soft, give the edge the product's own colours."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from datasets.frame_spec import Pixels, still_spec
from datasets.frames import FrameReader
from datasets.notices import Notice
from datasets.outputs import OutputPlace
from model_blocks.choice import ModelRef, gpu_of
from model_blocks.finite import refuse_not_finite
from model_blocks.runtime import segmenter
from tasks.backgrounds import background_input
from tasks.chunks import run_chunks
from tasks.config import StageConfig
from tasks.context import current_run
from tasks.executor import peak_memory_bytes
from tasks.found_alpha import cut_photograph, find_in_photograph
from tasks.ops.geometry import Region, Shape
from tasks.plan import refuse_memory
from tasks.prefect_stage import stage_task
from tasks.stage import Picture, StageKey, StageOutcome, StageWork, open_frames, run_stage

VERSION = 1
NO_OBJECT_CONFIDENCE = 0.5  # by the segmenter's contract
MOST_SEEN = 3 * 2048**2  # values of the copy that a segmenter looks at
SMALLEST_COVERAGE = 5e-4  # of the picture; less is a speck, not a product


class CutoutConfig(StageConfig):
    """Cut the product out of its background."""

    stage: Literal["cutout"] = "cutout"
    keep_alpha: bool = Field(default=True, description="Keep the alpha channel of a picture that has one.")
    background: str | None = Field(
        default=None, description="Path of the same view without the product, for models that compare with it."
    )


@dataclass(frozen=True)
class _SegmentTask:
    source: OutputPlace
    model: ModelRef


@dataclass(frozen=True)
class _Segmented:
    probability: NDArray[np.float32]
    confidence: float
    peak_bytes: int


@dataclass(frozen=True)
class CutoutPass:
    """Gives every tile its alpha and foreground colours, from the tile and the object's probability around it.

    Attributes:
        probability: (h, w) float32, the object in the whole picture at working size.
        matter: The model that refines the edge.
    """

    probability: NDArray[np.float32]
    matter: ModelRef

    def output_shape(self, shape: Shape) -> Shape:
        return Shape(shape.frames, shape.height, shape.width, 4)

    def read_region(self, region: Region, shape: Shape) -> Region:
        from tasks.ops.cutting import cutout_halo

        return region.grown(0, cutout_halo(self.probability.shape, shape), shape)

    def apply(self, frames: Pixels, *, read: Region, region: Region, shape: Shape) -> Pixels:
        from tasks.ops.cutting import cut_out

        made = cut_out(frames, self.probability, read=read, shape=shape)
        return made[region.inside(read)]

    def working_bytes(self, read: Region, shape: Shape, itemsize: int) -> int:
        return self.matter.facts.working_bytes(read.height * read.width * 3)


@stage_task("cutout")
def cutout(item: str, source: Picture, config: CutoutConfig) -> StageOutcome:
    """Give the picture an alpha channel. One without an object passes uncut, with the warning ``no_object``."""
    segment, matter = current_run().models["segment"], current_run().models["matte"]
    key = _key(source, config, segment, matter)

    def compute(place: OutputPlace) -> StageWork:
        if config.keep_alpha and source.facts.get("alpha"):
            return StageWork(same_as=source.frames, facts={"object_found": True, "alpha_kept": True}, chunks=0)
        if matter.facts.finds_alpha:
            return _cut_by_found(item, source, place, config, matter)
        found = _segment(source, segment)
        coverage = float((found.probability > 0.5).mean())
        if found.confidence < NO_OBJECT_CONFIDENCE or coverage < SMALLEST_COVERAGE:
            return _uncut(source, {"confidence": found.confidence, "coverage": coverage}, found.peak_bytes)
        return _cut(item, source, place, found, matter, coverage)

    return run_stage(item, key, source, compute)


def _key(source: Picture, config: CutoutConfig, segment: ModelRef, matter: ModelRef) -> StageKey:
    """The key; a model that finds the alpha by itself needs no segmenter."""
    parameters = {name: value for name, value in config.parameters().items() if name != "background"}
    inputs = (("output", source.fingerprint), *background_input(config.background, matter))
    models = (matter,) if matter.facts.finds_alpha else (segment, matter)
    return StageKey("cutout", VERSION, parameters, inputs, models)


def _cut_by_found(item: str, source: Picture, place: OutputPlace, config: CutoutConfig, matter: ModelRef) -> StageWork:
    found = find_in_photograph(source, place, matter, config.background)
    if found.coverage < SMALLEST_COVERAGE:
        return _uncut(source, {"coverage": found.coverage}, found.peak_bytes)
    return cut_photograph(item, source, place, matter, found)


def _segment(source: Picture, model: ModelRef) -> _Segmented:
    run = current_run()
    place = OutputPlace(run.storage, source.frames)
    _, height, width, channels = FrameReader(place).shape
    whole = height * width * channels * 3  # read, converted, shrunk
    if not model.facts.embedded:
        whole += model.facts.working_bytes(min(height * width * 3, MOST_SEEN))
    refuse_memory(whole, run.limits.memory_bytes, f"segmenting a picture of {width}×{height}")
    ((_, found),) = run.executor.run(_find_object, [_SegmentTask(place, model)], resources=gpu_of(model))
    return found


def _find_object(task: _SegmentTask) -> _Segmented:
    """Segment a copy of the whole picture at the model's working size. Runs on a worker."""
    import torch

    from tasks.ops.cutting import working_copy

    model = segmenter(task.model)
    image = working_copy(FrameReader(task.source).read()[0], model.working_side)
    with torch.inference_mode():
        found = model.segment(torch.from_numpy(image).permute(2, 0, 1)[None])
    probability = found.probability[0, 0].numpy().astype(np.float32)
    refuse_not_finite(bool(np.isfinite(probability.sum())), task.model.name, task.model.device)
    return _Segmented(probability, float(found.confidence[0]), peak_memory_bytes())


def _uncut(source: Picture, measured: dict[str, object], peak_bytes: int) -> StageWork:
    facts: dict[str, object] = {"object_found": False, **measured}
    notice = Notice("no_object", "No product was found in this picture, so it is delivered uncut.", dict(facts))
    return StageWork(same_as=source.frames, facts=facts, notices=(notice,), chunks=0, peak_bytes=peak_bytes)


def _cut(
    item: str, source: Picture, place: OutputPlace, found: _Segmented, matter: ModelRef, coverage: float
) -> StageWork:
    run = current_run()
    reader = open_frames(source)
    _, height, width, _ = reader.shape
    spec = still_spec(height, width, 4, reader.dtype.name)
    work = run_chunks(
        reader.place,
        place,
        CutoutPass(found.probability, matter),
        spec,
        executor=run.executor,
        limits=run.limits,
        report=partial(run.chunk_done, item, "cutout"),
    )
    return StageWork(
        frames=work.entry,
        facts={"object_found": True, "alpha": True, "confidence": found.confidence, "coverage": coverage},
        chunks=work.made + work.reused,
        peak_bytes=max(work.peak_bytes, found.peak_bytes),
    )
