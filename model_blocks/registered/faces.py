"""Finding and restoring faces: YuNet, GFPGAN, CodeFormer."""

from model_blocks.facts import MEBIBYTE, ModelFacts, Purpose

NOT_COMMERCIAL: tuple[Purpose, ...] = ("research", "personal")
ALIGNED = "aligned faces of 512 pixels square, RGB 0..1, given to the network as -1..1"

FACES: tuple[ModelFacts, ...] = (
    ModelFacts(
        name="yunet",
        capability="detect_faces",
        architecture="YuNet (Wu, Peng, Yu 2023)",
        factory="model_blocks.yunet:open_yunet",
        version=1,
        embedded=False,
        licence="MIT",
        conventions="RGB 0..1, given to the network as BGR 0..255; longer side 1280 px and halves of it",
        memory_factor=40.0,
        fixed_bytes=15 * MEBIBYTE,
        file_url="https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/"
        "face_detection_yunet_2023mar.onnx",
        format="onnx",
        libraries=("opencv-python-headless",),
    ),
    ModelFacts(
        name="gfpgan-1.4",
        capability="restore_faces",
        architecture="GFPGAN, clean version (Wang, Li, Zhang, Shan 2021)",
        factory="model_blocks.gfpgan:open_gfpgan",
        version=1,
        embedded=False,
        licence="Apache-2.0 AND CC-BY-NC-SA-4.0 AND LicenseRef-NVIDIA-StyleGAN2",
        licence_note="its authors' licence lists parts for non-commercial use alone, of StyleGAN2 and DFDNet",
        purposes=NOT_COMMERCIAL,
        conventions=f"{ALIGNED}; the noise that is stored in the file; no fidelity",
        memory_factor=850.0,  # of the crop
        fixed_bytes=500 * MEBIBYTE,
        file_url="https://github.com/TencentARC/GFPGAN/releases/download/v1.3.0/GFPGANv1.4.pth",
        bytes=348_632_874,
        sha256="e2cd4703ab14f4d01fd1383a8a8b266f9a5833dacee8e6a79d3bf21a1b6be5ad",
        container_key="params_ema",
        ignored_keys=("toRGB.*", "stylegan_decoder.style_mlp.*"),
        libraries=("torch", "spandrel"),
    ),
    ModelFacts(
        name="codeformer",
        capability="restore_faces",
        architecture="CodeFormer (Zhou, Chan, Li, Loy 2022)",
        factory="model_blocks.codeformer:open_codeformer",
        version=1,
        embedded=False,
        licence="LicenseRef-S-Lab-1.0",
        licence_note="the S-Lab licence allows non-commercial use alone",
        purposes=NOT_COMMERCIAL,
        conventions=f"{ALIGNED}; fidelity 0..1, 1 nearest the input; colours of the code fitted to the input's",
        memory_factor=950.0,  # of the crop
        fixed_bytes=460 * MEBIBYTE,
        file_url="https://github.com/sczhou/CodeFormer/releases/download/v0.1.0/codeformer.pth",
        bytes=376_637_898,
        sha256="1009e537e0c2a07d4cabce6355f53cb66767cd4b4297ec7a4a64ca4b8a5684b7",
        container_key="params_ema",
        libraries=("torch", "spandrel_extra_arches"),
        extra="research",
    ),
)
