"""Contact sheets: a clip at a glance, as a grid of frames with their times."""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from typing import cast

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from datasets.errors import FrameShapeError
from tasks.ops.depth import Pixels
from tasks.ops.video.tiles import Size, Tile, cell_size, shape_seen, tile

Shot = tuple[int, int]  # the first frame and the one after the last

GROUND = 32  # grey code: dark and neutral, so that it tints no picture
BAR = 20  # of the bars beside frames too long for their cell
INK = (214, 214, 214)  # 11:1 on GROUND
PLEASANT = 1.5  # width over height of a sheet that fits a screen and a page
EMPTY_COSTS = 1.0  # how much a cell left empty weighs against a less pleasant shape
NARROWEST = 120  # px of a cell, so that its time can be read


def contact_times(total: int, shots: Sequence[Shot], count: int) -> list[int]:
    """Indices of at most ``count`` frames that show the whole clip, rising.

    Every shot is shown once before a longer one is shown twice; of more shots than ``count`` the longest are shown.
    Frames lie in the middle of equal parts of their shot.

    Args:
        total: Frames of the clip.
        shots: Half open ranges of frames; none means one shot.
    """
    known = [shot for shot in shots if shot[1] > shot[0]] or [(0, total)]
    shares = share_out([end - start for start, end in known], min(count, total), each_first=True)
    return sorted(
        start + (2 * part + 1) * (end - start) // (2 * share)
        for (start, end), share in zip(known, shares, strict=True)
        for part in range(share)
    )


def share_out(lengths: Sequence[int], seats: int, *, each_first: bool) -> list[int]:
    """How many of ``seats`` each length gets, none more than its length; ties go to the earlier one.

    Source: highest averages; divisors of Adams (0, 1, 2, ...) with ``each_first``, else of D'Hondt (1, 2, 3, ...).
    """
    shares = [0] * len(lengths)
    for _ in range(min(seats, sum(lengths))):
        shares[max(range(len(lengths)), key=lambda at: _claim(lengths[at], shares[at], each_first))] += 1
    return shares


def _claim(length: int, share: int, each_first: bool) -> tuple[bool, bool, Fraction]:
    first = each_first and share == 0
    return share < length, first, Fraction(length, max(share if each_first else share + 1, 1))


def contact_sheet(
    frames: Sequence[Pixels], times_s: Sequence[float], width: int, *, sample_aspect: Fraction = Fraction(1)
) -> Tile:
    """Draw frames in a grid, each with its time below it.

    Args:
        frames: (H, W, 3|4) each, all of one size, uint8 or uint16, sRGB, upright.
        times_s: Seconds from the beginning of the clip.
        width: Columns of the sheet, px.
        sample_aspect: Width over height of one pixel.

    Returns:
        (rows, width, 3) uint8, sRGB.

    Raises:
        FrameShapeError: There are no frames, or not as many as times.
    """
    if not len(frames) or len(frames) != len(times_s):
        raise FrameShapeError(
            f"a contact sheet needs frames and as many times, got {len(frames)} and {len(times_s)}", frames=len(frames)
        )
    shape = shape_seen(frames[0].shape[0], frames[0].shape[1], sample_aspect)
    columns = _columns(len(frames), cell_size(shape, NARROWEST)[0] / NARROWEST, width)
    gap = max(2, round(width / 80))
    room = max(columns, width - gap * (columns + 1))
    edges = [gap * (at + 1) + room * at // columns for at in range(columns + 1)]  # no pixel of the width is lost
    cell = cell_size(shape, room // columns)
    letters = max(9, min(18, round(cell[1] / 16)))
    pitch = cell[0] + 2 * letters + gap // 2
    rows = -(-len(frames) // columns)
    sheet = np.full((gap + rows * pitch + gap // 2, width, 3), GROUND, dtype=np.uint8)
    for number, frame in enumerate(frames):
        top, left = gap + number // columns * pitch, edges[number % columns]
        _paste(sheet, tile(frame, cell, BAR, sample_aspect), top, left)
    places = [(edges[at % columns], gap + at // columns * pitch + cell[0]) for at in range(len(frames))]
    return _stamped(sheet, [stamp(time) for time in times_s], places, letters)


def _paste(sheet: Tile, part: Tile, top: int, left: int) -> None:
    room = sheet[top : top + part.shape[0], left : left + part.shape[1]]
    room[:] = part[: room.shape[0], : room.shape[1]]


def _columns(count: int, height_of_width: float, width: int) -> int:
    """As many columns as make a pleasant sheet without many empty cells."""

    def cost(columns: int) -> float:
        rows = -(-count // columns)
        shape = columns / (rows * (height_of_width + 0.12))  # the time takes about an eighth of a cell's width
        return abs(float(np.log(shape / PLEASANT))) + EMPTY_COSTS * (rows * columns - count) / count

    return min(range(1, max(1, min(count, width // NARROWEST)) + 1), key=cost)


def stamp(time_s: float) -> str:
    """``0:03.24``, ``12:00.00``, ``1:02:03.40``: a time to the hundredth."""
    minutes, hundredths = divmod(round(time_s * 100), 6000)
    seconds = f"{hundredths // 100:02d}.{hundredths % 100:02d}"
    return f"{minutes}:{seconds}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{seconds}"


def _stamped(sheet: Tile, stamps: Sequence[str], places: Sequence[Size], letters: int) -> Tile:
    image = Image.fromarray(sheet)
    draw = ImageDraw.Draw(image)
    for words, (left, top) in zip(stamps, places, strict=True):
        draw.text((left, top + 0.5 * letters), words, font=_font(letters), fill=INK)
    return np.asarray(image)


@cache
def _font(letters: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font: the same on every machine."""
    return cast(ImageFont.FreeTypeFont, ImageFont.load_default(letters))
