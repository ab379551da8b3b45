"""Frames between two others without weights: every pixel chooses among the motions found around it."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from model_blocks.embedded.flow import Floats, Flows, arriving, flows, grid, luma8, sampled

WORKING_SIDE = 400  # px of the shorter side in which motion is sought; larger pictures are halved until they fit
NEIGHBOURS = 1.5  # px, Gaussian: what is around a pixel helps to choose its motion
DIFFER = 0.03  # of 0..1: a motion whose ends differ by this more than those of the best one counts e times less
AGREE_PX = 1.0  # flows that agree better than this are right
UNSEEN = 0.1  # what a side still counts where its flow disagrees
LOST = (0.2, 0.5)
STRIP = 64
STILL = 0.004  # of 0..1: by how much a motion must be better than none


@dataclass(frozen=True)
class _Pair:
    """Two frames premultiplied, (H, W, C) float32, and what was found out about them at 1/shrink of their size."""

    first: Floats
    second: Floats
    small: tuple[Floats, Floats]
    found: Flows
    trust: float
    shrink: int


@dataclass(frozen=True)
class _Motion:
    """One guess how everything moves: pixels per pair (h, w, 2), its cost, and whether each side confirms it."""

    flow: Floats
    cost: Floats
    ours: Floats
    theirs: Floats


class DisInterpolator:
    """Any moment between two frames by bidirectional flow.

    At the moment asked for, a pixel has three motions to choose from: that of the flow which starts at the first frame,
    that of the flow which starts at the second, and none. A motion is good where both its ends have the same colour; a
    side counts where the flow found there says the same motion, so that what is covered is taken from the side that
    sees it. Where no motion is better than the others they are averaged, which comes down to blending. Motion between
    frames is taken for straight and even.

    Source: Kroeger et al. 2016 (DIS flow); Herbst, Seitz, Baker 2009, Occlusion Reasoning for Temporal Interpolation
    Using Optical Flow.
    """

    def interpolate(self, first: Tensor, second: Tensor, fractions: Sequence[float]) -> Tensor:
        """(C, H, W) each, C 3 or 4, float32 of 0..1, to (len(fractions), C, H, W); colours are straight."""
        pair = _prepared(_premultiplied(first), _premultiplied(second))
        made = [_straight(_between(pair, float(at))) for at in fractions]
        return torch.from_numpy(np.stack(made)).to(first.device)


def _premultiplied(image: Tensor) -> Floats:
    values: Floats = image.detach().cpu().permute(1, 2, 0).contiguous().numpy().astype(np.float32, copy=True)
    if values.shape[2] == 4:
        values[..., :3] *= values[..., 3:]
    return values


def _straight(picture: Floats) -> Floats:
    values = np.ascontiguousarray(picture.transpose(2, 0, 1))
    if len(values) == 4:
        values[:3] /= np.maximum(values[3:], 1e-6)
    return np.clip(values, 0, 1, out=values)


def _prepared(first: Floats, second: Floats) -> _Pair:
    shrink = 1
    while min(first.shape[:2]) > WORKING_SIDE * shrink:
        shrink *= 2
    a, b = _smaller(first, shrink), _smaller(second, shrink)
    around = float(a[..., :3].mean() + b[..., :3].mean()) / 2
    found = flows(luma8(a, around), luma8(b, around))
    # A light that goes on is no reason to doubt a motion.
    return _Pair(first, second, (a - a.mean(axis=(0, 1)), b - b.mean(axis=(0, 1))), found, _trust(found), shrink)


def _smaller(picture: Floats, shrink: int) -> Floats:
    if shrink == 1:
        return picture
    height, width = picture.shape[:2]
    whole = cv2.copyMakeBorder(picture, 0, -height % shrink, 0, -width % shrink, cv2.BORDER_REPLICATE)
    size = (whole.shape[1] // shrink, whole.shape[0] // shrink)
    return np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def _between(pair: _Pair, at: float) -> Floats:
    places = grid(*pair.small[0].shape[:2])
    guesses = (
        _judged(pair, arriving(pair.found.forward, at, places), places, at),
        _judged(pair, -arriving(pair.found.backward, 1 - at, places), places, at),
    )
    still = _around(_apart(*pair.small)) - np.float32(STILL)
    least = np.minimum(np.minimum(guesses[0].cost, guesses[1].cost), still)
    trust = pair.trust
    weights = [_weights(guess, least, at, trust) for guess in guesses]
    plain = np.maximum(np.exp((least - still) / DIFFER), 1e-3 )
    total = (weights[0][0] + weights[0][1]) + (weights[1][0] + weights[1][1]) + plain
    return _put_together(
        pair, at,
        [_larger(guess.flow * np.float32(pair.shrink), pair) for guess in guesses],
        [[_larger(side / total, pair) for side in sides] for sides in weights],
        _larger(plain / total, pair))


def _put_together(pair, at, motions, weights, plain):
    """Both frames along both motions and as they are; all weights of a pixel sum to 1."""
    made = np.empty_like(pair.first)
    height, width = made.shape[:2]
    for top in range(0, height, STRIP):
        rows = slice(top, top + STRIP)
        places = grid(*made[rows].shape[:2])
        places[..., 1] += top
        parts = [
            _weighed(sampled(pair.first, places - flow[rows] * np.float32(at)), ours[rows])
            + _weighed(sampled(pair.second, places + flow[rows] * np.float32(1 - at)), theirs[rows])
            for flow, (ours, theirs) in zip(motions, weights, strict=True)
        ]
        unmoved = pair.first[rows] * np.float32(1 - at) + pair.second[rows] * np.float32(at)
        made[rows] = (parts[0] + parts[1]) + _weighed(unmoved, plain[rows])
    return made


def _weighed(picture: Floats, weight: Floats) -> Floats:
    return np.asarray(cv2.multiply(picture, cv2.merge([weight] * picture.shape[2])), dtype=np.float32)


def _weights(guess, least, at, trust):
    good = np.exp((least - guess.cost) / DIFFER) * trust
    return good * guess.ours * np.float32(1 - at), good * guess.theirs * np.float32(at)


def _judged(pair: _Pair, flow: Floats, places: Floats, at: float) -> _Motion:
    """How well a motion fits both frames, and both flows at its ends."""
    start, end = places - flow * np.float32(at), places + flow * np.float32(1 - at)
    off = _apart(sampled(pair.small[0], start), sampled(pair.small[1], end))
    ours = _confirmed(sampled(pair.found.forward, start) - flow)
    theirs = _confirmed(sampled(pair.found.backward, end) + flow)
    return _Motion(flow, _around(off), ours, theirs)


def _apart(first: Floats, second: Floats) -> Floats:
    channels = first.shape[2]
    mean = np.full((1, channels), 1 / channels, np.float32)
    return np.asarray(cv2.transform(cv2.absdiff(first, second), mean), dtype=np.float32)


def _confirmed(off: Floats) -> Floats:
    return np.asarray(np.exp(-_squared(off) / np.float32(AGREE_PX**2)) + np.float32(UNSEEN), dtype=np.float32)


def _squared(motion):
    return motion[..., 0] ** 2 + motion[..., 1] ** 2


def _around(cost: Floats) -> Floats:
    return np.asarray(cv2.GaussianBlur(cost, (0, 0), NEIGHBOURS, borderType=cv2.BORDER_REPLICATE), dtype=np.float32)


def _larger(values: Floats, pair: _Pair) -> Floats:
    if pair.shrink == 1:
        return values
    height, width = pair.first.shape[:2]
    size = (values.shape[1] * pair.shrink, values.shape[0] * pair.shrink)
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_LINEAR)[:height, :width], dtype=np.float32)


def _trust(found: Flows):
    places = grid(*found.forward.shape[:2])
    off = (found.forward + sampled(found.backward, places + found.forward), found.backward + sampled(found.forward, places + found.backward))
    sure = [np.exp(-_squared(each)/4) for each in off]
    mean = float(sure[0].mean()+sure[1].mean())/2
    import os
    if os.environ.get('DBG'): print('mean %.3f'%mean)
    lo,hi=LOST
    return np.float32(min(1.,max(0.,(mean-lo)/(hi-lo))))
