"""One row of numbers for every frame of a clip, from what was measured while it was decoded."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from datasets.errors import FrameShapeError

if TYPE_CHECKING:
    from polars import DataFrame

Numbers = NDArray[Any]

BLACK_LUMA, BLACK_CONTRAST = 16.0, 4.0  # codes: at most this bright and this varied is a black frame
FROZEN_BELOW = 0.05  # codes of mean difference: what encoding alone changes in a repeated frame


def frame_rows(
    item: str,
    *,
    luma_mean: Numbers,
    luma_std: Numbers,
    sharpness: Numbers,
    difference: Numbers,
    cuts: Sequence[int] = (),
    times_s: Numbers | None = None,
) -> "DataFrame":
    """The measures table of a clip's frames, one row each, in order.

    Args:
        item: Whose frames they are.
        luma_mean, luma_std: (T,) in codes 0..255.
        sharpness: (T,), variance of the Laplacian.
        difference: (T,), mean absolute difference to the frame before, in codes.
        cuts: First frames of all shots but the first.
        times_s: (T,), seconds.

    Returns:
        Columns ``item``, ``frame``, ``time_s``, ``shot``, ``luma_mean``, ``luma_std``, ``sharpness``; ``difference``
        (codes, null for the first frame of a shot); ``black`` (1 or 0); ``frozen_frames`` (how many frames long the
        standstill is that the frame is part of; 1 if it moves on both sides); ``flicker`` (codes that its mean luma
        lies away from the middle of its neighbours of the same shot; 0 at a shot's ends).

    Raises:
        FrameShapeError: Not as many numbers of each kind.
    """
    import polars as pl

    count = len(luma_mean)
    if {len(luma_std), len(sharpness), len(difference), count if times_s is None else len(times_s)} != {count}:
        raise FrameShapeError(f"expected {count} numbers of every kind, one for each frame")
    shot = shot_indices(count, cuts)
    first = np.diff(shot, prepend=-1) != 0
    moved = np.where(first, np.nan, difference)
    black = (np.asarray(luma_mean) <= BLACK_LUMA) & (np.asarray(luma_std) <= BLACK_CONTRAST)
    return pl.DataFrame(
        {
            "item": [item] * count,
            "frame": np.arange(count, dtype=np.int64),
            "time_s": [None] * count if times_s is None else np.asarray(times_s, np.float64),
            "shot": shot,
            "luma_mean": np.asarray(luma_mean, np.float64),
            "luma_std": np.asarray(luma_std, np.float64),
            "sharpness": np.asarray(sharpness, np.float64),
            "difference": moved.astype(np.float64),
            "black": black.astype(np.int64),
            "frozen_frames": standstills(moved),
            "flicker": flicker(luma_mean, shot),
        },
        schema_overrides={"time_s": pl.Float64},
    ).with_columns(pl.col("difference").fill_nan(None))


def shot_indices(count: int, cuts: Sequence[int]) -> NDArray[np.int64]:
    """The number of the shot of each frame, (T,)."""
    begins = np.zeros(count, np.int64)
    begins[[cut for cut in set(cuts) if 0 < cut < count]] = 1
    return np.cumsum(begins)


def standstills(moved: Numbers) -> NDArray[np.int64]:
    """Length in frames of the run of unchanged frames that each frame (T,) belongs to; NaN begins a shot."""
    with np.errstate(invalid="ignore"):
        begins = ~(np.asarray(moved) < FROZEN_BELOW)
    run = np.cumsum(begins)
    return np.bincount(run, minlength=1)[run].astype(np.int64)


def flicker(luma_mean: Numbers, shot: Numbers) -> NDArray[np.float64]:
    """How far the mean luma of each frame (T,) lies from the middle of both neighbours, in codes."""
    luma, away = np.asarray(luma_mean, np.float64), np.zeros(len(luma_mean))
    if len(luma) > 2:
        within = (shot[1:-1] == shot[:-2]) & (shot[1:-1] == shot[2:])
        away[1:-1] = np.where(within, np.abs(luma[1:-1] - (luma[:-2] + luma[2:]) / 2), 0.0)
    return away
