"""Sprites for scrubbing: sheets of small frames, and a WebVTT track that says which one stands for which time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from datasets.errors import FrameShapeError
from tasks.ops.depth import Pixels
from tasks.ops.video.tiles import Size, Tile, cell_size, shape_seen, tile

ACROSS = DOWN = 10  # cells of a sheet: one file stays small enough to be fetched while somebody scrubs
BAR = 0


@dataclass(frozen=True)
class SpritePlan:
    """Which frame is shown for which stretch of the clip, times in milliseconds from its first frame.

    ``starts_ms[0]`` is 0, every stretch ends where the next one starts, and none is empty.
    """

    indices: tuple[int, ...]
    starts_ms: tuple[int, ...]
    end_ms: int

    def sheets(self) -> Iterator[tuple[int, ...]]:
        """The frames of each sheet, in order."""
        for start in range(0, len(self.indices), ACROSS * DOWN):
            yield self.indices[start : start + ACROSS * DOWN]


def sprite_plan(
    total: int, pts: NDArray[np.int64], time_base: Fraction, interval_s: float, *, last_duration: int | None = None
) -> SpritePlan:
    """Divide a clip into equal stretches of about ``interval_s``, each shown by the frame in its middle.

    Stretches shown by the same frame become one.

    Args:
        total: Frames of the clip.
        pts: (total,) rising time stamps.
        time_base: Seconds per tick.
        interval_s: Wanted length of a stretch, seconds.
        last_duration: Ticks for which the last frame is shown; None: as long as the one before it, and a single frame
            for ``interval_s``.

    Raises:
        FrameShapeError: No frames, not one time stamp for each, or time stamps that do not rise.
    """
    if total < 1 or len(pts) != total or (np.diff(pts) <= 0).any():
        raise FrameShapeError(
            f"expected one rising time stamp for each of {total} frames, got {len(pts)}", shape=pts.shape
        )
    ticks = pts.astype(np.int64) - int(pts[0])
    shown = last_duration or (int(ticks[-1] - ticks[-2]) if total > 1 else round(interval_s / time_base))
    length = int(ticks[-1]) + max(1, shown)
    count = max(1, round(length * float(time_base) / interval_s))
    middles = [(2 * part + 1) * length / (2 * count) for part in range(count)]
    chosen = np.searchsorted(ticks, middles, side="right") - 1
    starts = [round(part * length * time_base * 1000 / count) for part in range(count)]
    kept = [at for at in range(count) if at == 0 or (chosen[at] != chosen[at - 1] and starts[at] > starts[at - 1])]
    end_ms = max(starts[kept[-1]] + 1, round(length * time_base * 1000))
    return SpritePlan(tuple(int(chosen[at]) for at in kept), tuple(starts[at] for at in kept), end_ms)


def sprite_cell(height: int, width: int, *, columns: int = 160, sample_aspect: Fraction = Fraction(1)) -> Size:
    """The (rows, columns) of a sprite of frames of this size: at most ``columns`` each way, both even."""
    rows, wide = cell_size(shape_seen(height, width, sample_aspect), columns)
    if rows > columns:
        rows, wide = columns, max(1, round(columns * columns / rows))
    return max(2, rows // 2 * 2), max(2, wide // 2 * 2)


def sprite_sheet(frames: Sequence[Pixels], cell: Size, *, sample_aspect: Fraction = Fraction(1)) -> Tile:
    """One sheet of at most 10×10 sprites without gaps, (rows, columns, 3) uint8; cells left over are black.

    Raises:
        FrameShapeError: No frames, or more than a sheet holds.
    """
    if not 1 <= len(frames) <= ACROSS * DOWN:
        raise FrameShapeError(f"a sheet holds 1 to {ACROSS * DOWN} sprites, got {len(frames)}", frames=len(frames))
    rows, columns = cell
    down = -(-len(frames) // ACROSS)
    sheet = np.full((down * rows, min(len(frames), ACROSS) * columns, 3), BAR, dtype=np.uint8)
    for number, frame in enumerate(frames):
        left, top, _, _ = _place(number, cell)
        sheet[top : top + rows, left : left + columns] = tile(frame, cell, BAR, sample_aspect)
    return sheet


def _place(number: int, cell: Size) -> tuple[int, int, int, int]:
    """x, y, width and height of a sprite on its sheet."""
    rows, columns = cell
    return number % ACROSS * columns, number // ACROSS * rows, columns, rows


def sprite_track(plan: SpritePlan, cell: Size, names: Sequence[str]) -> str:
    """The WebVTT file that maps times to sprites.

    Source: W3C, WebVTT: The Web Video Text Tracks Format; W3C, Media Fragments URI 1.0, ``xywh``.

    Args:
        names: File names of the sheets, beside the track; they are percent-encoded.
    """
    lines = ["WEBVTT", ""]
    ends = (*plan.starts_ms[1:], plan.end_ms)
    for number, (start, end) in enumerate(zip(plan.starts_ms, ends, strict=True)):
        sheet, at = divmod(number, ACROSS * DOWN)
        fragment = ",".join(map(str, _place(at, cell)))
        lines += [f"{_clock(start)} --> {_clock(end)}", f"{quote(names[sheet])}#xywh={fragment}", ""]
    return "\n".join(lines)


def _clock(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest:03d}"
