"""Depth Anything V2, which estimates depth."""

from model_blocks.facts import MEBIBYTE, ModelFacts

DEPTH: tuple[ModelFacts, ...] = (
    ModelFacts(
        name="depth-anything-v2-small",
        capability="estimate_depth",
        architecture="ViT-S with a dense prediction head (Yang et al. 2024, Depth Anything V2)",
        factory="model_blocks.depth_anything:open_depth_anything",
        version=1,
        embedded=False,
        licence="Apache-2.0",
        conventions="RGB 0..1, whole picture, shorter side 518, multiples of 14; relative inverse depth",
        fixed_bytes=320 * MEBIBYTE,
        memory_factor=240.0,  # of the copy it looks at, whatever the picture's size
        file_url="https://huggingface.co/depth-anything/Depth-Anything-V2-Small/resolve/main/depth_anything_v2_vits.pth",
        libraries=("torch", "transformers", "opencv-python-headless"),
    ),
)
