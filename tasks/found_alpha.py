"""Cutting out by models that find an alpha by themselves: from the whole picture, once, or frame by frame."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from datasets.errors import RecipeError
from datasets.frame_spec import Pixels, still_spec
from datasets.frames import FrameReader
from datasets.outputs import FramesEntry, OutputPlace
from model_blocks.capabilities import AlphaFinder, SmallAlphaFinder
from model_blocks.choice import ModelRef, gpu_of
from model_blocks.finite import refuse_not_finite
from model_blocks.runtime import matter
from tasks.backgrounds import Backgrounds, GivenBackground, fitting, given_background
from tasks.chunks import run_chunks
from tasks.context import current_run
from tasks.executor import peak_memory_bytes
from tasks.intake import write_still
from tasks.ops.geometry import Region, Shape
from tasks.plan import refuse_disk, refuse_memory
from tasks.stage import Picture, StageWork, open_frames

if TYPE_CHECKING:
    from torch import Tensor

WHOLE_BYTES = 40  # per value of a picture: as stored, in float, with its alpha and colours, and joined
WORKING_SIDE = 512  # pixels of the shorter side at which models look that shrink their pictures
LEAST_VALUES = 3 * 720 * 1280  # as many places are looked at closely in smaller pictures, too
MOST_LONG = 8  # times as long as that their longer side is at most


@dataclass(frozen=True)
class _Task:
    source: OutputPlace
    place: OutputPlace
    model: ModelRef
    background: GivenBackground | None


@dataclass(frozen=True)
class _Found:
    """The alpha at the model's own size, or everything written already; and how much of the picture is object."""

    small: NDArray[np.float32] | None
    frames: FramesEntry | None
    coverage: float
    peak_bytes: int


@dataclass(frozen=True)
class FoundAlphaPass:
    """Gives every tile its part of an alpha that was found in the whole picture, and clean edge colours.

    Attributes:
        small: (h, w) float32, the alpha at the size the model worked at.
        model: Which found it.
    """

    small: NDArray[np.float32]
    model: ModelRef

    def output_shape(self, shape: Shape) -> Shape:
        return Shape(shape.frames, shape.height, shape.width, 4)

    def read_region(self, region: Region, shape: Shape) -> Region:
        from tasks.ops.found_alpha import found_alpha_halo

        return region.grown(0, found_alpha_halo(self.small.shape, shape), shape)

    def apply(self, frames: Pixels, *, read: Region, region: Region, shape: Shape) -> Pixels:
        from tasks.ops.found_alpha import cut_by_alpha

        return cut_by_alpha(frames, self.small, read=read, shape=shape)[region.inside(read)]

    def working_bytes(self, read: Region, shape: Shape, itemsize: int) -> int:
        return read.height * read.width * 3 * WHOLE_BYTES


@dataclass(frozen=True)
class FoundMattePass:
    """Whole frames to frames with an alpha, each for itself.

    Attributes:
        backgrounds: What is behind the object, for models that compare with it; known once the clip is at work.
    """

    model: ModelRef
    backgrounds: Backgrounds | None = None

    def output_shape(self, shape: Shape) -> Shape:
        return Shape(shape.frames, shape.height, shape.width, 4)

    def read_region(self, region: Region, shape: Shape) -> Region:
        return Region(region.t0, region.t1, 0, shape.height, 0, shape.width)

    def apply(self, frames: Pixels, *, read: Region, region: Region, shape: Shape) -> Pixels:
        made = np.empty((*frames.shape[:3], 4), frames.dtype)
        for offset, frame in enumerate(frames):
            behind = None if self.backgrounds is None else self.backgrounds.of(read.t0 + offset)
            made[offset] = found_in(frame[..., :3], self.model, behind)[0]
        return made[region.inside(read)]

    def working_bytes(self, read: Region, shape: Shape, itemsize: int) -> int:
        return finding_bytes(self.model, shape.height, shape.width)


def finding_bytes(model: ModelRef, height: int, width: int) -> int:
    """Memory that finding the alpha of one picture takes; what is stretched by area was found at a size of its own."""
    values = height * width * 3
    seen = max(values, LEAST_VALUES)
    if not model.facts.needs_background:
        ratio = min(MOST_LONG, max(height, width) / min(height, width))
        seen = int(3 * WORKING_SIDE * WORKING_SIDE * ratio)
    return values * WHOLE_BYTES + model.facts.working_bytes(seen)


