"""The parts of a SAM 2 network that pictures and shots have in common: image encoder, prompt encoder, mask decoder."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from model_blocks.facts import ModelFacts, Precision
from model_blocks.official import filled, read_state
from model_blocks.sam2.configs import CHANNELS, Network
from model_blocks.sam2.keys import converted
from model_blocks.sam2.prompts import Prompt


@dataclass(frozen=True)
class Features:
    """What the image encoder makes of a picture.

    Attributes:
        embedding: (1, 256, 64, 64).
        finest: (1, 32, 256, 256), for the mask decoder.
        finer: (1, 64, 128, 128), for the mask decoder.
    """

    embedding: Tensor
    finest: Tensor
    finer: Tensor


@dataclass(frozen=True)
class Decoded:
    """What the mask decoder answers to a prompt.

    Attributes:
        masks: (M, 256, 256), logits; M is 1, or 3 for an ambiguous prompt.
        ious: (M,), what the network thinks of each.
        tokens: (M, 256), what stands for the object in each.
        presence: (1,), logit; above 0 the object is to be seen.
    """

    masks: Tensor
    ious: Tensor
    tokens: Tensor
    presence: Tensor

    def best(self) -> int:
        return int(self.ious.argmax())


def opened(network: Network, facts: ModelFacts, path: str | Path, sha256: str | None, device: str) -> Network:
    """The network with the weights of the authors' file, on its device.

    Raises:
        WeightsMissingError, WeightsDigestError, WeightsDamagedError, WeightsUnsafeError: As ``read_state`` does.
        WeightsKeysError: Keys are missing or unknown, or tensors have other shapes.
    """
    state = read_state(facts, path, sha256)
    return filled(network, converted(state, network.state_dict())).to(device)


@contextmanager
def computing(device: str, precision: Precision) -> Iterator[None]:
    """Inference; in half precision weights stay float32 and products are taken in half, as the authors do."""
    dtype: torch.dtype = getattr(torch, precision)
    half = precision != "float32"
    with (
        torch.inference_mode(),
        torch.autocast(torch.device(device).type, dtype=dtype if half else torch.bfloat16, enabled=half),
    ):
        yield


def encode_image(network: Network, pixels: Tensor) -> Features:
    """What the network makes of its input (3, 1024, 1024)."""
    stages = network.vision_encoder.backbone(pixels[None]).intermediate_hidden_states
    convolutions = network.vision_encoder.neck.convs  # the coarsest stage's comes first
    level = [conv(stage.permute(0, 3, 1, 2)) for conv, stage in zip(convolutions, reversed(stages), strict=True)]
    coarsest, coarse, fine, finest = level
    decoder = network.mask_decoder
    return Features(
        (coarse + F.interpolate(coarsest, scale_factor=2.0, mode="nearest")).float(),
        decoder.conv_s0(finest).float(),
        decoder.conv_s1(fine).float(),
    )


def decode(network: Network, features: Features, prompt: Prompt, *, multimask: bool) -> Decoded:
    """Masks for a prompt.

    Args:
        network: For pictures or for shots.
        features: Of the picture.
        prompt: What is pointed at.
        multimask: Whether to answer with three masks. One alone gives way to the best of three where it is unstable.
    """
    sparse, dense, positions = _encode_prompt(network, prompt, features.embedding.device)
    masks, ious, tokens, presence = network.mask_decoder(
        image_embeddings=features.embedding,
        image_positional_embeddings=positions,
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=multimask,
        high_resolution_features=[features.finest, features.finer],
    )
    return Decoded(masks[0, 0].float(), ious[0, 0].float(), tokens[0, 0], presence[0, 0].float())


def _encode_prompt(network: Network, prompt: Prompt, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """In float32 whatever else is computed in: eight bits of a coordinate are four pixels."""
    with torch.autocast(device.type, enabled=False):
        there = bool(len(prompt.labels))
        sparse, dense = network.prompt_encoder(
            input_points=prompt.points.to(device)[None, None] if there else None,
            input_labels=prompt.labels.to(device)[None, None] if there else None,
            input_boxes=None,
            input_masks=None if prompt.mask is None else prompt.mask.to(device),
        )
        if sparse is None:
            sparse = torch.zeros(1, 1, 0, CHANNELS, device=device)
        return sparse, dense, network.get_image_wide_positional_embeddings()
