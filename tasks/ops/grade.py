"""Grading: denoise, white balance, exposure, saturation, contrast, a look-up table, sharpening; in this order.

Every step is elementwise or reads a fixed window, in float32, tap by tap in one order: a tile that was read with
``halo_pixels`` around it equals the same part of the whole bit by bit.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from datasets.errors import FrameShapeError
from tasks.ops.depth import Pixels, to_depth, to_float
from tasks.ops.lut import CubeLut
from tasks.ops.statistics import REC709, ToneStatistics, auto_exposure_stops, gray_world_gains
from tasks.ops.transfer import linear_to_srgb_float, srgb_to_linear

DENOISE_RADIUS = 3  # pixels
SHARPEN_RADIUS = 3  # pixels: three sigma
SHARPEN_SIGMA = 1.0  # pixels
DENOISE_SIGMA = 2.0  # pixels
DENOISE_REACH = 0.3  # largest colour distance (sRGB, 0..1, Euclidean) that is still averaged at full strength
NEUTRAL_KELVIN = 6504.0  # D65, the white of sRGB
BAND_SAMPLES = 1 << 17  # numbers of a band of rows: its temporaries stay in the processor's cache

Floats = NDArray[np.float32]


class GradeConfig(BaseModel):
    """What to change of colour, tone and detail. Everything is off by default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    white_balance: Literal["off", "gray_world", "temperature"] = Field(
        default="off",
        description="gray_world makes the mean colour neutral; temperature undoes light of a stated colour.",
    )
    temperature: float = Field(
        default=NEUTRAL_KELVIN, ge=2500, le=15000, description="Colour temperature of the light, in kelvin."
    )
    tint: float = Field(default=0.0, ge=-1, le=1, description="From greener (-1) to more magenta (+1).")
    exposure_stops: float = Field(default=0.0, ge=-5, le=5, description="Brightness in stops; +1 doubles the light.")
    auto_exposure: bool = Field(default=False, description="Bring the mean tone to middle grey, highlights permitting.")
    saturation: float = Field(default=1.0, ge=0, le=2, description="0 is grey, 1 unchanged.")
    contrast: float = Field(default=0.0, ge=-1, le=1, description="S-curve that keeps black and white where they are.")
    lut: str | None = Field(default=None, description="Path of a .cube file, applied to sRGB values.")
    denoise: float = Field(default=0.0, ge=0, le=1, description="Strength of the edge-preserving smoothing.")
    sharpen: float = Field(default=0.0, ge=0, le=2, description="Strength of the unsharp mask.")

    @property
    def halo_pixels(self) -> int:
        """How far a pixel sees: the sum of the two windows that are in use."""
        return (DENOISE_RADIUS if self.denoise else 0) + (SHARPEN_RADIUS if self.sharpen else 0)

    @property
    def needs_statistics(self) -> bool:
        return self.auto_exposure or self.white_balance == "gray_world"

    @property
    def is_off(self) -> bool:
        """Whether grading returns every pixel as it came."""
        return not (self.touches_light or self.contrast or self.lut or self.denoise or self.sharpen)

    @property
    def touches_light(self) -> bool:
        balanced = self.white_balance == "temperature" and (self.temperature, self.tint) != (NEUTRAL_KELVIN, 0.0)
        return self.needs_statistics or balanced or self.exposure_stops != 0.0 or self.saturation != 1.0


