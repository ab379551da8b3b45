"""Plain backdrops: paper, a wall, a sky. What departs from them is the object, soft shadows excepted."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

FIT_ROUNDS = 6
PLAIN_SCALE = 2.0  # Lab units; a backdrop rougher than this around its fitted surface is not plain
PLAIN_SHARE = 0.75  # of the background that must lie near the surface
LEAST_STEP = 1.0  # Lab units; a smaller departure from the surroundings cannot be told from noise
GROW_ROUNDS = 40
GROW_SIGMA = 2.0  # pixels of the analysis size over which the surroundings are averaged
CALM_STEP = 1.0  # Lab units from one pixel to the next; a backdrop that is out of focus changes no faster
DRIFT = 4.0  # Lab units by which an unshaded backdrop may stray from its fitted surface
SHADE_STEP = 4.0  # L units by which a soft shadow may darken across a few pixels; an object's edge is steeper
SHADE_TINT = 5.0  # Lab units by which a shadow's tint may differ from the backdrop's
DARKEST = 0.4  # share of the backdrop's lightness; a shadow is not darker
EVEN = 0.3  # Lab units; the mean departure that a view of the backdrop may always have
EVEN_RING = 1.5  # of the departure around the object
EVEN_SCALES = 2.5  # of the backdrop's own roughness
HOLE_SHARE = 0.0005  # of the picture; smaller holes are print or reflections


@dataclass(frozen=True)
class Backdrop:
    """A smooth surface fitted to the background.

    Attributes:
        surface: (H, W, 3), Lab.
        scale: how far, as a robust standard deviation in Lab units, the background lies off it.
        share: of the background that lies near it.
    """

    surface: Float32
    scale: float
    share: float

    @property
    def plain(self) -> bool:
        return self.scale <= PLAIN_SCALE and self.share >= PLAIN_SHARE

    @property
    def step(self) -> float:
        """The departure from the surroundings, in Lab units, that means something."""
        return max(LEAST_STEP, min(3 * self.scale, 4.0))


def fit_backdrop(lab: Float32, background: Bool) -> Backdrop:
    """Fits a quadratic surface per channel to the background pixels of a Lab picture (H, W, 3), robustly."""
    height, width = background.shape
    y, x = np.mgrid[:height, :width].astype(np.float64)
    y, x = y / max(height, width) - 0.5, x / max(height, width) - 0.5
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=2)
    weight = background.astype(np.float64)
    surface, scale = np.zeros_like(lab), 1e3
    for _ in range(FIT_ROUNDS):
        surface = _surface(terms, lab, weight)
        distance = np.sqrt(((lab - surface) ** 2).sum(axis=2))
        scale = max(float(np.median(distance[background])) / 1.54, 0.05) if background.any() else 1e3
        weight = background / (1 + (distance / (2 * scale)) ** 4)
    near = distance[background] < max(4.0, 4 * scale)
    return Backdrop(surface, scale, float(near.mean()) if near.size else 0.0)


def _surface(terms: Float, lab: Float32, weight: Float) -> Float32:
    count = terms.shape[2]
    normal = np.eye(count) * 1e-6
    for i in range(count):
        for j in range(i, count):
            normal[i, j] += (terms[..., i] * terms[..., j] * weight).sum()
            normal[j, i] = normal[i, j]
    right = np.stack([[(terms[..., i] * lab[..., c] * weight).sum() for c in range(3)] for i in range(count)])
    coefficients = np.linalg.solve(normal, right)
    surface = sum(terms[..., i : i + 1] * coefficients[i] for i in range(count))
    return np.asarray(surface, dtype=np.float32)


def object_on(lab: Float32, backdrop: Backdrop, background: Bool) -> Bool:
    """Everything that a plain backdrop, grown over soft shadows from its safe part, does not reach."""
    ground = _grown(lab, backdrop, background)
    outside = _touching_edge(ground)
    return ~(outside | _windows(lab - backdrop.surface, outside, backdrop))


def _grown(lab: Float32, backdrop: Backdrop, background: Bool) -> Bool:
    """Grows the backdrop pixel by pixel wherever the colour is that of the ground next to it."""
    off = lab - backdrop.surface
    distance = np.sqrt((off**2).sum(axis=2))
    ground = _touching_edge(((distance < backdrop.step) | _calm(lab)) & background)
    stray = np.sqrt(((off - _filled(off, ground)) ** 2).sum(axis=2))
    shaded = _may_be_shaded(lab, backdrop.surface)
    close = shaded | (distance < DRIFT) | (stray < DRIFT)
    for _ in range(GROW_ROUNDS):
        around, near = surroundings(lab, ground)
        off = lab - around
        like = near & close & (np.sqrt((off**2).sum(axis=2)) < backdrop.step)
        tint = np.sqrt((off[..., 1:] ** 2).sum(axis=2))
        like |= near & shaded & (tint < backdrop.step) & (off[..., 0] < 0) & (off[..., 0] > -SHADE_STEP)
        grown = ground | like
        if (grown == ground).all():
            break
        ground = grown
    return ground


def _calm(lab: Float32) -> Bool:
    """Where the colour changes slowly: bands of a blurred sea and sky as well as paper, but no edge."""
    smooth = cv2.GaussianBlur(lab, (0, 0), 1.0)
    steps = [cv2.Sobel(smooth, cv2.CV_32F, dx, dy, ksize=3, scale=1 / 8) for dx, dy in ((1, 0), (0, 1))]
    return np.asarray(np.sqrt(sum((step**2).sum(axis=2) for step in steps)) < CALM_STEP)


def _may_be_shaded(lab: Float32, surface: Float32) -> Bool:
    """Darker than the backdrop but of its tint."""
    tint = np.sqrt(((lab[..., 1:] - surface[..., 1:]) ** 2).sum(axis=2))
    return np.asarray((tint < SHADE_TINT) & (lab[..., 0] < surface[..., 0]) & (lab[..., 0] > DARKEST * surface[..., 0]))


def surroundings(lab: Float32, known: Bool) -> tuple[Float32, Bool]:
    """Mean colour of the known pixels close to each pixel, and where there are any."""
    weight = known.astype(np.float32)
    amount = cv2.GaussianBlur(weight, (0, 0), GROW_SIGMA)
    colour = cv2.GaussianBlur(lab * weight[..., None], (0, 0), GROW_SIGMA) / np.maximum(amount, 1e-6)[..., None]
    return np.asarray(colour, dtype=np.float32), np.asarray(amount > 0.1)


def _touching_edge(mask: Bool) -> Bool:
    labels = label_regions(mask)
    rim = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return np.asarray(np.isin(labels, np.unique(rim[rim > 0])))


def label_regions(mask: Bool) -> NDArray[np.int32]:
    """Numbers the connected regions of a mask from 1."""
    return np.asarray(ndimage.label(mask)[0], dtype=np.int32)


def _windows(off: Float32, outside: Bool, backdrop: Backdrop) -> Bool:
    """Holes of the object that show the backdrop: as far ``off`` its surface as the outside is, even, and not tiny.

    A white label on white paper comes near the paper here and there, but not all over a region as paper does.
    """
    distance = np.sqrt(((off - _filled(off, outside)) ** 2).sum(axis=2))
    like = (distance < backdrop.step) & ~outside
    ring = outside & ndimage.binary_dilation(~outside, iterations=20) & ~ndimage.binary_dilation(~outside, iterations=4)
    labels = label_regions(np.asarray(ndimage.binary_erosion(like, iterations=2)))
    area = np.bincount(labels.ravel())
    uneven = np.bincount(labels.ravel(), weights=distance.ravel()) / np.maximum(area, 1)
    even = max(EVEN, EVEN_SCALES * backdrop.scale, EVEN_RING * float(distance[ring].mean()) if ring.any() else 0.0)
    show = (area >= HOLE_SHARE * labels.size) & (uneven < even)
    show[0] = False
    return np.asarray(ndimage.binary_propagation(show[labels], mask=like))


def _filled(lab: Float32, known: Bool) -> Float32:
    """Continues the known colours over the rest, wide blurs where no narrow one reaches."""
    weight = known.astype(np.float32)
    result = np.zeros_like(lab)
    for sigma in (64.0, 16.0, 4.0):
        amount = cv2.GaussianBlur(weight, (0, 0), sigma)[..., None]
        colour = cv2.GaussianBlur(lab * weight[..., None], (0, 0), sigma) / np.maximum(amount, 1e-6)
        share = np.clip(amount / 0.02, 0, 1)
        result = result + share * (colour - result)
    return result
