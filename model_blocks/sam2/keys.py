"""The authors' names for the tensors of transformers' SAM 2 networks, so that every one of them is accounted for."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from model_blocks.weights import check_keys, check_shapes

POINTS = "prompt_encoder.point_embed.weight"  # one tensor here, one for each kind of point in the authors' files
POINT_KINDS = 4
GAUSSIAN = "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"  # here twice
THREE_LAYERS = r"(output_hypernetworks_mlps\.\d|iou_prediction_head|pred_obj_score_head|object_pointer_proj)"

RENAMED: tuple[tuple[str, str], ...] = (
    (r"^shared_image_embedding\.positional_embedding$", GAUSSIAN),
    (r"^prompt_encoder\.shared_embedding\.positional_embedding$", GAUSSIAN),
    (r"^prompt_encoder\.mask_embed\.conv1\.", "sam_prompt_encoder.mask_downscaling.0."),
    (r"^prompt_encoder\.mask_embed\.layer_norm1\.", "sam_prompt_encoder.mask_downscaling.1."),
    (r"^prompt_encoder\.mask_embed\.conv2\.", "sam_prompt_encoder.mask_downscaling.3."),
    (r"^prompt_encoder\.mask_embed\.layer_norm2\.", "sam_prompt_encoder.mask_downscaling.4."),
    (r"^prompt_encoder\.mask_embed\.conv3\.", "sam_prompt_encoder.mask_downscaling.6."),
    (r"^prompt_encoder\.", "sam_prompt_encoder."),
    (rf"{THREE_LAYERS}\.layers\.0\.", r"\1.layers.1."),
    (rf"{THREE_LAYERS}\.proj_out\.", r"\1.layers.2."),
    (r"\.mlp\.proj_out\.", ".mlp.layers.1."),
    (r"\.proj_in\.", ".layers.0."),
    (r"^mask_decoder\.upscale_conv1\.", "mask_decoder.output_upscaling.0."),
    (r"^mask_decoder\.upscale_layer_norm\.", "mask_decoder.output_upscaling.1."),
    (r"^mask_decoder\.upscale_conv2\.", "mask_decoder.output_upscaling.3."),
    (r"^mask_decoder\.", "sam_mask_decoder."),
    (r"^vision_encoder\.backbone\.patch_embed\.projection\.", "image_encoder.trunk.patch_embed.proj."),
    (r"^vision_encoder\.backbone\.", "image_encoder.trunk."),
    (r"^vision_encoder\.neck\.convs\.(\d)\.", r"image_encoder.neck.convs.\1.conv."),
    *(
        (rf"^memory_encoder\.mask_downsampler\.layers\.{n}\.{part}\.", f"memory_encoder.mask_downsampler.encoder.{at}.")
        for n in range(4)
        for part, at in (("conv", 3 * n), ("layer_norm", 3 * n + 1))
    ),
    (r"^memory_encoder\.mask_downsampler\.final_conv\.", "memory_encoder.mask_downsampler.encoder.12."),
    (r"^memory_encoder\.feature_projection\.", "memory_encoder.pix_feat_proj."),
    (r"^memory_encoder\.projection\.", "memory_encoder.out_proj."),
    (r"^memory_encoder\.memory_fuser\.", "memory_encoder.fuser."),
    (r"\.depthwise_conv\.", ".dwconv."),
    (r"\.pointwise_conv(\d)\.", r".pwconv\1."),
    (r"\.scale$", ".gamma"),
    (r"\.layer_norm(\d?|_final_attn)\.", r".norm\1."),
    (r"\.o_proj\.", ".out_proj."),
    (r"^object_pointer_proj\.", "obj_ptr_proj."),
    (r"^temporal_positional_encoding_projection_layer\.", "obj_ptr_tpos_proj."),
    (r"^memory_temporal_positional_encoding$", "maskmem_tpos_enc"),
    (r"^no_memory_embedding$", "no_mem_embed"),
    (r"^no_memory_positional_encoding$", "no_mem_pos_enc"),
    (r"^no_object_pointer$", "no_obj_ptr"),
    (r"^occlusion_spatial_embedding_parameter$", "no_obj_embed_spatial"),
)


def official_keys(key: str) -> tuple[str, ...]:
    """What the authors call a tensor of the network; several where theirs are its rows."""
    if key == POINTS:
        return tuple(f"sam_prompt_encoder.point_embeddings.{kind}.weight" for kind in range(POINT_KINDS))
    for pattern, name in RENAMED:
        key = re.sub(pattern, name, key)
    return (key,)


def converted(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' tensors under the network's names.

    Args:
        state: Of their file, by their names.
        own: The network's state dict.

    Raises:
        WeightsKeysError: Keys are missing or unknown, or tensors have other shapes; named as the authors do.
    """
    expected: dict[str, Tensor] = {}
    for key, value in own.items():
        names = official_keys(key)
        expected |= dict(zip(names, [row[None] for row in value] if len(names) > 1 else [value], strict=True))
    check_keys(state, expected)
    check_shapes(state, expected)
    return {key: _joined([state[name] for name in official_keys(key)]) for key in own}


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
