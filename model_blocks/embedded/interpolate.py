"""Frames between two others without weights: optical flow both ways, blending where the flow cannot be trusted."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from model_blocks.embedded.flow import Floats, Flows, disagreement, flows, grid, luma8, warped

SMOOTH = 0.02  # of the longer side: how wide trust is smoothed, so that no tear is seen where it ends
AGREE_PX = 1.0  # flows that agree better than this are right
DIFFER = 0.06  # of 0..1: what both sides may differ by where the motion is right
LOST = 0.45  # mean trust below which the whole pair is blended


class DisInterpolator:
    """Any moment between two frames by bidirectional flow.

    Each side is warped to the moment along the motion found there; a pixel counts by how near its side is in time, by
    whether the flows agree (it is seen on both sides), and by whether it finds the same colour. Where neither side is
    to be trusted, both are blended as they are. Motion between frames is taken for straight and even.

    Source: Kroeger et al. 2016 (DIS flow); Herbst, Seitz, Baker 2009, Occlusion Reasoning for Temporal Interpolation
    Using Optical Flow.
    """

    def interpolate(self, first: Tensor, second: Tensor, fractions: Sequence[float]) -> Tensor:
        """(C, H, W) each, C 3 or 4, float32 of 0..1, to (len(fractions), C, H, W); colours are straight."""
        a, b = (_premultiplied(each) for each in (first, second))
        found = flows(luma8(a), luma8(b))
        pictures = (np.ascontiguousarray(a.transpose(1, 2, 0)), np.ascontiguousarray(b.transpose(1, 2, 0)))
        made = [_straight(_between(pictures, found, float(at))) for at in fractions]
        return torch.from_numpy(np.stack(made)).to(first.device)


def _premultiplied(image: Tensor) -> Floats:
    values: Floats = image.detach().cpu().numpy().astype(np.float32, copy=True)
    if len(values) == 4:
        values[:3] *= values[3:]
    return values


def _straight(picture: Floats) -> Floats:
    values = picture.transpose(2, 0, 1).copy()
    if len(values) == 4:
        values[:3] /= np.maximum(values[3:], 1e-6)
    return np.clip(values, 0, 1)


def _between(pictures: tuple[Floats, Floats], found: Flows, at: float) -> Floats:
    first, second = pictures
    height, width = first.shape[:2]
    places = grid(height, width)
    # The flow of the moment is that of the pixel that gets there: looked up where it would have come from.
    forward = _arriving(found.forward, at)
    backward = _arriving(found.backward, 1 - at)
    ours, theirs = warped(first, places - forward * at), warped(second, places - backward * (1 - at))
    sure_ours = _sureness(found.forward, found.backward, places - forward * at)
    sure_theirs = _sureness(found.backward, found.forward, places - backward * (1 - at))
    same = np.exp(-((np.abs(ours - theirs).max(axis=-1) / DIFFER) ** 2))
    weight_ours = (1 - at) * np.maximum(sure_ours, 1e-4)
    weight_theirs = at * np.maximum(sure_theirs, 1e-4)
    share = (weight_ours / (weight_ours + weight_theirs))[..., None]
    moved = ours * share + theirs * (1 - share)
    plain = first * (1 - at) + second * at
    trust = _smoothed(np.maximum(np.maximum(sure_ours, sure_theirs), same))
    mean = float(np.maximum(sure_ours, sure_theirs).mean())
    trust *= np.float32(np.clip((mean - LOST) / 0.2 + 0.5, 0, 1))
    return np.asarray(moved * trust[..., None] + plain * (1 - trust[..., None]), dtype=np.float32)


def _arriving(flow: Floats, at: float) -> Floats:
    """The motion of what is at each place at a moment, from the motion of what is there at the beginning."""
    height, width = flow.shape[:2]
    places = grid(height, width)
    arriving = flow
    for _ in range(3):
        arriving = warped(flow, places - arriving * np.float32(at))
    return arriving


def _sureness(there: Floats, back: Floats, places: Floats) -> Floats:
    off = disagreement(there, back)
    return warped(np.exp(-((off / AGREE_PX) ** 2)).astype(np.float32), places)


def _smoothed(trust: Floats) -> Floats:
    sigma = max(1.0, SMOOTH * max(trust.shape))
    return np.asarray(cv2.GaussianBlur(trust, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), dtype=np.float32)
