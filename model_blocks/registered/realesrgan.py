"""Real-ESRGAN, which enlarges."""

from model_blocks.facts import MEBIBYTE, Capability, Device, ModelFacts

PAPER = "Wang, Xie, Dong, Shan 2021, Real-ESRGAN"
FILES = "https://github.com/xinntao/Real-ESRGAN/releases/download"


def _realesrgan(
    *,
    name: str,
    architecture: str,
    file_url: str,
    sha256: str | None,
    container_key: str,
    halo_pixels: int,
    receptive_radius: int,
    memory_factor: float,
    fixed_mib: int = 35,
    halo_error: float = 0.0,
    halo_errors: tuple[tuple[int, float], ...] = (),
    tile_pixels: int | None = None,
    auto_on: tuple[Device, ...] = (),
    blend: str | None = None,
    capability: Capability = "upscale",
) -> ModelFacts:
    """What all models of the family have in common."""
    return ModelFacts(
        name=name,
        capability=capability,
        architecture=architecture,
        factory="model_blocks.realesrgan:open_realesrgan",
        version=1,
        embedded=False,
        licence="BSD-3-Clause",
        conventions="RGB 0..1; 10 pixels mirrored at the right and the bottom; alpha as a grey picture of its own",
        memory_factor=memory_factor,
        fixed_bytes=fixed_mib * MEBIBYTE,
        file_url=file_url,
        sha256=sha256,
        container_key=container_key,
        halo_pixels=halo_pixels,
        receptive_radius=receptive_radius,
        halo_error=halo_error,
        halo_errors=halo_errors,
        tile_pixels=tile_pixels,
        scale=4,
        auto_on=auto_on,
        half_on=("cuda",),
        blend=blend,
        libraries=("torch",),
    )


REALESRGAN = (
    _realesrgan(
        name="realesrgan-x4plus",
        architecture=f"RRDB, 23 blocks ({PAPER})",
        file_url=f"{FILES}/v0.1.0/RealESRGAN_x4plus.pth",
        sha256="4fa0d38905f75ac06eb49a7951b426670021be3018265fd191d2125df9d682f1",
        container_key="params_ema",
        halo_pixels=64,
        receptive_radius=349,
        halo_error=2e-6,  # float32's own rounding, see halo_errors for what the halo itself does
        halo_errors=((4, 6e-2), (8, 2e-3), (10, 3e-4), (16, 6e-7), (32, 4e-14), (64, 1e-14), (96, 1e-14), (192, 1e-14)),
        tile_pixels=256,
        auto_on=("cuda",),  # 19 s per megapixel of the result on two cores, general-x4v3 takes 1 to 3
        memory_factor=330.0,
        fixed_mib=140,
    ),
    _realesrgan(
        name="realesrgan-x4plus-anime-6b",
        architecture=f"RRDB, 6 blocks ({PAPER})",
        file_url=f"{FILES}/v0.2.2.4/RealESRGAN_x4plus_anime_6B.pth",
        sha256="f872d837d3c90ed2e05227bed711af5671a6fd1c9f7d7e91c911a61f155e99da",
        container_key="params_ema",
        halo_pixels=94,
        receptive_radius=94,
        halo_errors=((4, 3e-2), (8, 3e-4), (10, 4e-5), (16, 3e-8), (32, 4e-15), (64, 4e-15), (94, 0.0)),
        memory_factor=330.0,
        fixed_mib=140,
    ),
    _realesrgan(
        name="realesr-animevideo-v3",
        architecture=f"compact, 16 convolutions ({PAPER})",
        file_url=f"{FILES}/v0.2.5.0/realesr-animevideov3.pth",
        sha256=None,
        container_key="params",
        halo_pixels=18,
        receptive_radius=18,
        memory_factor=20.0,
    ),
    _realesrgan(
        name="realesr-general-x4v3",
        architecture=f"compact, 32 convolutions ({PAPER})",
        file_url=f"{FILES}/v0.2.5.0/realesr-general-x4v3.pth",
        sha256="8dc7edb9ac80ccdc30c3a5dca6616509367f05fbc184ad95b731f05bece96292",
        container_key="params",
        halo_pixels=34,
        receptive_radius=34,
        memory_factor=20.0,
        auto_on=("cpu", "cuda"),
        blend="realesr-general-wdn-x4v3",
    ),
    _realesrgan(
        name="realesr-general-wdn-x4v3",
        capability="upscale_blend",
        architecture=f"compact, 32 convolutions, weakly denoising ({PAPER})",
        file_url=f"{FILES}/v0.2.5.0/realesr-general-wdn-x4v3.pth",
        sha256=None,
        container_key="params",
        halo_pixels=34,
        receptive_radius=34,
        memory_factor=20.0,
        auto_on=("cpu", "cuda"),
    ),
)
