"""Resizing whose every output pixel is the same whatever tile it was computed in.

A pixel is a weighted sum over a fixed list of taps that depends on its own position alone. The sums run tap by tap in
one order, in float32, as a sparse matrix applied to whole rows, so a tile equals the same part of the whole bit by bit.
Source of the tap rule: P. Heckbert, "Filtered image rescaling", 1992: the kernel is stretched when shrinking, and taps
outside the picture are dropped and the others weighed up.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from datasets.errors import FrameShapeError
from tasks.ops.depth import Pixels, full_scale
from tasks.ops.geometry import Region
from tasks.ops.transfer import linear_to_srgb, srgb_to_linear

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Kernel = Literal["lanczos3", "bicubic", "area", "triangle"]

WEIGHT_FLOOR = 1e-7  # below float32 resolution: such a tap changes no pixel and need not be read
BAND_SAMPLES = 1 << 22  # float32 numbers worked on at a time by resize_image: 16 MiB

Floats = NDArray[np.float64]


def _lanczos3(x: Floats) -> Floats:
    return np.where(np.abs(x) < 3.0, np.sinc(x) * np.sinc(x / 3.0), 0.0)


def _bicubic(x: Floats) -> Floats:
    """Keys 1981, a = -1/2."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _triangle(x: Floats) -> Floats:
    return np.maximum(0.0, 1.0 - np.abs(x))


_SHAPES: dict[str, tuple[float, Callable[[Floats], Floats]]] = {
    "lanczos3": (3.0, _lanczos3),
    "bicubic": (2.0, _bicubic),
    "triangle": (1.0, _triangle),
}


@dataclass(frozen=True)
class Axis:
    """One direction of a resampling: output pixel ``i`` covers ``origin + i * step`` to ``origin + (i + 1) * step``.

    Attributes:
        in_size: pixels of the picture in this direction; nothing outside 0..in_size is ever read.
        step: input pixels per output pixel.
        origin: input coordinate of the left edge of output pixel 0.
        kernel: "area" is the exact mean over the covered stretch; the others are their field's names.
    """

    in_size: int
    step: float
    origin: float
    kernel: Kernel

    @property
    def support(self) -> float:
        if self.kernel == "area":
            return (self.step + 1.0) / 2.0
        return _SHAPES[self.kernel][0] * max(1.0, self.step)

    def weights(self, out0: int, out1: int) -> tuple[NDArray[np.int64], Floats]:
        """Input positions and weights (n, taps) of the output pixels; positions outside the picture weigh nothing."""
        centre = self.origin + (np.arange(out0, out1) + 0.5) * self.step
        taps = int(np.ceil(2.0 * self.support)) + 2
        position = np.floor(centre - self.support).astype(np.int64)[:, None] + np.arange(taps)
        weight = self._shape(position + 0.5 - centre[:, None])
        weight[(position < 0) | (position >= self.in_size)] = 0.0
        weight[np.abs(weight) < WEIGHT_FLOOR] = 0.0
        total = weight.sum(axis=1, keepdims=True)
        return position, np.divide(weight, total, out=np.zeros_like(weight), where=total != 0.0)

    def _shape(self, distance: Floats) -> Floats:
        if self.kernel == "area":
            return np.clip((self.step + 1.0) / 2.0 - np.abs(distance), 0.0, min(1.0, self.step))
        return _SHAPES[self.kernel][1](distance / max(1.0, self.step))

    def span(self, out0: int, out1: int) -> tuple[int, int]:
        """The input pixels that the output pixels ``out0 <= i < out1`` depend on, half open; (0, 0) when on none."""
        position, weight = self.weights(out0, out1)
        used = position[weight != 0.0]
        return (int(used.min()), int(used.max()) + 1) if used.size else (0, 0)

    def matrix(self, out0: int, out1: int, in0: int, in1: int) -> "csr_array[np.float32]":
        """Sparse weights (out1 - out0, in1 - in0).

        Raises:
            FrameShapeError: a pixel that is needed lies outside ``in0 <= j < in1``.
        """
        from scipy.sparse import csr_array

        position, weight = self.weights(out0, out1)
        used = weight != 0.0
        index = position[used] - in0
        if index.size and (index.min() < 0 or index.max() >= in1 - in0):
            needed = (int(index.min()) + in0, int(index.max()) + in0 + 1)
            raise FrameShapeError(f"resampling needs pixels {needed}, got {(in0, in1)}", needed=needed, got=(in0, in1))
        starts = np.concatenate([[0], np.cumsum(used.sum(axis=1))]).astype(np.int32)
        return csr_array(
            (weight[used].astype(np.float32), index.astype(np.int32), starts), shape=(out1 - out0, in1 - in0)
        )


