"""Superpixels: a few hundred small pieces of even colour, the vocabulary of the saliency estimate."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SLIC_ROUNDS = 6
COMPACTNESS = 9.0  # Lab units of colour difference that weigh as much as one grid step of distance

Float = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Superpixels:
    """Pieces of a picture. ``labels`` (H, W) counts from 0 without gaps; the other fields have one row per piece.

    Attributes:
        labels: (H, W), int64.
        lab: (N, 3), mean CIE Lab colour.
        centre: (N, 2), mean row and column, as a share of the longer side.
        area: (N,), share of the picture.
        border: (N,), bool, the piece touches the edge of the picture.
        neighbours: (E, 2), pairs of touching pieces, each once.
    """

    labels: Labels
    lab: Float
    centre: Float
    area: Float
    border: NDArray[np.bool_]
    neighbours: Labels


def slic(lab: Float, *, count: int) -> Superpixels:
    """Groups the pixels of a Lab picture (H, W, 3) into about ``count`` superpixels.

    Every pixel chooses among the nine pieces around its own grid cell.

    Source: Achanta et al. 2012, SLIC Superpixels Compared to State-of-the-art Superpixel Methods.
    """
    height, width = lab.shape[:2]
    step = max(1.0, (height * width / count) ** 0.5)
    rows, columns = max(1, round(height / step)), max(1, round(width / step))
    y, x = np.mgrid[:height, :width].astype(np.float64)
    features = np.concatenate([lab, y[..., None] * (COMPACTNESS / step), x[..., None] * (COMPACTNESS / step)], axis=2)
    cell = (y * rows // height).astype(np.int64), (x * columns // width).astype(np.int64)
    labels = cell[0] * columns + cell[1]
    for _ in range(SLIC_ROUNDS):
        labels = _assign(features, cell, means(features, labels, rows * columns), rows, columns)
    return describe(lab, _compact(labels))


def means(values: Float, labels: Labels, count: int) -> Float:
    """Mean of ``values`` (H, W, C) over each label, (count, C); zero where a label is empty."""
    flat = labels.ravel()
    size = np.maximum(np.bincount(flat, minlength=count), 1)
    sums = [np.bincount(flat, weights=values[..., c].ravel(), minlength=count) for c in range(values.shape[2])]
    return np.stack(sums, axis=1) / size[:, None]


def _assign(features: Float, cell: tuple[Labels, Labels], centres: Float, rows: int, columns: int) -> Labels:
    planes = [np.ascontiguousarray(features[..., c], dtype=np.float32) for c in range(features.shape[2])]
    best = np.full(features.shape[:2], np.inf, np.float32)
    labels = np.zeros(features.shape[:2], np.int64)
    # A rim of unreachable centres stands for the cells outside the grid.
    grid = np.full((rows + 2, columns + 2, len(planes)), 1e9, np.float32)
    grid[1:-1, 1:-1] = centres.reshape(rows, columns, -1)
    tables = [np.ascontiguousarray(grid[..., c]).ravel() for c in range(len(planes))]
    home = (cell[0] + 1) * (columns + 2) + cell[1] + 1
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            around = home + (dy * (columns + 2) + dx)
            distance = np.zeros_like(best)
            for plane, table in zip(planes, tables, strict=True):
                distance += np.square(plane - table.take(around))
            nearer = distance < best
            np.copyto(best, distance, where=nearer)
            np.copyto(labels, (cell[0] + dy) * columns + cell[1] + dx, where=nearer)
    return labels


def _compact(labels: Labels) -> Labels:
    """Renumbers labels without gaps."""
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int64)


def describe(lab: Float, labels: Labels) -> Superpixels:
    """Measures the pieces of a label picture."""
    height, width = labels.shape
    count = int(labels.max()) + 1
    y, x = np.mgrid[:height, :width].astype(np.float64)
    measured = means(np.concatenate([lab, y[..., None], x[..., None]], axis=2), labels, count)
    border = np.zeros(count, bool)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        border[edge] = True
    return Superpixels(
        labels=labels,
        lab=measured[:, :3],
        centre=measured[:, 3:] / max(height, width),
        area=np.bincount(labels.ravel(), minlength=count) / labels.size,
        border=border,
        neighbours=_touching(labels),
    )


def _touching(labels: Labels) -> Labels:
    pairs = [
        np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()], axis=1),
        np.stack([labels[:-1].ravel(), labels[1:].ravel()], axis=1),
    ]
    both = np.sort(np.concatenate(pairs), axis=1)
    return np.unique(both[both[:, 0] != both[:, 1]], axis=0)
