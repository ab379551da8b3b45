"""The reduced pictures that measures look at, made from bands of rows, so that a large picture is never held whole.

All values are codes 0..255 as float32, whatever the depth; colours are straight, alpha is 0..1. There are three scales:

- **reduced**: the whole picture, its long side at most 1024 px, by exact area averaging; smaller pictures are not
  enlarged. Sharpness, exposure and everything about the object are defined at this scale.
- **small**: the same at 256 px, for colours and tones of large parts.
- **windows**: pixels as they are, for noise and traces of compression: the middle 512 × 512 px of every full cell of
  1024 × 1024 px, with corners on multiples of 8 px; of a picture up to 512 px everything.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from datasets.errors import FrameShapeError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Pixels = NDArray[Any]  # uint8 or uint16
Floats = NDArray[np.float32]
Bool = NDArray[np.bool_]

REDUCED_SIDE = 1024  # px of the long side
SMALL_SIDE = 256  # px of the long side
BAND_ROWS = 1024  # rows handed over at once; a multiple of the window cells
PART_ROWS = 128  # rows in work at once: what float32 copies may take
CELL, WINDOW, GRID = 1024, 512, 8  # px
LUMA = np.array([[0.2126, 0.7152, 0.0722]], dtype=np.float32)  # ITU-R BT.709, on coded values
SOLID = 0.5  # alpha from which a pixel counts as the object
BEHIND = 128.0  # code put behind transparent pixels where a colour is needed: neither black nor white


@dataclass(frozen=True)
class Window:
    """Luma (n, m) as it is in the picture, and which pixels of it count; None where all do."""

    luma: Floats
    seen: Bool | None


@dataclass(frozen=True)
class Views:
    """What measures look at.

    Attributes:
        height, width: Of the picture, px.
        rgb: (h, w, 3) at the reduced scale.
        alpha: (h, w), 0..1; None where nothing is known of the object.
        background_known: Whether colours outside the object are those of a real background.
        windows: At the scale of the picture.
    """

    height: int
    width: int
    rgb: Floats
    alpha: Floats | None
    background_known: bool
    windows: tuple[Window, ...]

    @cached_property
    def luma(self) -> Floats:
        """(h, w) at the reduced scale, BT.709."""
        return to_luma(self.rgb)

    @cached_property
    def seen(self) -> Bool | None:
        """The object's pixels (h, w); None where there is no alpha, so that all count."""
        return None if self.alpha is None else np.asarray(self.alpha >= SOLID)

    def small(self) -> tuple[Floats, Floats | None]:
        """Colours (h, w, 3) and alpha (h, w) at the small scale."""
        height, width = fitted(self.rgb.shape[0], self.rgb.shape[1], SMALL_SIDE)
        if self.alpha is None:
            return shrunk(self.rgb, height, width), None
        alpha = shrunk(self.alpha, height, width)
        if self.background_known:
            return shrunk(self.rgb, height, width), alpha
        return straight(shrunk(weighted(self.rgb, self.alpha), height, width), alpha), alpha


class ViewBuilder:
    """Takes a picture in bands of rows from top to bottom and holds what measures need of it.

    Args:
        height, width: Of the picture, px.
        background_known: Whether colours under transparent pixels are real, so that they are not weighted by alpha:
            a photograph with the mask of its object.
    """

    def __init__(self, height: int, width: int, *, background_known: bool) -> None:
        self._size = height, width
        self._reduced = fitted(height, width, REDUCED_SIDE)
        self._known = background_known
        self._colours: Floats | None = None
        self._alpha: Floats | None = None
        self._windows: list[Window] = []

    def add(self, first_row: int, rows: Pixels) -> None:
        """The next band: (n, W, 3|4), uint8 or uint16; ``first_row`` and all n but the last are ``BAND_ROWS`` apart.

        Raises:
            FrameShapeError: Not such rows.
        """
        check_pixels(rows)
        for start in range(0, len(rows), PART_ROWS):
            self._add_part(first_row + start, _codes(rows[start : start + PART_ROWS]))
        for box in windows_of_band(first_row, len(rows), *self._size):
            self._windows.append(_window(_codes(rows[box]), known=self._known))

    def _add_part(self, first_row: int, codes: Floats) -> None:
        colours = opaque(codes)
        if codes.shape[2] == 4:
            alpha = cv2.extractChannel(codes, 3) * np.float32(1 / 255)
            self._alpha = self._reduce(self._alpha, first_row, alpha)
            colours = colours if self._known else weighted(colours, alpha)
        self._colours = self._reduce(self._colours, first_row, colours)

    def _reduce(self, sums: Floats | None, first_row: int, values: Floats) -> Floats:
        """Add rows (n, W, ...) to the averages (h, w, ...)."""
        height, width = self._reduced
        if sums is None:
            sums = np.zeros((height, width, *values.shape[2:]), np.float32)
        if (height, width) == self._size:
            sums[first_row : first_row + len(values)] = values
            return sums
        across = shrunk(values, len(values), width)
        top, weights = area_weights(first_row, len(values), self._size[0], height)
        added = weights @ across.reshape(len(values), -1)
        sums[top : top + len(added)] += added.reshape(-1, *across.shape[1:])
        return sums

    def done(self) -> Views:
        """The views, once all rows were added."""
        assert self._colours is not None, "no rows were added"
        rgb, alpha = self._colours, self._alpha
        if alpha is not None:
            np.clip(alpha, 0, 1, out=alpha)
            rgb = rgb if self._known else straight(rgb, alpha)
        return Views(*self._size, rgb, alpha, self._known, tuple(self._windows))