def fitted_axis(in_size: int, out_size: int, kernel: Kernel) -> Axis:
    """The axis that makes ``out_size`` pixels of ``in_size`` pixels, edge to edge."""
    return Axis(in_size, in_size / out_size, 0.0, kernel)


def resample_input_span(out0: int, out1: int, *, in_size: int, out_size: int, kernel: Kernel) -> tuple[int, int]:
    """The input range that the output range ``out0 <= i < out1`` needs, half open, inside 0..in_size."""
    return fitted_axis(in_size, out_size, kernel).span(out0, out1)


def resample_input_region(
    region: Region, *, in_size: tuple[int, int], out_size: tuple[int, int], kernel: Kernel
) -> Region:
    """The part of the input, in the same frames, that ``region`` of the output needs. Sizes are (H, W)."""
    y0, y1 = resample_input_span(region.y0, region.y1, in_size=in_size[0], out_size=out_size[0], kernel=kernel)
    x0, x1 = resample_input_span(region.x0, region.x1, in_size=in_size[1], out_size=out_size[1], kernel=kernel)
    return Region(region.t0, region.t1, y0, y1, x0, x1)


def resample_frames(
    frames: Pixels,
    *,
    read: Region,
    region: Region,
    in_size: tuple[int, int],
    out_size: tuple[int, int],
    kernel: Kernel = "lanczos3",
    linear_light: bool = False,
) -> Pixels:
    """Compute ``region`` of the resized clip from an array that holds ``read`` of the original one.

    Args:
        frames: (T, H, W, C), sRGB, uint8, uint16, or float32 0..1; with four channels the last is straight alpha, and
            colours weigh as much as they are opaque.
        read: where ``frames`` lies in the input; at least ``resample_input_region``.
        region: the wanted part of the output.
        in_size: (H, W) of the whole input.
        out_size: (H, W) of the whole output.
        kernel: see ``Axis``.
        linear_light: weigh light instead of sRGB codes.

    Returns:
        (T, H, W, C) of ``region``, same dtype. Integers are rounded half to even and clipped; floats are not clipped,
        alpha excepted. Colours are 0 where alpha is 0, unless nothing is resized.

    Raises:
        FrameShapeError: ``frames`` is not ``read``, or ``read`` lacks a pixel that is needed.
    """
    if frames.ndim != 4 or frames.shape[:3] != (read.frames, read.height, read.width):
        raise FrameShapeError(f"expected frames (T, H, W, C) of {read}, got shape {frames.shape}", shape=frames.shape)
    chosen = frames[region.t0 - read.t0 : region.t1 - read.t0]
    if chosen.shape[0] != region.frames or region.y1 > out_size[0] or region.x1 > out_size[1]:
        raise FrameShapeError(f"{region} is not within {read} frames and {out_size} pixels", region=str(region))
    if in_size == out_size:
        return _cut_out(chosen, read, region)
    rows, columns = (fitted_axis(i, o, kernel) for i, o in zip(in_size, out_size, strict=True))
    out = np.empty((region.frames, region.height, region.width, frames.shape[3]), dtype=frames.dtype)
    for t, image in enumerate(chosen):
        out[t] = resample_image(
            image, rows, columns, (region.y0, region.y1, region.x0, region.x1), (read.y0, read.x0), linear_light
        )
    return out


def _cut_out(frames: Pixels, read: Region, region: Region) -> Pixels:
    if region.y0 < read.y0 or region.y1 > read.y1 or region.x0 < read.x0 or region.x1 > read.x1:
        raise FrameShapeError(f"{region} is not within {read}", region=str(region))
    _, rows, columns = region.inside(read)
    return frames[:, rows, columns].copy()


def resample_image(
    image: Pixels,
    rows: Axis,
    columns: Axis,
    window: tuple[int, int, int, int],
    corner: tuple[int, int] = (0, 0),
    linear_light: bool = False,
) -> Pixels:
    """One window (y0, y1, x0, x1) of the output of two axes, from ``image`` (H, W, C) whose first pixel is ``corner``.

    The general form of ``resample_frames``: axes may have any origin and step. Alpha is never filtered with lanczos3
    but with bicubic, whose only lobe outside an edge is negative and clipped: lanczos3 would draw a faint ring around a
    cutout. Colours at a faint rim follow, so that they are never divided by an alpha they do not belong to.
    """
    block = _premultiplied(image, linear_light)
    sharp = _filtered(block, rows, columns, window, corner)
    if image.shape[2] != 4:
        return _coded(sharp, image.dtype, linear_light)
    floor = _faintest(image.dtype)
    _unmultiply(sharp, floor)
    if rows.kernel == "lanczos3":
        soft = _filtered(block, replace(rows, kernel="bicubic"), replace(columns, kernel="bicubic"), window, corner)
        _unmultiply(soft, floor)
        _sharpen_inside(soft, sharp, floor)
        sharp = soft
    out = np.empty(sharp.shape, dtype=image.dtype)
    out[..., :3] = _coded(sharp[..., :3], image.dtype, linear_light)
    alpha = np.clip(sharp[..., 3], 0.0, 1.0) * np.float32(full_scale(image.dtype))
    out[..., 3] = _quantised(alpha, image.dtype)
    return out


