"""One step of mask propagation at working size: where the object is now, and which of its pixels are seen."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from model_blocks.embedded.appearance import colour_evidence
from model_blocks.embedded.finding import find_again
from model_blocks.embedded.pose import STILL, aligned, carried, centre_of, fit_similarity, posed, residual_flow
from model_blocks.embedded.propagation_state import PropagationState
from model_blocks.embedded.tracking_flow import agreement, chained, dense_flow, inverted, moved, positions, sample

UInt8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]
Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

ANCHOR = 2.5  # log odds that the remembered shape weighs where it fits perfectly
CARRIED = 2.0  # log odds that the mask of the frame before weighs
COLOUR = 0.6  # of the colours' log odds
HIT, MISS = 2.0, -5.0  # log odds of a pixel that looks, and one that does not look, as remembered there
NOISE = 14.0  # of 255: standard deviation of a pixel against what is remembered of it
SUPPORT = 0.25  # share of the object that must support a new pose
IN_SIGHT = 0.08  # share of the object's pixels; below, it is out of sight
LEAST = 6.0  # pixels; an object smaller than that is out of sight
STRUCTURE = 0.1  # the same of what is seen of the object, edges included
EDGES = 1.5  # of 255 per pixel, root mean square; an object with less has no structure to speak of
TURNING = 0.2  # of a turn and growth per frame, as the largest difference of their matrix to none
EAGER, PATIENT = 4, 3  # frames it is looked for everywhere at once; after them in every third
LOOKS = 0.8  # of what the late look of the object explains; where the first one explains less, it counts for nothing
WHOLE = 0.6  # share of the object that must look as remembered for it to be remembered anew
RESIZED = 0.1  # share by which it may have grown or shrunk for that
SLOWING = 0.9  # of the motion, per frame out of sight
GROWTH = 4  # pixels around what is known to be the object into which it may grow
FAR = 8.0  # pixels by which the object's surface may differ from its pose
GAIN_LEARNING = 0.3


@dataclass(frozen=True)
class Followed:
    """Where the object was found: its mask (h, w), 0..1, and what goes into the next state.

    ``whole`` says that nothing hides it, so that it can be remembered as it looks now.
    """

    mask: Float32
    pose: Float
    recent_pose: Float
    motion: Float
    gain: Float
    lost: int
    whole: bool


@dataclass(frozen=True)
class _Anchor:
    """The remembered object, laid over the frame.

    Attributes:
        mask: (h, w), 0..1, where it should be.
        known: (h, w), 0..1, where the reference can tell.
        match: (h, w), log odds of looking as remembered.
        seen: Share of it that does, in its colours and, where it has any to speak of, in its structure.
        gain: (3,), brightness now over then.
    """

    mask: Float32
    known: Float32
    match: Float32
    seen: float
    gain: Float


def follow(state: PropagationState, image: UInt8) -> Followed:
    """The object of ``state`` in the next frame (h, w, 3)."""
    if float(state.reference_mask.max()) <= 0.5:
        return Followed(np.zeros_like(state.mask), state.pose, state.recent_pose, STILL, state.gain, 0, False)
    there, back = dense_flow(state.image, image), dense_flow(image, state.image)
    trust = agreement(back, there)
    colour = colour_evidence(image, state.object_colours, state.ground_colours)
    motion = _motion(state, there, agreement(there, back))
    pose, first = _posed(state, image, motion)
    recent_pose, recent = _posed(state.recently(), image, motion)
    anchor = _blended(first, recent)
    mask = _decided(state, anchor, back, trust, colour)
    if state.lost == 0 and _visible(mask, anchor) and anchor.seen > STRUCTURE:
        leaving = _at_frame(mask) > _at_frame(state.recent_mask) + 2
        whole = anchor.seen > WHOLE and _same_size(mask, recent.mask) and not leaving
        return Followed(mask, pose, recent_pose, motion, anchor.gain, 0, whole)
    return _searched(state, image, colour, back, trust)


def _blended(first: _Anchor, recent: _Anchor) -> _Anchor:
    """The first frame's object, which does not drift, as long as it looks like that; else the one of late."""
    share = float(np.clip((first.seen / max(recent.seen, 1e-6) - LOOKS) / (1 - LOOKS) * 2, 0, 1))
    masks, known, match = (
        np.asarray(share * getattr(first, name) + (1 - share) * getattr(recent, name), dtype=np.float32)
        for name in ("mask", "known", "match")
    )
    return _Anchor(masks, known, match, max(first.seen, recent.seen), first.gain)


