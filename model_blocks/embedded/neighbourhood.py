"""Neighbourhood sums with a fixed order of additions.

Integral images and library convolutions add in an order that depends on the size of the array, so a tile would
differ from the whole picture in the last digits. Here every output is the same tree of additions wherever it lies.
Tensors are (N, C, H, W). Outside the picture counts as absent: zero for sums, so divide by the sum of ones.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def box_sum(values: Tensor, *, radius: int) -> Tensor:
    """Sum over the (2 radius + 1) x (2 radius + 1) square around every pixel."""
    return _window_sum(_window_sum(values, radius, dim=2), radius, dim=3)


def _window_sum(values: Tensor, radius: int, *, dim: int) -> Tensor:
    """Sums of a window of odd width, by doubling: widths 1, 2, 4, ... put together as the binary digits ask."""
    width, size = 2 * radius + 1, values.shape[dim]
    part = _padded(values, radius, dim)
    total: Tensor | None = None
    offset, span = 0, 1
    while True:
        if width & span:
            piece = part.narrow(dim, offset, size)
            total = piece if total is None else total + piece
            offset += span
        if 2 * span > width:
            break
        length = part.shape[dim] - span
        part = part.narrow(dim, 0, length) + part.narrow(dim, span, length)
        span *= 2
    assert total is not None
    return total


def spread(values: Tensor, *, step: int) -> Tensor:
    """The [1 2 1] / 4 kernel in both directions with its taps ``step`` pixels apart.

    Repeated at steps 1, 2, 4, ... it is a pyramid of blurs without decimation, so no grid ties it to an origin.
    Source: Holschneider et al. 1989, algorithme a trous.
    """
    return _spread(_spread(values, step, dim=2), step, dim=3)


def _spread(values: Tensor, step: int, *, dim: int) -> Tensor:
    padded, size = _padded(values, step, dim), values.shape[dim]
    return (padded.narrow(dim, 0, size) + padded.narrow(dim, 2 * step, size)) * 0.25 + values * 0.5


def _padded(values: Tensor, amount: int, dim: int) -> Tensor:
    return F.pad(values, (0, 0, amount, amount) if dim == 2 else (amount, amount))


def spread_reach(levels: int) -> int:
    """How many pixels away ``levels`` spreads at steps 1, 2, 4, ... can see."""
    return int(2**levels - 1)


def local_maximum(values: Tensor, *, radius: int) -> Tensor:
    """Largest value in the square around every pixel; the picture ends at its edge."""
    if radius == 0:
        return values
    rows = F.max_pool2d(values, (2 * radius + 1, 1), stride=1, padding=(radius, 0))
    return F.max_pool2d(rows, (1, 2 * radius + 1), stride=1, padding=(0, radius))


def local_minimum(values: Tensor, *, radius: int) -> Tensor:
    """Smallest value in the square around every pixel; the picture ends at its edge."""
    return -local_maximum(-values, radius=radius)


def guided_filter(guide: Tensor, values: Tensor, weight: Tensor, *, radius: int, smoothness: float) -> Tensor:
    """Explains ``values`` (N, 1, H, W) by a local affine function of the colours of ``guide`` (N, 3, H, W).

    Args:
        guide: colours, 0..1.
        values: what to smooth.
        weight: (N, 1, H, W), >= 0, how much each pixel's value is to be trusted.
        radius: of the two squares, so the result sees ``2 * radius`` pixels around.
        smoothness: variance of the guide, in squared guide units, below which it counts as flat.

    Source: He, Sun, Tang 2013, Guided Image Filtering, with weighted means.
    """
    slope, offset = _affine(guide, values, weight, radius, smoothness)
    quality = box_sum(weight, radius=radius) + 1e-6
    summed = box_sum(torch.cat([slope * quality, offset * quality, quality], dim=1), radius=radius)
    return ((summed[:, :3] * guide).sum(dim=1, keepdim=True) + summed[:, 3:4]) / summed[:, 4:5]


def _affine(guide: Tensor, values: Tensor, weight: Tensor, radius: int, smoothness: float) -> tuple[Tensor, Tensor]:
    red, green, blue = guide[:, 0:1], guide[:, 1:2], guide[:, 2:3]
    v = values
    products = [red * red, red * green, red * blue, green * green, green * blue, blue * blue]
    stack = torch.cat([red, green, blue, v, red * v, green * v, blue * v, *products, torch.ones_like(v)], dim=1)
    sums = box_sum(stack * (weight + 1e-6), radius=radius)
    mean = sums[:, :-1] / sums[:, -1:]
    mr, mg, mb, mv, rv, gv, bv, rr, rg, rb, gg, gb, bb = torch.chunk(mean, 13, dim=1)
    cov = (rv - mr * mv, gv - mg * mv, bv - mb * mv)
    var = (rr - mr * mr, rg - mr * mg, rb - mr * mb, gg - mg * mg, gb - mg * mb, bb - mb * mb)
    slope = _solve3(var, cov, smoothness)
    offset = mv - (slope * mean[:, :3]).sum(dim=1, keepdim=True)
    return slope, offset


def _solve3(var: tuple[Tensor, ...], right: tuple[Tensor, ...], ridge: float) -> Tensor:
    """Solves the symmetric 3 x 3 systems of all pixels by cofactors."""
    a, b, c, d, e, f = var[0] + ridge, var[1], var[2], var[3] + ridge, var[4], var[5] + ridge
    x, y, z = right
    aa, ab, ac = d * f - e * e, c * e - b * f, b * e - c * d
    bb, bc, cc = a * f - c * c, b * c - a * e, a * d - b * b
    determinant = a * aa + b * ab + c * ac
    solved = (aa * x + ab * y + ac * z, ab * x + bb * y + bc * z, ac * x + bc * y + cc * z)
    return torch.cat(solved, dim=1) / determinant
