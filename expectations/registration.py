"""Where a known object lies in a picture: scale, place and small rotation, whatever the light.

Coordinates are continuous: (0, 0) is the corner of the first pixel, (0.5, 0.5) its middle; x goes right, y goes down.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from expectations.views import Bool, Floats, fitted, shrunk

Matrix = NDArray[np.float64]

LEVELS = ((64, 3), (160, 3), (256, 0))  # px of the object's long side, coarse to fine, and px around it that count
STEPS = 40  # at most, of each level
PATIENCE, GAIN = 4, 1e-4  # steps without so much more correlation that end it
STILL = 0.01  # px at the object's corners
TELLING = 0.3  # correlation below which the object's inside is too flat to say where it lies
FLAT = 1.0  # codes added to contrast, so that flat objects are not compared by their noise
MOST_DRIFT = 1.6  # largest change of scale on one level
SEARCH_SIDE = 160  # px of the picture's long side where it is searched for the object
SEARCH_STEP = 1.08  # from one tried size to the next
SMALLEST, LARGEST = 12, 176  # px of the object's long side at that scale
CANDIDATES = 3  # sizes that are looked at closely
ENOUGH = 0.9  # correlation at which the object is where it should be
BETTER = 0.05  # by which another place must be more like it


@dataclass(frozen=True)
class Similarity:
    """Maps the object's points to the picture's: ``scale * R(angle) @ (x, y) + (dx, dy)``; angle in radians."""

    scale: float
    angle: float
    dx: float
    dy: float

    @property
    def matrix(self) -> Matrix:
        """(2, 3) for points."""
        a, b = self.scale * math.cos(self.angle), self.scale * math.sin(self.angle)
        return np.array([[a, -b, self.dx], [b, a, self.dy]])

    @property
    def pixel_matrix(self) -> Matrix:
        """(2, 3) for indices of pixels, whose middles are half a pixel further."""
        made = self.matrix
        made[:, 2] += made[:, :2] @ (0.5, 0.5) - 0.5
        return made

    def apply(self, x: float, y: float) -> tuple[float, float]:
        """A point of the object in the picture."""
        moved = self.matrix @ (x, y, 1.0)
        return float(moved[0]), float(moved[1])

    def rescaled(self, source: float, target: float) -> "Similarity":
        """The same for an object enlarged ``source`` times and a picture enlarged ``target`` times."""
        return Similarity(self.scale * target / source, self.angle, self.dx * target, self.dy * target)

    def after(self, change: "Similarity") -> "Similarity":
        """First ``change``, then this."""
        dx, dy = self.apply(change.dx, change.dy)
        return Similarity(self.scale * change.scale, self.angle + change.angle, dx, dy)


@dataclass(frozen=True)
class Found:
    """Where the object was found, and how like itself it is there: correlation of luma, -1..1."""

    place: Similarity
    correlation: float


@dataclass(frozen=True)
class Template:
    """The object alone, cropped to its box: luma (h, w) in codes, weighted by alpha; alpha (h, w) 0..1."""

    luma: Floats
    alpha: Floats

    def at(self, side: int) -> "tuple[Template, float]":
        """A copy with this long side at most, and how much it was enlarged (shrunk: below 1)."""
        height, width = fitted(self.luma.shape[0], self.luma.shape[1], side)
        made = Template(shrunk(self.luma, height, width), shrunk(self.alpha, height, width))
        return made, max(height, width) / max(self.luma.shape)


def locate(template: Template, picture: Floats, expected: Similarity | None) -> Found:
    """Find the object in the luma (H, W) of a picture.

    Gauss-Newton steps on contrast-normalised luma, coarse to fine, from where it should be; if it is not there, or
    nothing is expected, from the best places that masked template matching finds in all sizes.

    Source: Benhimane, Malis 2004, Real-time image-based tracking of planes using efficient second-order minimization.
    """
    there = None if expected is None else refined(template, picture, expected)
    if there is not None and there.correlation >= ENOUGH:
        return there
    found = [refined(template, picture, place) for place in searched(template, picture, expected)]
    best = max(found, key=lambda each: each.correlation, default=there)
    if best is None:
        size = max(picture.shape) / max(template.luma.shape)
        return Found(Similarity(size, 0.0, 0.0, 0.0), 0.0)
    return there if there is not None and best.correlation < there.correlation + BETTER else best


def refined(template: Template, picture: Floats, start: Similarity) -> Found:
    """The best place near ``start``.

    A ring around the object says where it ends, on a ground that is not known; so the last level looks at its inside
    alone, if that has enough to show.
    """
    found = Found(start, -1.0)
    for side, ring in LEVELS:
        size = max(template.luma.shape) * found.place.scale
        small, source = template.at(min(side, max(SMALLEST, round(size))))
        target = max(small.luma.shape) / size
        height, width = (max(1, round(extent * target)) for extent in picture.shape)
        if min(height, width) < 2 or max(height, width) > 8 * max(picture.shape):
            return found
        reduced = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if target < 1 else cv2.INTER_LINEAR)
        at = _stepped(small, np.asarray(reduced, np.float32), found.place.rescaled(source, target), ring)
        if ring or at.correlation >= TELLING:
            found = Found(at.place.rescaled(1 / source, 1 / target), at.correlation)
    return found


def searched(template: Template, picture: Floats, expected: Similarity | None) -> list[Similarity]:
    """Likely places, the likeliest first; within half and twice the expected size if there is one."""
    height, width = fitted(picture.shape[0], picture.shape[1], SEARCH_SIDE)
    target = max(height, width) / max(picture.shape)
    reduced = shrunk(picture, height, width)
    sizes = SMALLEST * SEARCH_STEP ** np.arange(round(math.log(LARGEST / SMALLEST, SEARCH_STEP)) + 1)
    if expected is not None:
        size = max(template.luma.shape) * expected.scale * target
        sizes = sizes[(sizes > size / 2) & (sizes < size * 2)]
    tried = [_matched(template, reduced, round(float(size))) for size in sizes]
    best = sorted(tried, key=lambda each: -each.correlation)[:CANDIDATES]
    return [each.place.rescaled(1, 1 / target) for each in best if each.correlation > 0]


def _matched(template: Template, reduced: Floats, side: int) -> Found:
    """Where the object of one size fits best; up to a quarter of it may lie outside."""
    small, source = template.at(side)
    solid = (small.alpha >= 0.9).astype(np.float32)
    down, across = (extent // 4 + 1 for extent in solid.shape)
    padded = cv2.copyMakeBorder(reduced, down, down, across, across, cv2.BORDER_REPLICATE)
    if solid.sum() < SMALLEST or padded.shape[0] < solid.shape[0] or padded.shape[1] < solid.shape[1]:
        return Found(Similarity(1 / max(template.luma.shape), 0.0, 0.0, 0.0), -1.0)
    scores = cv2.matchTemplate(padded, small.luma, cv2.TM_CCOEFF_NORMED, mask=solid)
    scores[~np.isfinite(scores) | (np.abs(scores) > 1.001)] = -1.0
    y, x = np.unravel_index(int(scores.argmax()), scores.shape)
    return Found(Similarity(source, 0.0, float(x - across), float(y - down)), float(scores[y, x]))


def _stepped(template: Template, picture: Floats, start: Similarity, ring: int) -> Found:
    """Gauss-Newton from ``start``, in pixels of about one size on both sides; the best place on the way."""
    place, best = start, Found(start, -1.0)
    shape, around = _framed(template, ring)
    if np.count_nonzero(around) < SMALLEST or min(around.shape) < 2:
        return best
    y, x = np.nonzero(around)
    height, width = around.shape
    motions = _motions(x + 0.5 - width / 2, y + 0.5 - height / 2)
    inwards, outwards = Similarity(1.0, 0.0, -ring, -ring), Similarity(1.0, 0.0, ring, ring)
    stuck = 0
    for _ in range(STEPS):
        first, second = _seen(shape, around, picture, place.after(inwards))
        correlation = float((first * second)[around].mean())
        stuck = 0 if correlation > best.correlation + GAIN else stuck + 1
        if correlation > best.correlation:
            best = Found(place, correlation)
        if stuck > PATIENCE:
            break
        step = _step(first, second, around, motions)
        place = place.after(inwards).after(_change(step, height, width)).after(outwards)
        if not 1 / MOST_DRIFT < place.scale / start.scale < MOST_DRIFT:
            break
        if np.abs(step * (max(height, width), max(height, width), 1, 1)).max() < STILL:
            break
    return best


def _seen(shape: Template, around: Bool, picture: Floats, place: Similarity) -> tuple[Floats, Floats]:
    """The object on what lies around it, and what the picture shows there; both with their contrast made equal."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = shape.alpha.shape[::-1]
    seen = cv2.warpAffine(picture, place.pixel_matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    behind = seen[around & (shape.alpha < 0.1)]
    ground = np.float32(behind.mean() if behind.size else 0)
    return _normalised(shape.luma + (1 - shape.alpha) * ground, around), _normalised(np.asarray(seen), around)


def _step(first: Floats, second: Floats, around: Bool, motions: tuple[Matrix, Matrix]) -> Matrix:
    """The change of scale, angle, dx and dy that makes both most alike, as far as their slopes tell."""
    slopes = [(a + b)[around] / 2 for a, b in zip(np.gradient(first), np.gradient(second), strict=True)]
    jacobian = slopes[1][:, None] * motions[0] + slopes[0][:, None] * motions[1]
    error = (first - second)[around].astype(np.float64)
    weight = np.sqrt((jacobian**2).sum(axis=0)) + np.finfo(float).tiny  # so that angles and pixels count alike
    jacobian /= weight
    return np.asarray(np.linalg.lstsq(jacobian.T @ jacobian, jacobian.T @ error, rcond=1e-6)[0] / weight, np.float64)


def _framed(template: Template, ring: int) -> tuple[Template, Bool]:
    """The object with a margin around its box, and the pixels to compare: the object and a ring around it."""
    luma, alpha = (
        np.asarray(cv2.copyMakeBorder(each, ring, ring, ring, ring, cv2.BORDER_CONSTANT), np.float32)
        for each in (template.luma, template.alpha)
    )
    kernel = np.ones((2 * ring + 1, 2 * ring + 1), np.uint8)
    return Template(luma, alpha), np.asarray(cv2.dilate((alpha >= 0.9).astype(np.uint8), kernel), bool)


def _motions(x: Matrix, y: Matrix) -> tuple[Matrix, Matrix]:
    """How points move, right and down, with scale, angle, dx and dy: (n, 4) each."""
    zero, one = np.zeros_like(x), np.ones_like(x)
    return np.stack([x, -y, one, zero], axis=1), np.stack([y, x, zero, one], axis=1)


def _change(step: Matrix, height: int, width: int) -> Similarity:
    """A step (scale, angle, dx, dy) about the middle of the frame."""
    scale, angle, dx, dy = (float(value) for value in step)
    turned = Similarity(max(0.5, min(2.0, 1 + scale)), angle, 0.0, 0.0)
    x, y = turned.apply(width / 2, height / 2)
    return Similarity(turned.scale, angle, width / 2 - x + dx, height / 2 - y + dy)


def _normalised(luma: Floats, mask: Bool) -> Floats:
    values = luma[mask]
    return np.asarray((luma - values.mean()) / (values.std() + FLAT), np.float32)