def _filtered(
    block: NDArray[np.float32], rows: Axis, columns: Axis, window: tuple[int, int, int, int], corner: tuple[int, int]
) -> NDArray[np.float32]:
    y0, y1, x0, x1 = window
    down = rows.matrix(y0, y1, corner[0], corner[0] + block.shape[0])
    across = columns.matrix(x0, x1, corner[1], corner[1] + block.shape[1])
    if rows.step >= 1.0:  # shrink before the costlier direction; the same choice for every tile
        return _apply_across(across, _apply_down(down, block))
    return _apply_down(down, _apply_across(across, block))


def resize_image(
    image: Pixels, width: int, height: int, *, kernel: Kernel = "lanczos3", linear_light: bool = False
) -> Pixels:
    """Resize a whole picture (H, W, C), in bands of rows so that memory stays small. See ``resample_frames``."""
    in_size, out_size = (image.shape[0], image.shape[1]), (height, width)
    if in_size == out_size:
        return image.copy()
    out = np.empty((height, width, image.shape[2]), dtype=image.dtype)
    samples_per_row = image.shape[2] * max(width, image.shape[1]) * max(1.0, in_size[0] / height)
    band = max(8, int(BAND_SAMPLES / samples_per_row))
    for y0 in range(0, height, band):
        region = Region(0, 1, y0, min(height, y0 + band), 0, width)
        read = resample_input_region(region, in_size=in_size, out_size=out_size, kernel=kernel)
        out[y0 : region.y1] = resample_frames(
            image[None, read.y0 : read.y1, read.x0 : read.x1], read=read, region=region,
            in_size=in_size, out_size=out_size, kernel=kernel, linear_light=linear_light,
        )[0]  # fmt: skip
    return out


def _apply_down(matrix: "csr_array[np.float32]", block: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width, channels = block.shape
    out: NDArray[np.float32] = matrix @ block.reshape(height, width * channels)
    return out.reshape(-1, width, channels)


def _apply_across(matrix: "csr_array[np.float32]", block: NDArray[np.float32]) -> NDArray[np.float32]:
    turned = np.ascontiguousarray(block.transpose(1, 0, 2))
    return np.ascontiguousarray(_apply_down(matrix, turned).transpose(1, 0, 2))


def _premultiplied(image: Pixels, linear_light: bool) -> NDArray[np.float32]:
    """Float32 copy; colours in codes or in light of 0..1, times alpha of 0..1 where there is one."""
    has_alpha = image.shape[2] == 4
    colours = image[..., :3] if has_alpha else image
    block = np.empty(image.shape, dtype=np.float32)
    block[..., : colours.shape[2]] = srgb_to_linear(colours) if linear_light else colours
    if has_alpha:
        block[..., 3] = image[..., 3] / np.float32(full_scale(image.dtype))
        for c in range(3):
            block[..., c] *= block[..., 3]
    return block


def _faintest(dtype: np.dtype[np.generic]) -> float:
    """The alpha that still rounds to a code above zero; below it there is no colour."""
    scale = full_scale(dtype)
    return 0.5 / (65535.0 if scale == 1.0 else scale)


def _unmultiply(block: NDArray[np.float32], floor: float) -> None:
    """Colours divided by alpha, in place; by the alpha that the same taps gave, even where it overshoots 1."""
    alpha = block[..., 3]
    visible = alpha > floor
    divisor = np.where(visible, alpha, np.float32(1.0))
    for c in range(3):  # channel by channel: numpy is slow at spreading one alpha over three colours
        block[..., c] /= divisor
        block[..., c] *= visible


def _sharpen_inside(soft: NDArray[np.float32], sharp: NDArray[np.float32], floor: float) -> None:
    """Colours of ``soft`` give way, in place, to those of ``sharp``: not at all at the faint rim, wholly inside."""
    share = np.clip(2.0 * sharp[..., 3] - 0.5, 0.0, 1.0) * (soft[..., 3] > floor)
    for c in range(3):
        soft[..., c] += (sharp[..., c] - soft[..., c]) * share


def _coded(colours: NDArray[np.float32], dtype: np.dtype[np.generic], linear_light: bool) -> Pixels:
    return linear_to_srgb(colours, dtype) if linear_light else _quantised(colours, dtype)


def _quantised(values: NDArray[np.float32], dtype: np.dtype[np.generic]) -> Pixels:
    if dtype.kind == "f":
        return values.astype(dtype, copy=False)
    return np.clip(np.rint(values), 0, full_scale(dtype)).astype(dtype)
