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
STILL = 0.004  # of 0..1: by how much a motion must be better than none
LOST_PX = 2.0  # flows that disagree by more have lost the motion
LOST = (
    0.25,
    0.45,
)  # share of agreeing pixels, around and everywhere: below the first motion counts nothing, from the second on fully
LEAST_PLAIN = 1e-3  # what blending weighs at least, so that there is always something
REACH = 0.05  # of the longer side: how far around; coarse, so that no tear is seen where trust ends
STRIP = 64  # rows that are put together at once: they stay in the cache


@dataclass(frozen=True)
class _Pair:
    """Two frames premultiplied, (H, W, C) float32, and what was found out about them at 1/shrink of their size."""

    first: Floats
    second: Floats
    small: tuple[Floats, Floats]
    found: Flows
    trust: Floats
    shrink: int


@dataclass(frozen=True)
class _Motion:
    """One guess how everything moves: pixels per pair (h, w, 2), its cost, and whether each side confirms it."""

    flow: Floats
    cost: Floats
    ours: Floats
    theirs: Floats


@dataclass(frozen=True)
class _Weighted:
    """A motion in full size and what each side's colour weighs along it."""

    flow: Floats
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
    # Less their means: a light that goes on is no reason to doubt a motion.
    small = (_levelled(a), _levelled(b))
    return _Pair(first, second, small, found, _trusted(found), shrink)


def _levelled(picture: Floats) -> Floats:
    means = np.array(cv2.mean(picture)[: picture.shape[2]], np.float32)
    return np.asarray(picture - means, dtype=np.float32)


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
    weights = [_weights(guess, least, pair.trust, at) for guess in guesses]
    plain = np.maximum(np.exp((least - still) / DIFFER), np.float32(LEAST_PLAIN))
    total = (weights[0][0] + weights[0][1]) + (weights[1][0] + weights[1][1]) + plain
    motions = tuple(
        _Weighted(
            _larger(guess.flow * np.float32(pair.shrink), pair),
            _larger(ours / total, pair),
            _larger(theirs / total, pair),
        )
        for guess, (ours, theirs) in zip(guesses, weights, strict=True)
    )
    return _put_together(pair, motions, _larger(plain / total, pair), at)


def _put_together(pair: _Pair, motions: tuple[_Weighted, ...], plain: Floats, at: float) -> Floats:
    """Both frames along both motions and as they are; all weights of a pixel sum to 1."""
    made = np.empty_like(pair.first)
    for top in range(0, len(made), STRIP):
        rows = slice(top, top + STRIP)
        places = grid(*made[rows].shape[:2])
        places[..., 1] += top
        parts = [
            _weighed(sampled(pair.first, places - each.flow[rows] * np.float32(at)), each.ours[rows])
            + _weighed(sampled(pair.second, places + each.flow[rows] * np.float32(1 - at)), each.theirs[rows])
            for each in motions
        ]
        unmoved = pair.first[rows] * np.float32(1 - at) + pair.second[rows] * np.float32(at)
        made[rows] = (parts[0] + parts[1]) + _weighed(unmoved, plain[rows])
    return made


def _weighed(picture: Floats, weight: Floats) -> Floats:
    return np.asarray(cv2.multiply(picture, cv2.merge([weight] * picture.shape[2])), dtype=np.float32)


def _weights(guess: _Motion, least: Floats, trust: Floats, at: float) -> tuple[Floats, Floats]:
    good = trust * np.exp((least - guess.cost) / np.float32(DIFFER))
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


def _squared(motion: Floats) -> Floats:
    return np.asarray(motion[..., 0] ** 2 + motion[..., 1] ** 2, dtype=np.float32)


def _around(cost: Floats) -> Floats:
    return np.asarray(cv2.GaussianBlur(cost, (0, 0), NEIGHBOURS, borderType=cv2.BORDER_REPLICATE), dtype=np.float32)


def _larger(values: Floats, pair: _Pair) -> Floats:
    if pair.shrink == 1:
        return values
    height, width = pair.first.shape[:2]
    size = (values.shape[1] * pair.shrink, values.shape[0] * pair.shrink)
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_LINEAR)[:height, :width], dtype=np.float32)


def _trusted(found: Flows) -> Floats:
    """0..1, (H, W): whether the flows around a pixel agree at all."""
    places = grid(*found.forward.shape[:2])
    there = found.forward + sampled(found.backward, places + found.forward)
    back = found.backward + sampled(found.forward, places + found.backward)
    agreeing = np.exp(-_squared(there) / np.float32(LOST_PX**2)) + np.exp(-_squared(back) / np.float32(LOST_PX**2))
    mean = (_widely_averaged(np.asarray(agreeing, dtype=np.float32)) + agreeing.mean()) / 4
    return np.asarray(np.clip((mean - LOST[0]) / (LOST[1] - LOST[0]), 0, 1), dtype=np.float32)


def _widely_averaged(values: Floats) -> Floats:
    """A Gaussian as wide as a twentieth of the picture, of one an eighth as large: it shows no more detail."""
    height, width = values.shape
    size = (-(-width // 8), -(-height // 8))
    small = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
    wide = cv2.GaussianBlur(small, (0, 0), max(1.0, REACH * max(size)), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(wide, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
