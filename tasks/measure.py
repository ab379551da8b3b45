"""Measure: the row of numbers that a gate decides by, taken from an item's stored picture on a worker.

A picture is read in bands of rows and kept reduced, so that a large one needs no more memory than a band of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from datasets.errors import FrameShapeError
from datasets.frame_spec import Pixels
from datasets.frames import FrameReader
from datasets.outputs import OutputPlace
from expectations.fidelity import Placement, measure_fidelity
from expectations.frame_measures import frame_rows
from expectations.measures import Value, measures_of_views, measures_table
from expectations.views import BAND_ROWS, ViewBuilder
from tasks.clip_measures import ClipMeasures
from tasks.context import current_run
from tasks.plan import refuse_memory
from tasks.stage import Picture

if TYPE_CHECKING:
    from polars import DataFrame

BAND_BYTES = 4  # per value of a band: as read, and a part of it as float32
REDUCED_BYTES = 96 << 20  # what is kept reduced, with the copies that measures make of it
FIDELITY_BYTES = 6  # per value of both pictures, which are compared whole: as read, as float32, reduced


@dataclass(frozen=True)
class Compared:
    """What the product is compared with after a placement: the picture it was cut out to, and where it should be."""

    cutout: Picture
    placement: Placement | None = None


@dataclass(frozen=True)
class _MeasureTask:
    item: str
    place: OutputPlace
    matte: OutputPlace | None
    object_found: bool | None
    cutout: OutputPlace | None
    placement: Placement | None


def measure_picture(
    item: str, picture: Picture, *, matte: Picture | None = None, compared: Compared | None = None
) -> "DataFrame":
    """Measure a photograph, or the first frame of a clip in RGB.

    Args:
        item: Name of the item.
        picture: What is measured. Its fact ``object_found`` says whether a missing alpha means a missing object.
        matte: A cutout of the same size whose alpha is the object in ``picture``, so that its background is measured.
        compared: With what to compare the product that ``picture`` shows in a scene.

    Returns:
        One row with every column of ``expectations.measures.MEASURES``.

    Raises:
        PlanTooLargeError: There is not enough memory.
        FrameShapeError: ``matte`` has another size, or no alpha.
        OutputDamagedError: A chunk is missing or not what was written.
    """
    run = current_run()
    place = OutputPlace(run.storage, picture.frames)
    matte_place = OutputPlace(run.storage, matte.frames) if matte else None
    cutout_place = OutputPlace(run.storage, compared.cutout.frames) if compared else None
    _refuse(place, matte_place, cutout_place)
    found = picture.facts.get("object_found")
    task = _MeasureTask(
        item,
        place,
        matte_place,
        found if isinstance(found, bool) else None,
        cutout_place,
        compared.placement if compared else None,
    )
    ((_, row),) = run.executor.run(_measure, [task])
    return measures_table([row])


def measure_clip(item: str, measures: ClipMeasures) -> "DataFrame":
    """One row for every frame of a clip, from what was measured while it was decoded."""
    frames = measures.frames
    return frame_rows(
        item,
        luma_mean=frames.luma_mean,
        luma_std=frames.luma_std,
        sharpness=frames.sharpness,
        difference=frames.difference,
        cuts=measures.cuts,
        times_s=measures.times_s,
    )


def _refuse(place: OutputPlace, matte: OutputPlace | None, cutout: OutputPlace | None) -> None:
    limit = current_run().limits.memory_bytes
    _, height, width, channels = FrameReader(place).shape
    bands = min(height, BAND_ROWS) * width * channels * BAND_BYTES * (1 if matte is None else 2)
    refuse_memory(bands + REDUCED_BYTES, limit, f"measuring a picture of {width}×{height}")
    if cutout is not None:
        whole = height * width * channels + int(np.prod(FrameReader(cutout).shape))
        refuse_memory(whole * FIDELITY_BYTES, limit, f"comparing a picture of {width}×{height} with its product")


def _measure(task: _MeasureTask) -> dict[str, Value]:
    """Runs on a worker."""
    reader = FrameReader(task.place)
    _, height, width, channels = reader.shape
    builder = ViewBuilder(height, width, background_known=channels == 3 or task.matte is not None)
    for first, rows in _bands(reader, FrameReader(task.matte) if task.matte else None):
        builder.add(first, rows)
    row = measures_of_views(task.item, builder.done(), task.object_found)
    if task.cutout is not None:
        fidelity = measure_fidelity(FrameReader(task.cutout).read()[0], reader.read()[0], task.placement)
        row |= fidelity.to_row() if fidelity else {}
    return row


def _bands(reader: FrameReader, matte: FrameReader | None) -> Iterator[tuple[int, Pixels]]:
    """Bands of rows from top to bottom, with the matte's alpha in place of their own."""
    _, height, width, _ = reader.shape
    if matte is not None and (matte.shape[1:] != (height, width, 4) or matte.dtype != reader.dtype):
        raise FrameShapeError(
            f"expected a matte of {width}×{height} with alpha as {reader.dtype}, got {matte.shape} {matte.dtype}",
            shape=list(matte.shape),
        )
    for first in range(0, height, BAND_ROWS):
        box = (slice(0, 1), slice(first, min(first + BAND_ROWS, height)), slice(0, width))
        rows = reader.read(box)[0]
        yield first, rows if matte is None else np.dstack([rows[..., :3], matte.read(box)[0, ..., 3]])
