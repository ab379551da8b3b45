"""Finds the product of a picture without weights: what stands out, cut along its edges, its outline made exact."""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from model_blocks.capabilities import Segmentation
from model_blocks.embedded.backdrop import fit_backdrop, label_regions, object_on
from model_blocks.embedded.cut import divide
from model_blocks.embedded.matte import alpha_from_probability
from model_blocks.embedded.saliency import standing_out
from model_blocks.embedded.superpixels import means, slic

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

SALIENCY_SIDE = 256
CUT_SIDE = 320
CUT_PIECES = 1500
SPECK = 0.002  # of the picture; smaller pieces are dropped
COMPANION = 0.02  # of the largest piece; smaller ones are dropped
LEAST = 0.3  # of what stands out that a cut should keep
SAFE = 0.15  # what stands out less may be backdrop
BAR = 0.02  # of the longer side: half the width of a part that counts as thin
CUT_ERROR = 2.0  # pixels of the analysis size by which a cut of superpixels may miss the edge
PLAIN_ERROR = 1.0  # the same for an outline found pixel by pixel on a plain backdrop


class EmbeddedSegmenter:
    """Salient-object segmentation by classical vision. The same bytes for the same picture, in any process.

    ``segment`` takes (N, 3, H, W) RGB 0..1 of any size and answers with probabilities of the same size.
    """

    working_side = 768

    def segment(self, images: Tensor) -> Segmentation:
        """Probability (N, 1, H, W) and one confidence per picture."""
        found = [_segment_one(image[None]) for image in images.float().clamp(0, 1).cpu()]
        probability = torch.cat([p for p, _ in found]).to(images.device)
        return Segmentation(probability, tuple(c for _, c in found))


def _segment_one(image: Tensor) -> tuple[Tensor, float]:
    pixels = np.ascontiguousarray(image[0].permute(1, 2, 0).numpy())
    height, width = pixels.shape[:2]
    mask, error, confidence = find_object(pixels)
    scale = max(height, width) / max(mask.shape)
    rough = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    radius = 1 + round(error * scale)
    alpha, _ = alpha_from_probability(image, torch.from_numpy(rough)[None, None], radius=radius)
    return alpha, confidence


def find_object(pixels: Float32) -> tuple[Bool, float, float]:
    """The object's mask at the analysis size, its error in pixels of that size, the confidence that there is one."""
    stands = standing_out(_lab(shrink(pixels, SALIENCY_SIDE)))
    lab = _lab(shrink(pixels, CUT_SIDE))
    height, width = lab.shape[:2]
    stands = np.asarray(cv2.resize(stands, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float64)
    mask = _divided(lab, stands)
    on_plain = _on_plain(lab, mask, stands)
    error = CUT_ERROR if on_plain is None else PLAIN_ERROR
    mask = mask if on_plain is None else on_plain
    mask = tidy(without_bars(mask))
    return mask, error, _confidence(stands, mask)


def _divided(lab: Float32, stands: Float) -> Bool:
    """The cut by superpixels. Where a firm threshold leaves next to nothing, a lenient one has its turn."""
    pieces = slic(lab.astype(np.float64), count=CUT_PIECES)
    per_piece = means(stands[..., None], pieces.labels, len(pieces.area))[:, 0]
    firm = float(np.clip(0.5 * otsu(stands), 0.08, 0.25))
    lenient = float(np.clip((0.8 * otsu(np.sqrt(stands))) ** 2, 0.04, 0.2))
    inside = divide(pieces, per_piece, threshold=firm)
    if pieces.area[inside].sum() < LEAST * pieces.area[per_piece > firm].sum():
        inside = divide(pieces, per_piece, threshold=lenient)
    return inside[pieces.labels]


def _on_plain(lab: Float32, mask: Bool, stands: Float) -> Bool | None:
    """The object as what a plain backdrop leaves over; None where the backdrop is not plain."""
    background = ~np.asarray(ndimage.binary_dilation(mask, iterations=3)) & (stands < SAFE)
    backdrop = fit_backdrop(lab, background)
    if not backdrop.plain:
        return None
    better = object_on(lab, backdrop, background)
    return better if 0 < better.mean() < 0.95 else None


def _lab(pixels: Float32) -> Float32:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB), dtype=np.float32)


def shrink(image: Float32, side: int) -> Float32:
    """A copy whose longer side is at most ``side``, by area means."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def otsu(values: Float) -> float:
    """The threshold in 0..1 that splits values best in two classes. Source: Otsu 1979."""
    counts, edges = np.histogram(values, 64, (0, 1))
    below = np.cumsum(counts)
    moment = np.cumsum(counts * (edges[:-1] + edges[1:]) / 2)
    parts = np.maximum(below * (below[-1] - below), 1)
    return float(edges[1 + int(np.argmax((moment[-1] * below - moment * below[-1]) ** 2 / parts))])


def without_bars(mask: Bool) -> Bool:
    """Drops thin parts that run out of the picture: window frames, table edges, cables."""
    width = max(1, round(BAR * max(mask.shape)))
    framed = np.pad(mask, width, mode="edge").astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    solid = cv2.morphologyEx(framed, cv2.MORPH_OPEN, disc)[width:-width, width:-width] > 0
    thin = label_regions(mask & ~solid)
    edges = np.concatenate([thin[0], thin[-1], thin[:, 0], thin[:, -1]])
    return np.asarray(mask & ~np.isin(thin, np.unique(edges[edges > 0])))


def tidy(mask: Bool) -> Bool:
    """Drops specks and what merely reaches in from the frame, keeps several pieces of one product, closes pinholes."""
    labels = label_regions(mask)
    area = np.bincount(labels.ravel())
    area[0] = 0
    keep = area >= max(SPECK * mask.size, COMPANION * area.max())
    keep[np.unique(np.concatenate([labels[0], labels[:, 0], labels[:, -1]]))] = False
    keep[area.argmax()] = area.any()
    keep[0] = False
    mask = keep[labels]
    holes = label_regions(~mask)
    small = np.bincount(holes.ravel()) < SPECK / 4 * mask.size
    small[0] = False
    return np.asarray(mask | small[holes])


def _confidence(stands: Float, mask: Bool) -> float:
    """How much the object stands out from the rest, less what of the frame it covers."""
    if not mask.any() or mask.all():
        return 0.0
    contrast = np.sqrt(stands[mask]).mean() - np.sqrt(stands[~mask]).mean()
    framed = np.concatenate([mask[0], mask[:, 0], mask[:, -1]]).mean()
    return float(np.clip(1.2 * contrast - 0.5 * framed + 0.1, 0, 1))
