"""CIELAB under D65 and the difference of two colours that an eye sees, CIEDE2000."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from expectations.views import Floats

Values = NDArray[Any]  # float32 or float64

# IEC 61966-2-1 (sRGB) primaries, rows divided by the D65 white point (0.95047, 1, 1.08883).
TO_WHITE_XYZ = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]], np.float64
) / np.array([[0.95047], [1.0], [1.08883]])
LINEAR_BELOW = 0.04045  # of sRGB codes 0..1
EPSILON, KAPPA = 216 / 24389, 24389 / 27  # CIE 15: where the cube root becomes a line, and its slope
SEVENTH = 25.0**7


def srgb_to_lab(rgb: Floats) -> Floats:
    """L*, a*, b* (..., 3) of sRGB codes 0..255 (..., 3). Source: CIE 15:2004."""
    code = np.asarray(rgb, np.float32) / np.float32(255)
    linear = np.where(code <= LINEAR_BELOW, code / 12.92, ((code + 0.055) / 1.055) ** 2.4).astype(np.float32)
    xyz = linear @ TO_WHITE_XYZ.T.astype(np.float32)
    root = np.where(xyz > EPSILON, np.cbrt(xyz), (KAPPA * xyz + 16) / 116)
    x, y, z = root[..., 0], root[..., 1], root[..., 2]
    return np.asarray(np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1), np.float32)


def delta_e_2000(first: Values, second: Values) -> Values:
    """CIEDE2000 (...,) between L*a*b* (..., 3) and (..., 3), with unit weights.

    Source: Sharma, Wu, Dalal 2005, The CIEDE2000 Color-Difference Formula.
    """
    (l1, a1, b1), (l2, a2, b2) = (np.moveaxis(np.asarray(each, np.float64), -1, 0) for each in (first, second))
    mean_c = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    stretch = 1.5 - 0.5 * np.sqrt(mean_c**7 / (mean_c**7 + SEVENTH))
    c1, c2 = np.hypot(a1 * stretch, b1), np.hypot(a2 * stretch, b2)
    h1, h2 = (np.arctan2(b, a * stretch) % (2 * np.pi) for a, b in ((a1, b1), (a2, b2)))
    turn, mean_h = _hues(h1, h2, c1 * c2 == 0)
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    lightness = (l2 - l1) / (1 + 0.015 * (mean_l - 50) ** 2 / np.sqrt(20 + (mean_l - 50) ** 2))
    chroma = (c2 - c1) / (1 + 0.045 * mean_c)
    hue = 2 * np.sqrt(c1 * c2) * np.sin(turn / 2) / (1 + 0.015 * mean_c * _hue_weight(mean_h))
    squared = lightness**2 + chroma**2 + hue**2 + _rotation(mean_c, mean_h) * chroma * hue
    return np.asarray(np.sqrt(np.maximum(squared, 0)), np.float64)


def _hues(h1: Values, h2: Values, grey: Values) -> tuple[Values, Values]:
    """Turn from one hue to the other and their mean, in radians; a grey has no hue."""
    turn = (h2 - h1 + np.pi) % (2 * np.pi) - np.pi
    mean = (h1 + h2) / 2
    mean = np.where(np.abs(h1 - h2) > np.pi, (mean + np.pi) % (2 * np.pi), mean)
    return np.where(grey, 0.0, turn), np.where(grey, h1 + h2, mean)


def _hue_weight(hue: Values) -> Values:
    """T of the formula."""
    return np.asarray(
        1
        - 0.17 * np.cos(hue - np.pi / 6)
        + 0.24 * np.cos(2 * hue)
        + 0.32 * np.cos(3 * hue + np.pi / 30)
        - 0.20 * np.cos(4 * hue - np.deg2rad(63))
    )


def _rotation(chroma: Values, hue: Values) -> Values:
    """R_T of the formula: chroma and hue of blues pull on each other."""
    angle = np.deg2rad(30) * np.exp(-(((np.rad2deg(hue) - 275) / 25) ** 2))
    return np.asarray(-2 * np.sqrt(chroma**7 / (chroma**7 + SEVENTH)) * np.sin(2 * angle))