def _at_frame(mask: Float32) -> int:
    """How many of the mask's pixels lie at the edge of the picture."""
    return sum(int((side > 0.5).sum()) for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))


def _same_size(mask: Float32, expected: Float32) -> bool:
    now, then = float((mask > 0.5).sum()), float((expected > 0.5).sum())
    return (1 - RESIZED) * then <= now <= (1 + RESIZED) * then


def _motion(state: PropagationState, there: Float32, trust: Float32) -> Float:
    """How the object moved since the last frame; on as before where too little of it is seen to tell."""
    fit = fit_similarity(*carried(state.mask > 0.5, there, trust)) if state.lost == 0 else None
    if fit is None or fit[1] < SUPPORT or not _steady(fit[0]):
        return _onward(state)
    return fit[0]


def _onward(state: PropagationState) -> Float:
    """The last motion of the object's middle, slowing down; turns and growth are not guessed."""
    centre = centre_of(state.reference_mask, state.pose)
    return STILL + SLOWING * np.outer(moved(centre, state.motion) - centre, [0, 0, 1])


def _steady(motion: Float) -> bool:
    """Whether a motion is one that an object makes between two frames."""
    return bool(np.abs(motion[:, :2] - STILL[:, :2]).max() < TURNING)


def _posed(state: PropagationState, image: UInt8, motion: Float) -> tuple[Float, _Anchor]:
    """The better of the aligned pose and the predicted one."""
    predicted = chained(state.pose, motion)
    pose, support = aligned(image, state.reference, state.reference_mask, predicted, state.gain)
    if support < SUPPORT or not _steady(chained(inverted(predicted), pose)):
        pose = predicted
    return pose, _anchor(state, image, pose)


def _anchor(state: PropagationState, image: UInt8, pose: Float) -> _Anchor:
    size = image.shape[:2]
    cover = posed(state.reference_mask, pose, size)
    colours = posed(state.reference, pose, size) * state.gain
    known = posed(np.ones_like(state.reference_mask), pose, size)
    flow = residual_flow(image, colours.astype(np.float32), cover)
    length = np.linalg.norm(flow, axis=-1, keepdims=True)
    places = positions(*size) + flow * np.minimum(1, FAR / np.maximum(length, 1e-6))
    mask, remembered = sample(cover, places), sample(colours, places)
    misfit = cv2.blur(((remembered - image) ** 2).mean(axis=-1), (3, 3)) / NOISE**2
    match = np.clip(HIT * (1 - misfit / 4), MISS, HIT).astype(np.float32)
    solid = mask > 0.5
    good = solid & (match > 0)
    seen = float(good.sum()) / max(1.0, float(solid.sum()))
    seen = min(seen, _structure(image, remembered, mask))
    return _Anchor(mask, known, match, seen, _gain(state.gain, image, remembered, good))


def _structure(image: UInt8, remembered: Float32, mask: Float32) -> float:
    """Share of the object's inner edges that the picture has, too, in the same directions; 1 where it has hardly any.

    Another thing of the same colours in front of it is told by having other edges.
    """
    inner = cv2.erode(mask, np.ones((5, 5), np.uint8)) > 0.5
    wanted, found = (_slopes(np.asarray(values, dtype=np.float32))[inner] for values in (remembered, image))
    strength = (wanted**2).sum(axis=-1)
    if strength.sum() < EDGES**2 * max(1.0, float(inner.sum())):
        return 1.0
    common = np.clip((wanted * found).sum(axis=-1), -strength, strength)
    return float(common.sum() / strength.sum())


