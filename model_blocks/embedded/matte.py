"""Soft alpha and clean edge colours without weights, from the colours known on either side of the edge.

Everything here is local: a pixel of the result depends on a stated number of pixels around it, so tiles equal the
whole.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from datasets.errors import FrameShapeError
from model_blocks.embedded.neighbourhood import (
    guided_filter,
    local_maximum,
    local_minimum,
    spread,
    spread_reach,
)

SURE = 0.95  # a probability beyond this, or below one minus this, may be taken as known
SENSOR_NOISE = 0.01**2  # variance of a channel that JPEG and the sensor add, 0..1 units
PRIOR_SPREAD = 0.22  # how far, as a standard deviation of alpha, the given probability may be off in the band
COLOUR_NOISE = 0.015**2  # the same with the ringing of JPEG at edges
PRIOR_EPS = 0.05  # the given probability is never taken for more certain than this in the band
EVIDENCE_LIMIT = 4.0  # log odds that colour likelihoods may weigh
FLAT = 1e-3  # variance of the guide below which the smoothing sees no edge: grain of wood and cloth
HAZE = 0.03  # alpha this close to 0 or 1 after smoothing is leftover of the smoothing
GRAIN = 0.15  # the same where the band is only as good as an outline found at working size: grain of the ground
CLEAR = 0.02  # alpha this close to 0 or 1 is taken for background or object where colours are looked for
ENOUGH = 1e-6  # of what can be known around a pixel; less is rounding
MATTER_LEVELS = 6
BLOCK = 192  # pixels; small enough for the caches, large enough that the halo costs little


@dataclass(frozen=True)
class _Known:
    """Colours known for sure around a pixel: their mean, their variance and how much of them there is."""

    colour: Tensor
    variance: Tensor
    amount: Tensor


@dataclass(frozen=True)
class _Reach:
    """How far the colours are looked for, as a number of doublings, and the radius of the smoothing."""

    levels: int
    smoothing: int

    @property
    def halo(self) -> int:
        return spread_reach(self.levels) + 2 * self.smoothing


def band_radius(full_side: int, working_side: int) -> int:
    """Half-width in full-resolution pixels of the band in which alpha is unknown.

    The outline found at the working size is off by about two of its pixels.
    """
    return 2 + math.ceil(2 * max(1.0, full_side / working_side))


def alpha_halo(radius: int) -> int:
    """How many pixels around a pixel ``alpha_from_probability`` looks at."""
    return radius + _Reach(_levels(radius), _smoothing(radius)).halo


def trimap_halo(radius: int) -> int:
    """How many pixels around a pixel ``make_trimap`` looks at."""
    return radius


def make_trimap(probability: Tensor, radius: int) -> Tensor:
    """Known object 1, known background 0, unknown 0.5, from a probability (N, 1, H, W), 0..1.

    Unknown is whatever has both sides of 0.5 within ``radius`` pixels (in a square), and all that is itself in doubt.
    """
    inside = (local_minimum(probability, radius=radius) > 0.5) & (probability >= SURE)
    outside = (local_maximum(probability, radius=radius) <= 0.5) & (probability <= 1 - SURE)
    half = torch.full_like(probability, 0.5)
    return torch.where(inside, 1.0, torch.where(outside, 0.0, half))


def alpha_from_probability(images: Tensor, probabilities: Tensor, *, radius: int) -> tuple[Tensor, Tensor]:
    """Turns the segmenter's upsampled answer into alpha and the object's own colours.

    Args:
        images: (N, 3, H, W), RGB, float, 0..1.
        probabilities: (N, 1, H, W), 0..1, enlarged bilinearly to the size of ``images``.
        radius: half-width of the unknown band in pixels, see ``band_radius``.

    Returns:
        alpha (N, 1, H, W), 0..1, and foreground (N, 3, H, W), 0..1, which equals the image where alpha is 1.

    Raises:
        FrameShapeError: the two do not belong together.
    """
    _check(images, probabilities)
    images, probabilities = images.float(), probabilities.float().clamp(0, 1)
    trimaps = make_trimap(probabilities, radius)
    return _by_blocks(images, trimaps, probabilities, _Reach(_levels(radius), _smoothing(radius)))


class EmbeddedMatter:
    """Matting by locally known colours. ``matte`` takes trimaps (N, 1, H, W) of 0, 0.5 and 1."""

    def __init__(self, smoothing: int = 4) -> None:
        self._reach = _Reach(MATTER_LEVELS, smoothing)
        self.halo = self._reach.halo

    def matte(self, images: Tensor, trimaps: Tensor) -> tuple[Tensor, Tensor]:
        """Alpha (N, 1, H, W) and foreground colours (N, 3, H, W); alpha is exactly 0 and 1 where the trimap is."""
        _check(images, trimaps)
        images, trimaps = images.float(), trimaps.float()
        return _by_blocks(images, trimaps, None, self._reach)


def _check(images: Tensor, guides: Tensor) -> None:
    n, c, h, w = images.shape
    if c != 3 or guides.shape != (n, 1, h, w):
        raise FrameShapeError(
            f"expected images (N, 3, H, W) and one plane each, got {tuple(images.shape)} and {tuple(guides.shape)}",
            images=list(images.shape),
            planes=list(guides.shape),
        )


def _levels(radius: int) -> int:
    """Enough doublings to look across the band from any pixel of it: three radii."""
    return math.ceil(math.log2(3 * radius + 2))


def _smoothing(radius: int) -> int:
    return max(2, min(radius, 8))


def _by_blocks(images: Tensor, trimaps: Tensor, prior: Tensor | None, reach: _Reach) -> tuple[Tensor, Tensor]:
    """Works only where something is unknown; as the work is local, the blocks do not show."""
    alpha, foreground = trimaps.clone(), images.clone()
    height, width = trimaps.shape[2:]
    for y in range(0, height, BLOCK):
        for x in range(0, width, BLOCK):
            own = (..., slice(y, y + BLOCK), slice(x, x + BLOCK))
            if not (trimaps[own] == 0.5).any():
                continue
            top, left = max(0, y - reach.halo), max(0, x - reach.halo)
            wide = (..., slice(top, y + BLOCK + reach.halo), slice(left, x + BLOCK + reach.halo))
            found = _matte(images[wide], trimaps[wide], None if prior is None else prior[wide], reach)
            inner = (..., slice(y - top, y - top + BLOCK), slice(x - left, x - left + BLOCK))
            alpha[own], foreground[own] = found[0][inner], found[1][inner]
    return alpha, foreground


def _matte(images: Tensor, trimaps: Tensor, prior: Tensor | None, reach: _Reach) -> tuple[Tensor, Tensor]:
    inside, outside = (trimaps == 1).float(), (trimaps == 0).float()
    front = known_colours(images, inside, levels=reach.levels)
    back = known_colours(images, outside, levels=reach.levels)
    haze = GRAIN
    if prior is None:
        haze = HAZE
        prior = (front.amount + 1e-6) / (front.amount + back.amount + 2e-6)
    raw, trust = _projected(images, front, back, prior)
    raw = torch.where(trimaps == 0.5, raw, trimaps)
    trust = torch.where(trimaps == 0.5, trust, torch.ones_like(trust))
    smooth = guided_filter(images, raw, trust, radius=reach.smoothing, smoothness=FLAT)
    smooth = ((smooth - haze) / (1 - 2 * haze)).clamp(0, 1)
    alpha = torch.where(trimaps == 0.5, smooth, trimaps)
    return alpha, _decontaminated(images, alpha, front.colour, back.colour)


def own_colours_halo(radius: int) -> int:
    """How many pixels around a pixel ``own_colours`` looks at."""
    return spread_reach(_levels(radius))


def own_colours(images: Tensor, alpha: Tensor, *, radius: int) -> Tensor:
    """The object's own colours under an alpha that another model found.

    Args:
        images: (N, 3, H, W), RGB, float, 0..1.
        alpha: (N, 1, H, W), 0..1; colours are taken from where it is within ``CLEAR`` of 1 and 0.
        radius: half-width in pixels of the soft edge.

    Returns:
        (N, 3, H, W), 0..1, which equals the image where alpha is 0 or 1, or where one side's colours are not known.

    Raises:
        FrameShapeError: the two do not belong together.
    """
    _check(images, alpha)
    images, alpha = images.float(), alpha.float().clamp(0, 1)
    made, levels = images.clone(), _levels(radius)
    halo = own_colours_halo(radius)
    height, width = alpha.shape[2:]
    for y in range(0, height, BLOCK):
        for x in range(0, width, BLOCK):
            own = (..., slice(y, y + BLOCK), slice(x, x + BLOCK))
            if not ((alpha[own] > 0) & (alpha[own] < 1)).any():
                continue
            top, left = max(0, y - halo), max(0, x - halo)
            wide = (..., slice(top, y + BLOCK + halo), slice(left, x + BLOCK + halo))
            inner = (..., slice(y - top, y - top + BLOCK), slice(x - left, x - left + BLOCK))
            made[own] = _own_colours(images[wide], alpha[wide], levels)[inner]
    return made


def _own_colours(images: Tensor, alpha: Tensor, levels: int) -> Tensor:
    front = known_colours(images, (alpha >= 1 - CLEAR).float(), levels=levels)
    back = known_colours(images, (alpha <= CLEAR).float(), levels=levels)
    cleaned = _decontaminated(images, alpha, front.colour, back.colour)
    return torch.where((front.amount > ENOUGH) & (back.amount > ENOUGH), cleaned, images)


def known_colours(images: Tensor, known: Tensor, *, levels: int) -> _Known:
    """Mean and variance of the known pixels near every pixel: the finest scale that saw enough of them counts most."""
    carried = torch.cat([images * known, (images * images * known).sum(dim=1, keepdim=True), known], dim=1)
    scales = []
    for level in range(levels):
        carried = spread(carried, step=2**level)
        scales.append(carried)
    moments = _moments(scales[-1], 1e-12)
    for scale in reversed(scales[:-1]):
        amount = scale[:, 4:5]
        share = amount / (amount + 0.1)
        moments = moments + share * (_moments(scale, 1e-12) - moments)
    colour = moments[:, :3]
    variance = (moments[:, 3:4] - (colour * colour).sum(dim=1, keepdim=True)).clamp_min(0)
    return _Known(colour, variance, scales[-1][:, 4:5])


def _moments(sums: Tensor, floor: float) -> Tensor:
    return sums[:, :4] / sums[:, 4:5].clamp_min(floor)


def _projected(images: Tensor, front: _Known, back: _Known, prior: Tensor) -> tuple[Tensor, Tensor]:
    """Alpha from where the colour lies between both sides, held by the prior where the two sides look alike."""
    prior = _likelier(images, front, back, prior)
    axis = front.colour - back.colour
    length2 = (axis * axis).sum(dim=1, keepdim=True)
    position = ((images - back.colour) * axis).sum(dim=1, keepdim=True) / (length2 + 1e-6)
    noise = front.variance * prior + back.variance * (1 - prior) + SENSOR_NOISE
    known = ((front.amount > 0) & (back.amount > 0)).float()
    certainty = known * length2 / noise
    held = 1 / PRIOR_SPREAD**2
    alpha = (certainty * position.clamp(0, 1) + held * prior) / (certainty + held)
    return alpha.clamp(0, 1), certainty / (certainty + held) + 0.02


def _likelier(images: Tensor, front: _Known, back: _Known, prior: Tensor) -> Tensor:
    """The prior after asking which side's colours, taken as a round Gaussian, explain the pixel better.

    A print of many colours on a plain ground is told by not being the ground, where a line between two means says
    nothing.
    """
    odds = torch.logit(prior, eps=PRIOR_EPS)
    both = (front.amount > 0) & (back.amount > 0)
    evidence = (_misfit(images, back) - _misfit(images, front)).clamp(-EVIDENCE_LIMIT, EVIDENCE_LIMIT)
    return torch.sigmoid(odds + torch.where(both, evidence, torch.zeros_like(evidence)))


def _misfit(images: Tensor, known: _Known) -> Tensor:
    """Negative log likelihood, but for a constant."""
    variance = known.variance / 3 + COLOUR_NOISE
    away = ((images - known.colour) ** 2).sum(dim=1, keepdim=True)
    return away / (2 * variance) + 1.5 * torch.log(variance)


def _decontaminated(images: Tensor, alpha: Tensor, front: Tensor, back: Tensor) -> Tensor:
    """The object's own colour at the edge.

    Source: Forte 2021, Approximate Fast Foreground Colour Estimation, the correction step.
    """
    left_over = images - alpha * front - (1 - alpha) * back
    colour = (front + alpha * left_over).clamp(0, 1)
    return torch.where(alpha >= 1, images, torch.where(alpha <= 0, images, colour))
