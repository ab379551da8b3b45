"""A frame seen in the light of what is remembered: the input of the mask decoder in a shot."""

from dataclasses import replace

import torch
from torch import Size, Tensor

from model_blocks.sam2.configs import CHANNELS, GRID, MEMORY_CHANNELS, Network
from model_blocks.sam2.memory import Sam2State
from model_blocks.sam2.network import Features

TEMPERATURE = 10000.0  # of sine encodings; Vaswani et al. 2017
SPLIT = CHANNELS // MEMORY_CHANNELS  # a pointer is remembered as this many tokens


def remembering(network: Network, features: Features, state: Sam2State) -> Features:
    """The features of the frame after ``state``, with what is remembered attended to."""
    memory, places = _spatial(network, state)
    pointers, times = _pointers(network, state)
    embedding = features.embedding
    attended = network.memory_attention(
        current_vision_features=embedding.flatten(2).permute(2, 0, 1),
        current_vision_position_embeddings=_positions(network.vision_encoder.neck, CHANNELS, embedding.device)[:, None],
        memory=torch.cat((memory, pointers))[:, None],
        memory_posision_embeddings=torch.cat((places, times))[:, None],
        num_object_pointer_tokens=len(pointers),
    )
    grid = attended.reshape(GRID * GRID, CHANNELS).t().reshape(1, CHANNELS, GRID, GRID)
    return replace(features, embedding=grid.float())


def _positions(part: Network, channels: int, device: torch.device) -> Tensor:
    """Where each token of a grid lies: (4096, channels), in float32 whatever else is computed in."""
    grid = part.position_encoding(Size((1, channels, GRID, GRID)), device, torch.float32)
    encoded: Tensor = grid[0].flatten(1).t()
    return encoded


def _spatial(network: Network, state: Sam2State) -> tuple[Tensor, Tensor]:
    """Tokens (N, 64) of the first frame and of the last ones, oldest first, and where and when they are from."""
    times = network.memory_temporal_positional_encoding.view(-1, MEMORY_CHANNELS)
    place = _positions(network.memory_encoder, MEMORY_CHANNELS, times.device)
    ago = range(len(state.features), 0, -1)
    when = [times[-1], *(times[frames - 1] for frames in ago)]  # the prompted frame has the last one, however long ago
    kept = (state.first.features, *state.features)
    tokens = torch.cat([features.float().flatten(1).t() for features in kept])
    return tokens, torch.cat([place + time for time in when])


def _pointers(network: Network, state: Sam2State) -> tuple[Tensor, Tensor]:
    """Tokens (N, 64) of the first frame's pointer and of the last ones', latest first, and how long ago they were."""
    reach = state.pointer_reach
    recent = state.pointers[::-1][: reach - 1]
    ago = torch.tensor((state.index + 1, *range(1, len(recent) + 1)), device=state.first.pointer.device)
    encoded = network.temporal_positional_encoding_projection_layer(sine_encoding(ago / max(reach - 1, 1), CHANNELS))
    tokens = torch.stack((state.first.pointer, *recent)).reshape(-1, MEMORY_CHANNELS)
    return tokens, encoded.float().repeat_interleave(SPLIT, dim=0)


def sine_encoding(positions: Tensor, channels: int) -> Tensor:
    """Sines, then cosines, of positions (N,) at falling frequencies: (N, channels), float32.

    Source: Vaswani et al. 2017, Attention Is All You Need, with equal frequencies in pairs as the authors have them.
    """
    half = channels // 2
    step = torch.arange(half, dtype=torch.float32, device=positions.device)
    angles = positions[:, None] / TEMPERATURE ** (2 * torch.div(step, 2, rounding_mode="floor") / half)
    return torch.cat((angles.sin(), angles.cos()), dim=-1)