def views_of(image: Pixels, alpha: NDArray[Any] | None = None) -> Views:
    """The views of a whole picture.

    Args:
        image: (H, W, 3|4), sRGB, uint8 or uint16, straight alpha last.
        alpha: (H, W) of the object in a picture that shows its background; float 0..1, bool, uint8 or uint16.

    Raises:
        FrameShapeError: Not such a picture, or an alpha of another size.
    """
    check_pixels(image)
    height, width = image.shape[:2]
    known = alpha is not None or image.shape[2] == 3
    if alpha is not None:
        if alpha.shape != (height, width):
            raise FrameShapeError(f"expected an alpha of {(height, width)}, got {alpha.shape}", shape=alpha.shape)
        image = np.dstack([image[..., :3], _as_depth(alpha, image.dtype)])
    builder = ViewBuilder(height, width, background_known=known)
    for first in range(0, height, BAND_ROWS):
        builder.add(first, image[first : first + BAND_ROWS])
    return builder.done()


def check_pixels(image: Pixels) -> None:
    """Refuse what is not (H, W, 3|4) of uint8 or uint16 with at least one pixel."""
    if image.ndim != 3 or image.shape[2] not in {3, 4} or image.dtype.name not in {"uint8", "uint16"} or not image.size:
        raise FrameShapeError(
            f"expected a picture (H, W, 3|4) of uint8 or uint16, got {image.shape} of {image.dtype}",
            shape=list(image.shape),
        )


def fitted(height: int, width: int, side: int) -> tuple[int, int]:
    """Height and width with a long side of at most ``side``, px."""
    ratio = min(1.0, side / max(height, width))
    return max(1, round(height * ratio)), max(1, round(width * ratio))


def shrunk(values: Floats, height: int, width: int) -> Floats:
    """Averages over areas; the same values where the size stays."""
    if values.shape[:2] == (height, width):
        return values
    made = cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(made, np.float32).reshape(height, width, *values.shape[2:])


def straight(premultiplied: Floats, alpha: Floats) -> Floats:
    """Colours (h, w, 3) that were weighted by alpha (h, w), as they were; black where nothing is."""
    gain = np.divide(1, alpha, out=np.zeros_like(alpha), where=alpha > 0)
    return weighted(premultiplied, gain)


def weighted(colours: Floats, weight: Floats) -> Floats:
    """Colours (h, w, 3) multiplied by a weight (h, w)."""
    return np.asarray(colours * cv2.cvtColor(weight, cv2.COLOR_GRAY2RGB), np.float32)  # ten times as fast as broadcast


def opaque(codes: Floats) -> Floats:
    """The colours (h, w, 3) of (h, w, 3|4); copied many times faster than by a slice."""
    return codes if codes.shape[2] == 3 else np.asarray(cv2.cvtColor(codes, cv2.COLOR_RGBA2RGB), np.float32)


def to_luma(rgb: Floats) -> Floats:
    """BT.709 luma of codes (h, w, 3) as (h, w)."""
    return np.asarray(cv2.transform(rgb, LUMA), np.float32).reshape(rgb.shape[:2])


def windows_of_band(first_row: int, rows: int, height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Rows of the band and columns of every window that begins in it."""
    for top in range(first_row, first_row + rows, CELL):
        down = _window_span(top, height)
        for left in range(0, width, CELL):
            across = _window_span(left, width)
            if down is not None and across is not None:
                yield slice(down.start - first_row, down.stop - first_row), across


def _window_span(start: int, extent: int) -> slice | None:
    """The middle of a cell; of the only cell also if it is small, of a last one only if it is large enough."""
    size = min(CELL, extent - start)
    if start and size < WINDOW:
        return None
    begin = start + max(0, size - WINDOW) // 2 // GRID * GRID
    return slice(begin, min(begin + WINDOW, start + size))


@lru_cache(maxsize=256)  # asked for colours and for alpha of every band, in pictures of the same size
def area_weights(first_row: int, rows: int, height: int, reduced: int) -> "tuple[int, csr_array[np.float32]]":
    """How much source rows count in averages: the first reduced row they reach, and weights (reduced rows, rows)."""
    from scipy.sparse import csr_array

    ratio = height / reduced
    source = np.arange(first_row, first_row + rows)
    target = np.minimum(np.floor((source + 1e-9) / ratio).astype(np.int64), reduced - 1)
    inside = np.clip((target + 1) * ratio - source, 0, 1)
    inside[target == reduced - 1] = 1
    top, index = int(target[0]), np.arange(rows)
    where = (np.concatenate([target, target + 1]) - top, np.concatenate([index, index]))
    weights = np.concatenate([inside, 1 - inside]) / ratio
    counts = weights > 0
    bottom = int(where[0][counts].max()) + 1
    values = (weights[counts].astype(np.float32), (where[0][counts], where[1][counts]))
    return top, csr_array(values, shape=(bottom, rows))


def _codes(rows: Pixels) -> Floats:
    """A new array of codes 0..255."""
    codes = rows.astype(np.float32)
    if rows.dtype == np.uint16:
        codes /= 257
    return codes


def _window(codes: Floats, *, known: bool) -> Window:
    luma = to_luma(opaque(codes))
    if codes.shape[2] == 3:
        return Window(luma, None)
    seen = np.asarray(codes[..., 3] >= SOLID * 255)
    return Window(luma if known else np.where(seen, luma, np.float32(BEHIND)), seen)


def _as_depth(alpha: NDArray[Any], dtype: np.dtype[Any]) -> Pixels:
    full = {"b": 1.0, "f": 1.0}.get(alpha.dtype.kind) or float(np.iinfo(alpha.dtype).max)
    scaled = np.clip(alpha.astype(np.float64) / full, 0, 1) * np.iinfo(dtype).max
    return np.asarray(np.round(scaled), dtype)
