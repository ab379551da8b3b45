"""Colour look-up tables in .cube files. Source: Adobe, "Cube LUT Specification", version 1.0, 2013."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.errors import PermanentError

SIZES = {1: (2, 65536), 3: (2, 129)}  # Adobe allows 256 for 3D; above 129 a text of half a gigabyte gains nothing
_INPUT_RANGES = ("LUT_1D_INPUT_RANGE", "LUT_3D_INPUT_RANGE")  # not Adobe's, but grading programs write them


class LutInvalidError(PermanentError):
    """A .cube text that cannot be read; ``facts["line"]`` is the line, counted from 1."""

    code = "lut_invalid"


@dataclass(frozen=True)
class CubeLut:
    """A look-up table for RGB.

    Attributes:
        table: (N, 3) for one dimension; (N, N, N, 3), indexed by red, green, blue, for three. float32.
        domain_min: input that the first entry stands for, per channel.
        domain_max: input that the last entry stands for, per channel.
    """

    table: NDArray[np.float32]
    domain_min: tuple[float, float, float] = (0.0, 0.0, 0.0)
    domain_max: tuple[float, float, float] = (1.0, 1.0, 1.0)
    title: str = ""

    @property
    def size(self) -> int:
        return int(self.table.shape[0])

    @property
    def dimensions(self) -> int:
        return 1 if self.table.ndim == 2 else 3

    def apply(self, rgb: NDArray[Any]) -> NDArray[np.float32]:
        """Map colours: linear interpolation in one dimension, tetrahedral in three.

        Args:
            rgb: (..., 3), float; values outside the domain are taken at its border.

        Returns:
            Same shape, float32; as the table says, not clipped.
        """
        low = np.array(self.domain_min, dtype=np.float32)
        scale = np.float32(self.size - 1) / (np.array(self.domain_max, dtype=np.float32) - low)
        place = np.clip((rgb.astype(np.float32, copy=False) - low) * scale, 0.0, np.float32(self.size - 1))
        cell = np.minimum(place.astype(np.int32), self.size - 2)
        fraction = place - cell.astype(np.float32)
        return self._curves(cell, fraction) if self.dimensions == 1 else self._tetrahedra(cell, fraction)

    def _curves(self, cell: NDArray[np.int32], fraction: NDArray[np.float32]) -> NDArray[np.float32]:
        channel = np.arange(3)
        low, high = self.table[cell, channel], self.table[cell + 1, channel]
        mapped: NDArray[np.float32] = low + (high - low) * fraction
        return mapped

    def _tetrahedra(self, cell: NDArray[np.int32], fraction: NDArray[np.float32]) -> NDArray[np.float32]:
        """From the dark corner to the light one along the axes in falling order of their fractions."""
        flat = self.table.reshape(-1, 3)
        strides = np.array([self.size * self.size, self.size, 1], dtype=np.int32)
        order = np.argsort(-fraction, axis=-1, kind="stable")
        sorted_fraction = np.take_along_axis(fraction, order, axis=-1)
        steps = strides[order]
        corner = cell[..., 0] * strides[0] + cell[..., 1] * strides[1] + cell[..., 2]
        out: NDArray[np.float32] = flat[corner] * (1.0 - sorted_fraction[..., :1])
        for k in range(3):
            corner = corner + steps[..., k]
            following = sorted_fraction[..., k + 1 : k + 2] if k < 2 else np.float32(0.0)
            out += flat[corner] * (sorted_fraction[..., k : k + 1] - following)
        return out


@dataclass
class _Draft:
    """What has been read of a file so far."""

    title: str = ""
    size: int = 0
    dimensions: int = 0
    low: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    high: list[float] = field(default_factory=lambda: [1.0, 1.0, 1.0])
    rows: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)


def parse_cube(text: str) -> CubeLut:
    """Read a .cube file's text, 1D or 3D.

    Raises:
        LutInvalidError: with the line number; also for numbers that are missing, too many or not finite.
    """
    draft = _Draft()
    for number, raw in enumerate(text.lstrip("\ufeff").splitlines(), start=1):
        line = raw.strip()
        if line and not line.startswith("#"):
            _read_line(draft, line, number)
    if not draft.dimensions:
        raise LutInvalidError("expected LUT_1D_SIZE or LUT_3D_SIZE, found neither", line=0)
    if any(high <= low for low, high in zip(draft.low, draft.high, strict=True)):
        raise LutInvalidError("DOMAIN_MAX must lie above DOMAIN_MIN", line=0)
    table = _read_table(draft)
    low, high = ((v[0], v[1], v[2]) for v in (draft.low, draft.high))
    return CubeLut(table, low, high, draft.title)


def _read_line(draft: _Draft, line: str, number: int) -> None:
    word, _, rest = line.partition(" ") if " " in line else line.partition("\t")
    if not word[0].isalpha():
        draft.rows.append(line)
        draft.lines.append(number)
    elif word == "TITLE":
        draft.title = rest.strip().strip('"')
    elif word in ("LUT_1D_SIZE", "LUT_3D_SIZE"):
        _read_size(draft, int(word[4]), rest, number)
    elif word in ("DOMAIN_MIN", "DOMAIN_MAX"):
        setattr(draft, "low" if word.endswith("MIN") else "high", _numbers(rest, 3, number))
    elif word in _INPUT_RANGES:
        low, high = _numbers(rest, 2, number)
        draft.low, draft.high = [low] * 3, [high] * 3
    else:
        raise LutInvalidError(f"line {number}: unknown keyword {word[:40]!r}", line=number)


def _read_size(draft: _Draft, dimensions: int, rest: str, number: int) -> None:
    if draft.dimensions:
        raise LutInvalidError(f"line {number}: a second size; a file holds one table", line=number)
    low, high = SIZES[dimensions]
    if not rest.strip().isdecimal() or not low <= int(rest) <= high:
        raise LutInvalidError(f"line {number}: expected a size of {low} to {high}, got {rest[:40]!r}", line=number)
    draft.dimensions, draft.size = dimensions, int(rest)


def _numbers(text: str, count: int, line: int) -> list[float]:
    try:
        numbers = [float(part) for part in text.split()]
    except ValueError as error:
        raise LutInvalidError(f"line {line}: expected numbers, got {text[:40]!r}", line=line) from error
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise LutInvalidError(f"line {line}: expected {count} finite numbers, got {text[:40]!r}", line=line)
    return numbers


def _read_table(draft: _Draft) -> NDArray[np.float32]:
    expected = draft.size**draft.dimensions
    if len(draft.rows) != expected:
        last = draft.lines[-1] if draft.lines else 0
        raise LutInvalidError(f"line {last}: expected {expected} rows, got {len(draft.rows)}", line=last)
    rows = [_numbers(row, 3, number) for row, number in zip(draft.rows, draft.lines, strict=True)]
    flat = np.array(rows, dtype=np.float32)
    if draft.dimensions == 1:
        return flat
    # red runs fastest in the file, so the file's order is blue, green, red
    return np.ascontiguousarray(flat.reshape(draft.size, draft.size, draft.size, 3).transpose(2, 1, 0, 3))