def grade_frames(
    frames: Pixels, config: GradeConfig, *, statistics: ToneStatistics | None = None, lut: CubeLut | None = None
) -> Pixels:
    """Grade frames.

    Args:
        frames: (T, H, W, C), sRGB, uint8, uint16 or float32 0..1; C is 3, or 4 with straight alpha, which is kept.
            Transparent colours influence no visible one.
        statistics: of the whole clip, where ``config.needs_statistics``.
        lut: the content of ``config.lut``.

    Returns:
        Same shape and dtype. A window's taps outside the array are dropped: give it ``config.halo_pixels`` of the
        neighbourhood, cut off at the picture's edges, and cut the result back.

    Raises:
        FrameShapeError: not (T, H, W, 3 or 4).
        TypeError: statistics or a table that the config asks for were not given.
    """
    if frames.ndim != 4 or frames.shape[3] not in (3, 4):
        raise FrameShapeError(f"expected frames (T, H, W, 3 or 4), got shape {frames.shape}", shape=frames.shape)
    if config.is_off:
        return frames
    if (config.needs_statistics and statistics is None) or (config.lut and lut is None):
        raise TypeError("grade_frames needs the statistics and the table that its config asks for")
    matrix = light_matrix(config, statistics) if config.touches_light else None
    out = frames.copy()
    band = max(2 * config.halo_pixels, 8, BAND_SAMPLES // (3 * frames.shape[2]))
    for image, target in zip(frames, out, strict=True):
        for y0 in range(0, image.shape[0], band):
            y1 = min(image.shape[0], y0 + band)
            top = max(0, y0 - config.halo_pixels)
            graded = _grade_band(image[top : y1 + config.halo_pixels], config, matrix, lut)
            target[y0:y1, :, :3] = to_depth(graded[y0 - top : y1 - top], frames.dtype)
    return out


def _grade_band(image: Pixels, config: GradeConfig, matrix: NDArray[np.float64] | None, lut: CubeLut | None) -> Floats:
    rgb = to_float(np.ascontiguousarray(image[..., :3]))
    alpha = to_float(image[..., 3]) if image.shape[2] == 4 else np.ones(image.shape[:2], dtype=np.float32)
    if config.denoise:
        rgb = denoise(rgb, alpha, strength=config.denoise)
    if matrix is not None:
        rgb = linear_to_srgb_float(_mixed(srgb_to_linear(rgb), matrix))
    if config.contrast:
        rgb = add_contrast(rgb, amount=config.contrast)
    if lut is not None and config.lut:
        rgb = np.clip(lut.apply(rgb), 0.0, 1.0)
    return sharpen(rgb, alpha, amount=config.sharpen) if config.sharpen else rgb


def light_matrix(config: GradeConfig, statistics: ToneStatistics | None) -> NDArray[np.float64]:
    """(3, 3) from linear RGB to linear RGB: white balance, then exposure, then saturation."""
    gains = np.ones(3)
    if config.white_balance == "gray_world" and statistics is not None:
        gains = np.array(gray_world_gains(statistics))
    elif config.white_balance == "temperature":
        gains = np.array(temperature_gains(config.temperature, config.tint))
    stops = config.exposure_stops
    if config.auto_exposure and statistics is not None:
        stops += auto_exposure_stops(statistics)
    grey = np.tile(np.array(REC709), (3, 1))
    saturation = config.saturation * np.eye(3) + (1.0 - config.saturation) * grey
    return saturation @ np.diag(gains * 2.0**stops)


def temperature_gains(kelvin: float, tint: float) -> tuple[float, float, float]:
    """Linear-light gains that make daylight or lamp light of ``kelvin`` look like D65, at equal luminance of grey.

    Tint takes (+) or adds (-) up to half a stop of green.
    """
    light, neutral = _light_of(kelvin), _light_of(NEUTRAL_KELVIN)
    gains = neutral / light * np.array([1.0, 2.0 ** (-0.5 * tint), 1.0])
    gains = gains / np.dot(REC709, gains)
    return (float(gains[0]), float(gains[1]), float(gains[2]))


def _light_of(kelvin: float) -> NDArray[np.float64]:
    """Linear sRGB of a black body. Source: Kim et al., US patent 7024034, 2006: cubic splines of its locus."""
    t = 1000.0 / kelvin
    if kelvin <= 4000:
        x = -0.2661239 * t**3 - 0.2343589 * t**2 + 0.8776956 * t + 0.179910
    else:
        x = -3.0258469 * t**3 + 2.1070379 * t**2 + 0.2226347 * t + 0.240390
    if kelvin <= 4000:
        y = -0.9549476 * x**3 - 1.37418593 * x**2 + 2.09137015 * x - 0.16748867
    else:
        y = 3.0817580 * x**3 - 5.87338670 * x**2 + 3.75112997 * x - 0.37001483
    xyz = np.array([x / y, 1.0, (1.0 - x - y) / y])
    light: NDArray[np.float64] = np.maximum(
        _XYZ_TO_SRGB @ xyz, 0.05
    )  # warm light has hardly any blue; a larger gain is noise only
    return light


_XYZ_TO_SRGB = np.array(  # source: IEC 61966-2-1
    [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
)


def _mixed(rgb: Floats, matrix: NDArray[np.float64]) -> Floats:
    """Matrix times colour, product by product: a BLAS routine would sum in an order that depends on the size."""
    weights = matrix.astype(np.float32)
    out = np.empty_like(rgb)
    for c in range(3):
        out[..., c] = weights[c, 0] * rgb[..., 0] + weights[c, 1] * rgb[..., 1] + weights[c, 2] * rgb[..., 2]
    return out


def add_contrast(rgb: Floats, *, amount: float) -> Floats:
    """An S-curve that keeps 0, 1/2 and 1: ``x + amount * x * (2x - 1) * (1 - x)``; it rises for amounts of -1..1."""
    change: Floats = np.float32(amount) * rgb * (2.0 * rgb - 1.0) * (1.0 - rgb)
    return rgb + change


def denoise(rgb: Floats, alpha: Floats, *, strength: float) -> Floats:
    """Bilateral filter on a disc of radius 3. Source: Tomasi and Manduchi 1998, with a biweight for the range.

    A neighbour weighs by its distance (Gaussian), by how little its colour differs, and by its alpha.
    """
    planes = np.ascontiguousarray(rgb.transpose(2, 0, 1))
    weighed = planes * alpha
    total = np.maximum(alpha, np.float32(1e-6))
    mixed = planes * total
    for dy, dx, nearness in _half_disc():
        here, there = _shifted(rgb.shape[0], rgb.shape[1], dy, dx)
        weight = _likeness(planes[:, *here] - planes[:, *there], DENOISE_REACH * strength)
        weight *= np.float32(nearness)
        for one, other in ((here, there), (there, here)):
            total[one] += weight * alpha[other]
            mixed[:, *one] += weight * weighed[:, *other]
    mixed /= total
    return np.ascontiguousarray(mixed.transpose(1, 2, 0))


def _likeness(difference: Floats, reach: float) -> Floats:
    """Tukey's biweight (H, W) of colour differences (3, H, W): 1 for none, 0 from ``reach`` on. Works in place."""
    difference *= difference
    squared: Floats = difference[0]
    squared += difference[1]
    squared += difference[2]
    squared *= np.float32(-1.0 / (reach * reach))
    squared += np.float32(1.0)
    np.maximum(squared, np.float32(0.0), out=squared)
    squared *= squared
    return squared


def _half_disc() -> list[tuple[int, int, float]]:
    """Offsets of one half of the disc with their Gaussian weights; the other half mirrors it."""
    r = DENOISE_RADIUS
    offsets = [(dy, dx) for dy in range(r + 1) for dx in range(-r, r + 1) if (dy, dx) > (0, 0)]
    inside = [(dy, dx, float(dy * dy + dx * dx)) for dy, dx in offsets if dy * dy + dx * dx <= (r + 0.5) ** 2]
    return [(dy, dx, float(np.exp(-squared / (2 * DENOISE_SIGMA**2)))) for dy, dx, squared in inside]


Window = tuple[slice, slice]


def _shifted(height: int, width: int, dy: int, dx: int) -> tuple[Window, Window]:
    """The pixels that have a neighbour at (dy, dx), dy >= 0, and those neighbours."""
    rows, neighbour_rows = slice(0, max(0, height - dy)), slice(dy, max(dy, height))
    left, right = max(0, -dx), max(0, dx)
    columns = slice(left, max(left, width - right))
    neighbour_columns = slice(right, max(right, width - left))
    return (rows, columns), (neighbour_rows, neighbour_columns)


def sharpen(rgb: Floats, alpha: Floats, *, amount: float) -> Floats:
    """Unsharp mask on luma: adds ``amount`` times what a Gaussian of one pixel takes away; colours keep their hue."""
    luma = REC709_F[0] * rgb[..., 0] + REC709_F[1] * rgb[..., 1] + REC709_F[2] * rgb[..., 2]
    weight = _blurred(alpha)
    seen = weight > 1e-6
    smooth = np.divide(_blurred(luma * alpha), weight, out=luma.copy(), where=seen)
    detail = np.float32(amount) * (luma - smooth)
    sharpened = np.empty_like(rgb)
    for c in range(3):
        sharpened[..., c] = np.clip(rgb[..., c] + detail, 0.0, 1.0)
    return sharpened


REC709_F = np.array(REC709, dtype=np.float32)


def _blurred(plane: Floats) -> Floats:
    """Gaussian sums of a plane (H, W); taps outside it are dropped and nothing is weighed up."""
    taps = np.exp(-(np.arange(-SHARPEN_RADIUS, SHARPEN_RADIUS + 1.0) ** 2) / (2 * SHARPEN_SIGMA**2))
    taps = (taps / taps.sum()).astype(np.float32)
    for axis in (0, 1):
        margin = [(0, 0), (0, 0)]
        margin[axis] = (SHARPEN_RADIUS, SHARPEN_RADIUS)
        padded = np.pad(plane, margin)
        size = plane.shape[axis]
        total = np.zeros_like(plane)
        for k, tap in enumerate(taps):
            total += tap * (padded[k : k + size] if axis == 0 else padded[:, k : k + size])
        plane = total
    return plane