def found_in(image: Pixels, model: ModelRef, background: Pixels | None) -> tuple[Pixels, float]:
    """Colours and alpha (H, W, 4) of a whole picture (H, W, 3|4), and how much of it is object."""
    import torch

    from tasks.ops.found_alpha import cut_by_alpha, joined, over_white

    if background is None:
        small = _small_alpha(image, model)
        height, width, channels = image.shape
        shape = Shape(1, height, width, channels)
        whole = Region(0, 1, 0, shape.height, 0, shape.width)
        return cut_by_alpha(image[None], small, read=whole, shape=shape)[0], float((small > 0.5).mean())
    finder = cast(AlphaFinder, matter(model))
    behind = _tensor(over_white(fitting(background, image)[None]))
    with torch.inference_mode():
        alpha, colours = finder.find_alpha(_tensor(over_white(image[None])), behind)
    assert colours is not None
    finite = bool((alpha.sum() + colours.sum()).isfinite())
    refuse_not_finite(finite, model.name, model.device)
    return joined(colours, alpha, image.dtype)[0], float((alpha > 0.5).float().mean())


def _small_alpha(image: Pixels, model: ModelRef) -> NDArray[np.float32]:
    import torch

    from tasks.ops.found_alpha import over_white

    finder = cast(SmallAlphaFinder, matter(model))
    with torch.inference_mode():
        small = finder.find_small_alpha(_tensor(over_white(image[None])))
    refuse_not_finite(bool(small.sum().isfinite()), model.name, model.device)
    return np.asarray(small[0, 0].numpy(), dtype=np.float32)


def _tensor(images: NDArray[np.float32]) -> "Tensor":
    import torch

    return torch.from_numpy(images).permute(0, 3, 1, 2)


def find_in_photograph(source: Picture, place: OutputPlace, model: ModelRef, background: str | None) -> _Found:
    """Look at a whole photograph, once, on a worker.

    Raises:
        RecipeError: The model needs a background and none is given, or it has another size.
        PlanTooLargeError: The picture does not fit in memory.
    """
    if model.facts.needs_background and background is None:
        raise RecipeError(
            f"{model.name} compares with a picture of the same view without the object; name it in the stage as "
            "'background', or choose a model that needs none: --models matte=modnet-photographic or "
            "matte=embedded-matter",
            model=model.name,
        )
    run = current_run()
    _, height, width, _ = open_frames(source).shape
    refuse_memory(finding_bytes(model, height, width), run.limits.memory_bytes, f"matting {width}×{height}")
    task = _Task(
        OutputPlace(run.storage, source.frames), place, model, given_background(background) if background else None
    )
    if task.background is not None:
        refuse_disk(run.storage, height * width * 8, run.limits.disk_reserve_bytes)
    ((_, found),) = run.executor.run(_find, [task], resources=gpu_of(model))
    return found


def _find(task: _Task) -> _Found:
    """Runs on a worker. What a background was compared with is written there: it is as large as the picture."""
    image: Pixels = FrameReader(task.source).read()[0]
    if task.background is None:
        small = _small_alpha(image, task.model)
        return _Found(small, None, float((small > 0.5).mean()), peak_memory_bytes())
    made, coverage = found_in(image, task.model, task.background.of(0))
    return _Found(None, write_still(task.place, made), coverage, peak_memory_bytes())


def cut_photograph(item: str, source: Picture, place: OutputPlace, model: ModelRef, found: _Found) -> StageWork:
    """Write the picture with its alpha, tile by tile where that was not done already."""
    facts: dict[str, object] = {"object_found": True, "alpha": True, "coverage": found.coverage}
    if found.frames is not None:
        chunks = len(found.frames.checksums)
        return StageWork(frames=found.frames, facts=facts, chunks=chunks, peak_bytes=found.peak_bytes)
    assert found.small is not None
    run, reader = current_run(), open_frames(source)
    _, height, width, _ = reader.shape
    work = run_chunks(
        reader.place,
        place,
        FoundAlphaPass(found.small, model),
        still_spec(height, width, 4, reader.dtype.name),
        executor=run.executor,
        limits=run.limits,
        report=partial(run.chunk_done, item, "cutout"),
    )
    return StageWork(
        frames=work.entry,
        facts=facts,
        chunks=work.made + work.reused,
        peak_bytes=max(work.peak_bytes, found.peak_bytes),
    )
