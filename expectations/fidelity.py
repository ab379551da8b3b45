"""Whether a product is still itself after it was placed into a scene.

The cutout is registered to the result, laid over it, and compared within its solid part. A scene that repaints, crops,
recolours, scales, blurs or replaces the product shows in at least one of the numbers; a soft shadow around it, mild
relighting and JPEG at quality 90 do not.
"""

from dataclasses import asdict, dataclass

import cv2
import numpy as np

from expectations.colour_difference import delta_e_2000, srgb_to_lab
from expectations.registration import Found, Similarity, Template, locate
from expectations.sharpness import inside, laplacian_variance
from expectations.similarity import masked_mean, ssim_map, worst_part
from expectations.views import Bool, Floats, Pixels, check_pixels, opaque, shrunk, to_luma, weighted

SOLID = 0.9  # alpha from which a pixel is the product itself and not its shadow or edge
FEWEST = 64  # solid pixels; fewer cannot be compared
COMPARED_SIDE = 512  # px of the product's long side at most, in the comparison
PARTS = 8  # the product's long side is this many times a part's
EYE_SIGMA = 1.0  # px at that scale; colours are compared as seen from a little away
FAINT_DETAIL = 4.0  # squared codes of Laplacian added to both sides: what JPEG leaves on flat ground
REDUCED_SIDE = 1024  # px of the long side of the picture that is searched


@dataclass(frozen=True)
class Placement:
    """Where the whole cutout should lie in the result: its upper left corner and its width, px of the result."""

    x: float
    y: float
    width: float


