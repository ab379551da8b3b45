"""Segment Anything 2.1, which finds and follows what is pointed at."""

from model_blocks.facts import MEBIBYTE, ModelFacts

PAPER = "Ravi, Gabeur, Hu et al. 2024, SAM 2"
FILES = "https://dl.fbaipublicfiles.com/segment_anything_2/092824"
FOR_SHOTS_ALONE = (
    "maskmem_tpos_enc",
    "mask_downsample.*",
    "memory_attention.*",
    "memory_encoder.*",
    "no_mem_pos_enc",
    "no_obj_embed_spatial",
    "no_obj_ptr",
    "obj_ptr_proj.*",
    "obj_ptr_tpos_proj.*",
)
AUTHORS_FILES = {  # by the size's name: what the authors call it, bytes, digest
    "tiny": ("tiny", 156_008_466, "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69"),
    "small": ("small", 184_416_285, "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38"),
    "base-plus": ("base_plus", 323_606_802, "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5"),
    "large": ("large", 898_083_611, "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318"),
}


def _for_pictures(size: str, memory_factor: float, fixed_mib: int) -> ModelFacts:
    called, file_bytes, sha256 = AUTHORS_FILES[size]
    return ModelFacts(
        name=f"sam2.1-{size}",
        capability="segment",
        architecture=f"Hiera encoder, prompt encoder, mask decoder ({PAPER})",
        factory="model_blocks.sam2.predictor:open_sam2",
        version=1,
        embedded=False,
        licence="Apache-2.0",
        conventions="RGB 0..1 of any size, seen squashed to 1024×1024; what stands out is found by the embedded model",
        memory_factor=memory_factor,
        fixed_bytes=fixed_mib * MEBIBYTE,
        file_url=f"{FILES}/sam2.1_hiera_{called}.pt",
        bytes=file_bytes,
        sha256=sha256,
        container_key="model",
        ignored_keys=FOR_SHOTS_ALONE,
        auto_on=("cuda",),
        libraries=("torch", "transformers"),
    )


def _for_shots(size: str, memory_factor: float, fixed_mib: int) -> ModelFacts:
    called, file_bytes, sha256 = AUTHORS_FILES[size]
    return ModelFacts(
        name=f"sam2.1-{size}-video",
        capability="propagate",
        architecture=f"Hiera encoder, memory attention, mask decoder ({PAPER})",
        factory="model_blocks.sam2.propagator:open_sam2_video",
        version=1,
        embedded=False,
        licence="Apache-2.0",
        conventions="RGB 0..1 of any size, rounded to bytes and seen squashed to 1024×1024; a mask on the first frame",
        memory_factor=memory_factor,
        fixed_bytes=fixed_mib * MEBIBYTE,
        file_url=f"{FILES}/sam2.1_hiera_{called}.pt",
        bytes=file_bytes,
        sha256=sha256,
        container_key="model",
        auto_on=("cuda",),
        libraries=("torch", "transformers", "pillow"),
    )


SAM2: tuple[ModelFacts, ...] = (
    _for_pictures("tiny", 25.0, 460),
    _for_pictures("small", 25.0, 550),
    _for_pictures("base-plus", 30.0, 970),
    _for_pictures("large", 55.0, 2700),
    _for_shots("tiny", 60.0, 1000),
    _for_shots("small", 60.0, 1050),
    _for_shots("base-plus", 60.0, 1300),
    _for_shots("large", 60.0, 2750),
)
