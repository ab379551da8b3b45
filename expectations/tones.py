"""How bright a picture is, what colour its greys have, how even its background is."""

from dataclasses import dataclass

import cv2
import numpy as np

from expectations.colour_difference import srgb_to_lab
from expectations.views import SOLID, Bool, Floats, Views

BLACK, WHITE = 1.0, 254.0  # codes of luma: at or below, at or above
NEAR_GREY = 20.0  # C*ab; a strong cast moves greys this far
GREY_LIGHTNESS = (15.0, 97.0)  # L*: noise has no colour, paper white shows no cast
FEWEST_GREYS = 0.005  # of the counted pixels; fewer tell nothing
RING = 0.03  # of the short side: how wide the border ring is
MARGIN = 5  # px at the small scale around an object: shadow of the edge, not background


@dataclass(frozen=True)
class Exposure:
    """Of the object, or of the whole picture where none is known.

    Attributes:
        luma_mean: Codes 0..255.
        luma_std: Codes.
        clipped_black: Share of pixels at code 1 or below, 0..1.
        clipped_white: Share of pixels at code 254 or above, 0..1.
    """

    luma_mean: float
    luma_std: float
    clipped_black: float
    clipped_white: float


@dataclass(frozen=True)
class Cast:
    """Mean CIELAB a* and b* of near-grey pixels: 0 and 0 without a colour cast."""

    a: float
    b: float

    @property
    def strength(self) -> float:
        return float(np.hypot(self.a, self.b))


def exposure(views: Views) -> Exposure | None:
    """Brightness at the reduced scale; None where no pixel counts."""
    luma, seen = views.luma, views.seen
    values = luma if seen is None else luma[seen]
    if not values.size:
        return None
    mean, std = cv2.meanStdDev(values.reshape(-1, 1))
    count = values.size
    black, white = np.count_nonzero(values <= BLACK), np.count_nonzero(values >= WHITE)
    return Exposure(float(mean[0, 0]), float(std[0, 0]), black / count, white / count)


def colour_cast(rgb: Floats, alpha: Floats | None) -> Cast | None:
    """Colour of the greys at the small scale; None where fewer than 0.5 % of the pixels are nearly grey.

    Args:
        rgb: (h, w, 3), codes 0..255.
        alpha: (h, w), 0..1; pixels below one half do not count.
    """
    values = rgb.reshape(-1, 3) if alpha is None else rgb[alpha >= SOLID]
    if not len(values):
        return None
    lab = srgb_to_lab(values)
    grey = np.hypot(lab[:, 1], lab[:, 2]) < NEAR_GREY
    grey &= (lab[:, 0] >= GREY_LIGHTNESS[0]) & (lab[:, 0] <= GREY_LIGHTNESS[1])
    if np.count_nonzero(grey) < FEWEST_GREYS * len(values):
        return None
    a, b = lab[grey, 1:].mean(axis=0)
    return Cast(float(a), float(b))


def background_std(rgb: Floats, alpha: Floats | None) -> float | None:
    """Unevenness of the background at the small scale, in codes: root of the channels' mean variance.

    Outside the object with a margin of 5 px; without an object in the ring along the border that is 3 % of the short
    side wide. None where nothing is left.
    """
    outside = _ring(*rgb.shape[:2]) if alpha is None else _outside(alpha)
    values = rgb[outside]
    return float(np.sqrt(values.astype(np.float64).var(axis=0).mean())) if len(values) else None


def _ring(height: int, width: int) -> Bool:
    ring = np.ones((height, width), bool)
    thick = max(1, round(min(height, width) * RING))
    ring[thick : height - thick, thick : width - thick] = False
    return ring


def _outside(alpha: Floats) -> Bool:
    kernel = np.ones((2 * MARGIN + 1, 2 * MARGIN + 1), np.uint8)
    grown = cv2.dilate((alpha > 1 / 255).astype(np.uint8), kernel)
    return np.asarray(grown == 0)
