"""Thumbnails: the picture at the sizes a shop shows it in."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field, field_validator

from datasets.frames import FrameReader
from datasets.outputs import OutputPlace, StoredFile
from tasks.config import StageConfig
from tasks.context import current_run
from tasks.encoding import Published, encoder_versions
from tasks.executor import peak_memory_bytes
from tasks.ops.depth import to_uint8
from tasks.ops.encode import PictureFormat, encode_picture, extension
from tasks.ops.resample import resize_image
from tasks.plan import refuse_memory
from tasks.prefect_stage import stage_task
from tasks.stage import Picture, StageKey, StageOutcome, StageWork, run_stage

VERSION = 1
MEMORY_FACTOR = 24  # float32 premultiplied copies and rows beside the picture


class ThumbnailsConfig(StageConfig):
    """Small copies, each with its longer side at most a size; a smaller picture is not enlarged."""

    stage: Literal["thumbnails"] = "thumbnails"
    sizes: tuple[int, ...] = Field(
        default=(640, 320, 160), min_length=1, max_length=12, description="Longer sides, px."
    )
    format: Literal["webp", "jpeg", "png", "avif"] = Field(default="webp", description="File format.")
    quality: int = Field(default=82, ge=1, le=100, description="Encoder quality.")

    @field_validator("sizes")
    @classmethod
    def _in_order(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if min(sizes) < 8 or max(sizes) > 4096:
            raise ValueError("sizes are 8 to 4096 pixels")
        return tuple(sorted(set(sizes), reverse=True))


@dataclass(frozen=True)
class _ThumbnailTask:
    source: OutputPlace
    place: OutputPlace
    sizes: tuple[int, ...]
    format: PictureFormat
    quality: int


@dataclass(frozen=True)
class _Made:
    files: dict[str, StoredFile]
    shapes: dict[str, list[int]]
    peak_bytes: int


@stage_task("thumbnails")
def thumbnails(item: str, source: Picture, config: ThumbnailsConfig) -> StageOutcome:
    """Make all sizes of one picture."""
    run = current_run()
    key = StageKey(
        "thumbnails", VERSION, config.parameters(), (("output", source.fingerprint),), libraries=encoder_versions()
    )

    def compute(place: OutputPlace) -> StageWork:
        reader = OutputPlace(run.storage, source.frames)
        _, height, width, channels = FrameReader(reader).shape
        refuse_memory(
            height * width * channels * MEMORY_FACTOR,
            run.limits.memory_bytes,
            f"shrinking a picture of {width}×{height}",
        )
        task = _ThumbnailTask(reader, place, config.sizes, config.format, config.quality)
        ((_, done),) = run.executor.run(_make, [task])
        return StageWork(
            files=done.files, same_as=source.frames, facts={"thumbnails": done.shapes}, peak_bytes=done.peak_bytes
        )

    return run_stage(item, key, source, compute)


def _make(task: _ThumbnailTask) -> _Made:
    """Each size from the one before it would be faster and blurrier: each is made from the whole. Runs on a worker."""
    image = to_uint8(FrameReader(task.source).read()[0])
    height, width = image.shape[:2]
    files, shapes = {}, {}
    for size in task.sizes:
        ratio = min(1.0, size / max(height, width))
        small_height, small_width = max(1, round(height * ratio)), max(1, round(width * ratio))
        small = resize_image(image, small_width, small_height) if ratio < 1 else image
        name = f"{size}.{extension(task.format)}"
        data = encode_picture(np.ascontiguousarray(small), format=task.format, quality=task.quality)
        files[name] = task.place.write_file(name, data)
        shapes[name] = [small_width, small_height]
    return _Made(files, shapes, peak_memory_bytes())


def published_thumbnails(outcome: StageOutcome, config: ThumbnailsConfig) -> list[Published]:
    """The delivered files, largest first."""
    shapes = outcome.picture.facts["thumbnails"]
    assert isinstance(shapes, dict)
    names = [f"{size}.{extension(config.format)}" for size in config.sizes]
    return [
        Published(
            role="thumbnail",
            stored=name,
            sha256=outcome.files[name].sha256,
            bytes=outcome.files[name].bytes,
            width=shapes[name][0],
            height=shapes[name][1],
            format=config.format,
            fingerprint=outcome.picture.fingerprint,
            suffix=f"-{size}",
        )
        for size, name in zip(config.sizes, names, strict=True)
    ]