def _slopes(values: Float32) -> Float32:
    grey = cv2.GaussianBlur(cv2.cvtColor(values, cv2.COLOR_RGB2GRAY), (0, 0), 1.0)
    return np.dstack([cv2.Sobel(grey, cv2.CV_32F, dx, dy, ksize=3, scale=1 / 8) for dx, dy in ((1, 0), (0, 1))])


def _gain(gain: Float, image: UInt8, remembered: Float32, good: Bool) -> Float:
    if np.count_nonzero(good) < 50:
        return gain
    ratio = (image[good].mean(axis=0) + 4) / (remembered[good].mean(axis=0) + 4)
    return np.asarray(np.clip(gain * (1 + GAIN_LEARNING * (ratio - 1)), 0.3, 3.0))


def _decided(state: PropagationState, anchor: _Anchor, back: Float32, trust: Float32, colour: Float32) -> Float32:
    """Probability (h, w) from all witnesses."""
    before = sample(state.mask, positions(*state.mask.shape) + back)
    weight = ANCHOR * (0.2 + 0.8 * min(1.0, 2 * anchor.seen)) * anchor.known
    odds = weight * (2 * anchor.mask - 1) + CARRIED * trust * (2 * before - 1) + COLOUR * colour
    odds += np.clip(2 * anchor.mask - 0.5, 0, 1) * anchor.match * anchor.known
    odds[~_near((anchor.mask > 0.5) | ((before > 0.5) & (trust > 0.5)))] = MISS
    return np.asarray(1 / (1 + np.exp(-2 * odds)), dtype=np.float32)


def _near(support: Bool) -> Bool:
    """Where the object may be: it grows from where it was, and something else of its colours is not it."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * GROWTH + 1, 2 * GROWTH + 1))
    return np.asarray(cv2.dilate(support.astype(np.uint8), disc) > 0)


def _visible(mask: Float32, anchor: _Anchor) -> bool:
    expected = float((anchor.mask > 0.5).sum())
    return float((mask > 0.5).sum()) > max(LEAST, IN_SIGHT * expected)


def _searched(state: PropagationState, image: UInt8, colour: Float32, back: Float32, trust: Float32) -> Followed:
    """Looks for an object out of sight: where it would be by now, then everywhere, as it was first and as of late."""
    motion = _onward(state)
    best, anchor = motion, _anchor(state, image, chained(state.pose, motion))
    if state.lost < EAGER or state.lost % PATIENT == 0:
        for view in (state, state.recently()):
            found, candidate = _found(view, image)
            if candidate is not None and candidate.seen > max(0.4, anchor.seen):
                best, anchor = found, candidate
    mask = _decided(state, anchor, back, trust, colour)
    pose, recent_pose = chained(state.pose, best), chained(state.recent_pose, best)
    if _visible(mask, anchor) and anchor.seen > SUPPORT:
        return Followed(mask, pose, recent_pose, STILL if best is not motion else motion, anchor.gain, 0, False)
    held = chained(state.pose, motion), chained(state.recent_pose, motion)
    return Followed(np.zeros_like(mask), *held, motion, state.gain, state.lost + 1, False)


def _found(view: PropagationState, image: UInt8) -> tuple[Float, _Anchor | None]:
    """How one look of the object would have moved since it was last seen, and what speaks for that."""
    telling = np.clip(colour_evidence(view.reference, view.object_colours, view.ground_colours), 0, None)
    if not (view.reference_mask > 0.5).any():
        return STILL, None
    found = find_again(image, view.reference, view.reference_mask, telling, view.pose, view.gain)
    if found is None:
        return STILL, None
    better, support = aligned(image, view.reference, view.reference_mask, found, view.gain)
    pose = better if support > SUPPORT else found
    return chained(inverted(view.pose), pose), _anchor(view, image, pose)