@dataclass(frozen=True)
class Fidelity:
    """The product after against before.

    Attributes:
        ssim: Mean structural similarity of luma over the product, -1..1.
        ssim_low: The same over the part of an eighth of the product's side that is worst.
        delta_e: Mean CIEDE2000 over the product.
        delta_e_high: The same over the part that is worst.
        delta_c: Mean CIEDE2000 where lightness is made equal: light changes it little, another colour much.
        detail: Variance of the Laplacian after against before: below 1 blurred, above 1 sharpened or repainted.
        visible: Share of the product that lies within the result.
        scale: Found size against expected size; None where none was expected.
        shift: Distance from the expected to the found middle, in diagonals of the product; None likewise.
        rotation: Degrees by which it was turned, clockwise above 0.
    """

    ssim: float
    ssim_low: float
    delta_e: float
    delta_e_high: float
    delta_c: float
    detail: float
    visible: float
    scale: float | None
    shift: float | None
    rotation: float

    def to_row(self) -> dict[str, float | None]:
        """As columns of the measures table."""
        return {f"fidelity_{name}": value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class _Product:
    """The cutout cropped to its solid part: premultiplied codes (h, w, 3), alpha (h, w), and where it was cropped."""

    colours: Floats
    alpha: Floats
    left: int
    top: int


def measure_fidelity(cutout: Pixels, result: Pixels, placement: Placement | None = None) -> Fidelity | None:
    """Compare the product of a cutout with what a result shows of it.

    Args:
        cutout: (h, w, 4), sRGB, uint8 or uint16, straight alpha.
        result: (H, W, 3|4), sRGB, uint8 or uint16.
        placement: Where it should be; None: anywhere, in any size.

    Returns:
        None if the cutout has no solid product to compare.

    Raises:
        FrameShapeError: Not such pictures.
    """
    check_pixels(cutout)
    check_pixels(result)
    product = _cropped(cutout)
    if product is None:
        return None
    expected = None if placement is None else _expected(placement, cutout.shape[1], product)
    picture = opaque(_codes(result))
    found = _locate(product, picture, expected)
    places = [found.place, *([expected] if expected and _near(_moved(product, found.place, expected)) else [])]
    return max((_compared(product, picture, place, expected) for place in places), key=lambda each: each.ssim)


def _near(moved: tuple[float | None, float | None, float]) -> bool:
    """Whether the product is so near to where it should be that it may well be there: registration is not exact."""
    scale, shift, rotation = moved
    return scale is not None and shift is not None and abs(scale - 1) < 0.02 and shift < 0.02 and abs(rotation) < 1


def _locate(product: _Product, picture: Floats, expected: Similarity | None) -> Found:
    """Registration needs no more than a reduced picture."""
    ratio = min(1.0, REDUCED_SIDE / max(picture.shape[:2]))
    height, width = (max(1, round(extent * ratio)) for extent in picture.shape[:2])
    template = Template(to_luma(product.colours), product.alpha)
    start = None if expected is None else expected.rescaled(1, ratio)
    found = locate(template, shrunk(to_luma(picture), height, width), start)
    return Found(found.place.rescaled(1, 1 / ratio), found.correlation)


def _compared(product: _Product, picture: Floats, place: Similarity, expected: Similarity | None) -> Fidelity:
    size = max(product.alpha.shape) * place.scale
    target = min(COMPARED_SIDE, max(product.alpha.shape), max(size, 1)) / size  # neither side is enlarged
    after, within, corner = _around(product, picture, place, target)
    before, alpha = _rendered(product, after, place, target, corner)
    mask = inside(alpha >= SOLID)
    mask = mask if mask.any() else alpha >= alpha.max()
    return _measured(before, after, mask, within, _moved(product, place, expected))


def _measured(
    before: Floats, after: Floats, mask: Bool, within: Bool, moved: tuple[float | None, float | None, float]
) -> Fidelity:
    lumas = to_luma(before), to_luma(after)
    alike = np.where(within, ssim_map(*lumas), np.float32(0))
    labs = [srgb_to_lab(np.asarray(cv2.GaussianBlur(each, (0, 0), EYE_SIGMA), np.float32)) for each in (before, after)]
    apart = np.asarray(delta_e_2000(labs[0], labs[1]), np.float32)
    relit = np.concatenate([labs[0][..., :1], labs[1][..., 1:]], axis=-1)
    side = max(5, round(max(mask.any(axis=0).sum(), mask.any(axis=1).sum()) / PARTS))
    shown = mask & within
    details = [laplacian_variance(luma, shown) or 0.0 for luma in lumas]
    return Fidelity(
        masked_mean(alike, mask),
        worst_part(alike, mask, side=side),
        masked_mean(apart, mask),
        worst_part(apart, mask, side=side, highest=True),
        masked_mean(np.asarray(delta_e_2000(labs[0], relit), np.float32), mask),
        (details[1] + FAINT_DETAIL) / (details[0] + FAINT_DETAIL),
        float(np.count_nonzero(shown) / np.count_nonzero(mask)),
        *moved,
    )


def _around(
    product: _Product, picture: Floats, place: Similarity, target: float
) -> tuple[Floats, Bool, tuple[int, int]]:
    """The reduced picture around the product, which of it is the picture, and its corner there (x, y)."""
    height, width = (max(1, round(extent * target)) for extent in picture.shape[:2])
    reduced = shrunk(picture, height, width)
    high, wide = product.alpha.shape
    corners = np.array([place.apply(x, y) for x in (0, wide) for y in (0, high)]) * target
    left, top = (int(v) - 8 for v in np.floor(corners.min(axis=0)))
    right, bottom = (int(v) + 8 for v in np.ceil(corners.max(axis=0)))
    rows, columns = np.arange(top, bottom), np.arange(left, right)
    within = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
    crop = reduced[np.clip(rows, 0, height - 1)][:, np.clip(columns, 0, width - 1)]
    return np.ascontiguousarray(crop), within, (left, top)


def _rendered(
    product: _Product, after: Floats, place: Similarity, target: float, corner: tuple[int, int]
) -> tuple[Floats, Floats]:
    """The product laid over what is there, and its alpha: averaged over areas exactly where it came to lie."""
    height, width = product.alpha.shape
    side = max(1, round(max(height, width) * place.scale * target))
    double = max(height, width) >= 2 * side
    source = (2 if double else 1) * side / max(height, width)
    high, wide = (max(1, round(extent * source)) for extent in (height, width))
    layers = np.dstack([shrunk(product.colours, high, wide), shrunk(product.alpha, high, wide)])
    if not double:  # each pixel four times: an average of four neighbours is then linear interpolation
        layers, source = layers.repeat(2, axis=0).repeat(2, axis=1), 2 * source
    at = place.rescaled(source, target)
    moved = Similarity(at.scale, at.angle, at.dx - corner[0], at.dy - corner[1])
    laid = cv2.warpAffine(layers, moved.pixel_matrix, after.shape[1::-1], flags=cv2.INTER_LINEAR)
    alpha = np.ascontiguousarray(laid[..., 3], np.float32)
    before = laid[..., :3] + after * (1 - alpha[..., None])
    return np.ascontiguousarray(before, np.float32), alpha


def _moved(
    product: _Product, place: Similarity, expected: Similarity | None
) -> tuple[float | None, float | None, float]:
    """Scale, shift and rotation against what was expected."""
    rotation = float(np.rad2deg(place.angle))
    if expected is None:
        return None, None, rotation
    height, width = product.alpha.shape
    found, wanted = (each.apply(width / 2, height / 2) for each in (place, expected))
    diagonal = float(np.hypot(height, width)) * expected.scale
    return (
        place.scale / expected.scale,
        float(np.hypot(found[0] - wanted[0], found[1] - wanted[1])) / diagonal,
        rotation,
    )


def _cropped(cutout: Pixels) -> _Product | None:
    codes = _codes(cutout)
    if codes.shape[2] == 3:
        return _Product(codes, np.ones(codes.shape[:2], np.float32), 0, 0)
    alpha = cv2.extractChannel(codes, 3) * np.float32(1 / 255)
    solid = alpha >= SOLID
    if np.count_nonzero(solid) < FEWEST:
        return None
    left, top, width, height = cv2.boundingRect(solid.view(np.uint8))
    box = slice(top, top + height), slice(left, left + width)
    colours = np.ascontiguousarray(opaque(codes)[box])
    alpha = np.ascontiguousarray(alpha[box])
    return _Product(weighted(colours, alpha), alpha, left, top)


def _expected(placement: Placement, width: int, product: _Product) -> Similarity:
    scale = placement.width / width
    return Similarity(scale, 0.0, placement.x + product.left * scale, placement.y + product.top * scale)


def _codes(image: Pixels) -> Floats:
    codes = image.astype(np.float32)
    return codes / np.float32(257) if image.dtype == np.uint16 else codes
