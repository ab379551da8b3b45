"""One frame of a shot: the object's mask, and what is remembered of it."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model_blocks.sam2.attending import remembering
from model_blocks.sam2.configs import LOW_RES, SIDE, Network
from model_blocks.sam2.memory import Remembered, Sam2State
from model_blocks.sam2.network import Features, decode
from model_blocks.sam2.prompts import Prompt, nothing

ABSENT = -1024.0  # logit of every pixel where the object is not to be seen
MASK_SCALE, MASK_BIAS = 20.0, -10.0  # from a mask of 0 and 1 to logits, for the decoder and for the memory
AMBIGUOUS = 1  # points up to which a prompt may mean several things


@dataclass(frozen=True)
class Found:
    """The object in one frame.

    Attributes:
        low_res: (256, 256), logits; -1024 everywhere where the object is not to be seen.
        presence: (1,), logit; above 0 the object is to be seen.
        remembered: What is kept of the frame.
    """

    low_res: Tensor
    presence: Tensor
    remembered: Remembered


@dataclass(frozen=True)
class _Seen:
    low_res: Tensor
    presence: Tensor
    pointer: Tensor


def found_by_prompt(network: Network, features: Features, prompt: Prompt) -> Found:
    """What points or a box mean in a first frame."""
    empty = _with_embedding(features, features.embedding + network.no_memory_embedding.view(1, -1, 1, 1))
    seen = _looked(network, empty, prompt, multimask=len(prompt.labels) <= AMBIGUOUS)
    return _kept(network, features, seen, given=True)


def found_by_mask(network: Network, features: Features, mask: Tensor) -> Found:
    """A first frame's mask (H, W), bool, is the answer itself; the decoder makes a pointer of it."""
    large = _large_mask(mask)
    low_res = F.interpolate(
        large * MASK_SCALE + MASK_BIAS, (LOW_RES, LOW_RES), mode="bilinear", align_corners=False, antialias=True
    )
    prompt = nothing()
    reduced = network.mask_downsample(large).float()
    seen = _looked(network, features, Prompt(prompt.points, prompt.labels, reduced), multimask=False)
    there = bool(large.any())
    pointer = seen.pointer if there else network.no_object_pointer[0]
    presence = torch.full_like(seen.presence, MASK_SCALE * there + MASK_BIAS)
    return _kept(network, features, _Seen(low_res[0, 0], presence, pointer), given=True)


def found_by_memory(network: Network, features: Features, state: Sam2State) -> Found:
    """The object in the frame after ``state``."""
    seen = _looked(network, remembering(network, features, state), nothing(), multimask=True)
    return _kept(network, features, seen, given=False)


def _with_embedding(features: Features, embedding: Tensor) -> Features:
    return Features(embedding, features.finest, features.finer)


def _large_mask(mask: Tensor) -> Tensor:
    large = mask.float()[None, None]
    if mask.shape == (SIDE, SIDE):
        return large
    resized = F.interpolate(large, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
    return (resized >= 0.5).float()


def _looked(network: Network, features: Features, prompt: Prompt, *, multimask: bool) -> _Seen:
    """The best mask of the decoder, and its pointer; both say so where the object is not to be seen."""
    decoded = decode(network, features, prompt, multimask=multimask)
    best = decoded.best()
    if not bool(decoded.presence > 0):
        absent = torch.full_like(decoded.masks[best], ABSENT)
        return _Seen(absent, decoded.presence, network.no_object_pointer[0])
    pointer = network.object_pointer_proj(decoded.tokens[best]).float()
    return _Seen(decoded.masks[best], decoded.presence, pointer)


def _kept(network: Network, features: Features, seen: _Seen, *, given: bool) -> Found:
    """What is remembered of a frame: its picture and the mask together.

    Args:
        network: For shots.
        features: Of the frame, without what was remembered.
        seen: Its mask.
        given: The mask answers a prompt, so it is remembered as it was shown: with hard edges.
    """
    large = F.interpolate(seen.low_res[None, None], (SIDE, SIDE), mode="bilinear", align_corners=False)
    mask = (large > 0).float() if given else large.sigmoid()
    features_kept, _ = network.memory_encoder(features.embedding, mask * MASK_SCALE + MASK_BIAS)
    if not bool(seen.presence > 0):
        features_kept = features_kept + network.occlusion_spatial_embedding_parameter[..., None, None]
    return Found(seen.low_res, seen.presence, Remembered(features_kept[0].to(torch.bfloat16), seen.pointer))
