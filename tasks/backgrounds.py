"""Backgrounds that alpha is found by: a picture that is given, or what most frames of a shot show."""

import io
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from datasets.assets import get_asset, put_asset
from datasets.errors import RecipeError
from datasets.frame_spec import Pixels
from datasets.identity import digest_bytes
from datasets.outputs import NOTES, OutputPlace
from datasets.storage import Storage
from model_blocks.choice import ModelRef
from tasks.context import current_run
from tasks.intake import photo_limits, read_source
from tasks.ops.depth import to_uint8, to_uint16
from tasks.ops.photo import PhotoLimits, read_photo
from tasks.plan import refuse_memory
from tasks.view import open_view

SAMPLES = 32  # frames of a shot that its background is worked out from
BAND_BYTES = 256 << 20  # of frames that are held at a time for it


@dataclass(frozen=True)
class GivenBackground:
    """A picture that was given, kept as an asset. Small and picklable.

    Attributes:
        asset: Its digest.
    """

    storage: Storage
    asset: str
    limits: PhotoLimits

    def of(self, frame: int) -> Pixels:
        """(H, W, 3) behind a frame."""
        return _given(self)


@dataclass(frozen=True)
class EstimatedBackgrounds:
    """What was worked out for every shot, beside the output that is made with it. Small and picklable.

    Attributes:
        starts: The first frames of the shots.
    """

    place: OutputPlace
    starts: tuple[int, ...]

    def of(self, frame: int) -> Pixels:
        """(H, W, 3) behind a frame."""
        return _estimated(self.place, self.starts[bisect_right(self.starts, frame) - 1])


Backgrounds = GivenBackground | EstimatedBackgrounds


@dataclass(frozen=True)
class _Shot:
    source: OutputPlace
    place: OutputPlace
    start: int
    stop: int


def background_input(path: str | None, model: ModelRef) -> tuple[tuple[str, str], ...]:
    """What a given background adds to a key: it counts by its content, not by its path.

    Raises:
        RecipeError: The model makes no use of it.
        NotFoundError, UnreadableError, TooManyBytesError: As ``read_source`` does.
    """
    if path is None:
        return ()
    if not model.facts.needs_background:
        raise RecipeError(
            f"a background is given and {model.name} makes no use of it; leave 'background' out, or choose a model "
            "that compares with one: --models matte=bmv2-resnet50",
            model=model.name,
        )
    return (("asset", digest_bytes(read_source(Path(path), photo_limits(current_run().settings).max_bytes))),)


def given_background(path: str) -> GivenBackground:
    """Keep a background, so that workers find it."""
    run = current_run()
    limits = photo_limits(run.settings)
    return GivenBackground(run.storage, put_asset(run.storage, read_source(Path(path), limits.max_bytes)), limits)


def estimated_backgrounds(
    source: OutputPlace, place: OutputPlace, shots: Sequence[tuple[int, int]]
) -> EstimatedBackgrounds:
    """Work out the background of every shot, once: what an interrupted run left is used again.

    Args:
        source: The frames; where they carry a mask, what it covers is left out.
        place: The output that is made with them.
        shots: Half open ranges of frames.
    """
    run = current_run()
    known = set(place.storage.list_names(place.inside(NOTES)))
    _, height, width, channels = (view := open_view(source)).shape
    needed = estimate_bytes(height, width, channels, view.dtype.itemsize)
    refuse_memory(needed, run.limits.memory_bytes, f"working out the background of {width}×{height}")
    missing = [_Shot(source, place, *shot) for shot in shots if _name(shot[0]).rsplit("/", 1)[1] not in known]
    for _ in run.executor.run(_estimate, missing):
        run.refuse_if_stopping()
    return EstimatedBackgrounds(place, tuple(start for start, _ in shots))


def estimate_bytes(height: int, width: int, channels: int, itemsize: int) -> int:
    """Memory that working out a background takes: a band of all samples twice, and a frame as it is read."""
    row = width * channels * itemsize
    band = min(SAMPLES * height * row, max(BAND_BYTES, SAMPLES * row))
    return 2 * band + 16 * height * row


def _name(start: int) -> str:
    return f"{NOTES}/background-{start:08d}.npy"


def _estimate(shot: _Shot) -> int:
    """Read frames in bands of rows, so that memory is bounded whatever the size. Runs on a worker."""
    from tasks.ops.found_alpha import median_background, outside_mask, spread_over  # with torch

    view = open_view(shot.source)
    _, height, width, channels = view.shape
    chosen = spread_over(shot.start, shot.stop, SAMPLES)
    rows = max(1, BAND_BYTES // (len(chosen) * width * channels * view.dtype.itemsize))
    made = np.empty((height, width, 3), view.dtype)
    for row in range(0, height, rows):
        band = slice(row, min(row + rows, height))
        seen = np.concatenate([view.read((slice(each, each + 1), band, slice(0, width))) for each in chosen])
        outside = outside_mask(seen[..., 3]) if channels == 4 else None
        made[band] = median_background(seen[..., :3], outside)
    stream = io.BytesIO()
    np.save(stream, made)
    shot.place.storage.write_bytes(shot.place.inside(_name(shot.start)), stream.getvalue(), durable=False)
    return shot.start


@lru_cache(maxsize=2)
def _estimated(place: OutputPlace, start: int) -> Pixels:
    return np.asarray(np.load(io.BytesIO(place.storage.read_bytes(place.inside(_name(start))))))


@lru_cache(maxsize=2)
def _given(background: GivenBackground) -> Pixels:
    picture = read_photo(get_asset(background.storage, background.asset), background.limits).pixels
    return np.ascontiguousarray(picture[..., :3])


def fitting(background: Pixels, frame: Pixels) -> Pixels:
    """The background in a frame's depth.

    Raises:
        RecipeError: It has another size than the frame: it does not show the same view.
    """
    if background.shape[:2] != frame.shape[:2]:
        wide, seen = (f"{each.shape[1]}×{each.shape[0]}" for each in (background, frame))
        raise RecipeError(
            f"the background is {wide} and the picture is {seen}; give the same view without the object, from the same "
            "camera at the same place",
            background=wide,
            picture=seen,
        )
    return to_uint16(background) if frame.dtype == np.uint16 else to_uint8(background)
