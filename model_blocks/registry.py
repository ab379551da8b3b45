"""The model registry: an explicit table of facts. Adding a model is one module, one entry here, one test."""

from dataclasses import dataclass, field
from typing import Literal

from datasets.errors import ModelUnknownError

Capability = Literal["segment", "matte", "upscale", "upscale_blend", "interpolate", "propagate", "inpaint"]
Device = Literal["cpu", "cuda"]
Precision = Literal["float32", "bfloat16", "float16"]
Purpose = Literal["commercial", "research", "personal"]
EVERY_PURPOSE: tuple[Purpose, ...] = ("commercial", "research", "personal")


@dataclass(frozen=True)
class ModelFacts:
    """What is known about a model before it is loaded.

    Attributes:
        name: The name it is chosen by.
        capability: What it can be asked to do.
        architecture: The method or network, with its source.
        factory: ``module:callable`` that makes it; imported when it is first used.
        version: Raised whenever the same input would give other pixels; part of every fingerprint.
        embedded: True for models that need no weights.
        file_url: Where the authors publish the weights.
        file_name: What they call the file; empty: the last part of its address.
        bytes: Size of that file, where it is known.
        sha256: Digest of that file; None where its authors publish none.
        container_key: Where the state dict lies in the file.
        ignored_keys: Patterns (``*`` and ``?``) of keys that official files carry and inference does not use.
        licence: SPDX name.
        purposes: What the licence allows a run to be for.
        conventions: Value range, colour order, size rule.
        halo_pixels: Input pixels around an output pixel that it depends on; None: the whole picture.
        receptive_radius: Input pixels that an output pixel can depend on at all, where the halo was chosen smaller or
            the network's depth is to be checked.
        halo_error: Largest difference, of 0..1, that tiles with this halo made to the whole picture; 0 where the halo
            holds all there is to see.
        halo_errors: For networks that see far: pairs of a halo in pixels and the largest difference, of 0..1, that a
            seam with this halo made to the whole. Measured in float64 on black and white noise, with weights drawn at
            random, since none of the authors' files of this kind was at hand; trained ones may look farther, so the
            halo in use is at least twice the one from which on the difference is rounding alone.
        tile_pixels: Where the halo does not: side in input pixels of the tiles, the same on every machine, because the
            tiles then decide pixels. None: any tiles give the same.
        scale: Output pixels per input pixel along a side; None where the caller chooses.
        memory_factor: Working bytes per value of the larger of input and output, measured.
        auto_on: Devices on which ``auto`` may choose it; elsewhere it is chosen by its name. Empty: made for something
            else than photographs, or too slow everywhere.
        half_on: Devices on which it computes in float16, as its authors do there; float32 elsewhere.
        blend: The model whose weights can be blended with its own, registered as ``upscale_blend``.
        libraries: Installed packages whose version decides the pixels.
    """

    name: str
    capability: Capability
    architecture: str
    factory: str
    version: int
    embedded: bool
    licence: str
    conventions: str
    memory_factor: float
    purposes: tuple[Purpose, ...] = EVERY_PURPOSE
    file_url: str | None = None
    file_name: str = ""
    bytes: int | None = None
    sha256: str | None = None
    container_key: str | None = None
    ignored_keys: tuple[str, ...] = ()
    halo_pixels: int | None = None
    receptive_radius: int | None = None
    halo_error: float = 0.0
    halo_errors: tuple[tuple[int, float], ...] = ()
    tile_pixels: int | None = None
    scale: int | None = None
    auto_on: tuple[Device, ...] = ("cpu", "cuda")
    half_on: tuple[Device, ...] = ()
    blend: str | None = None
    libraries: tuple[str, ...] = field(default=())

    def precision_on(self, device: str) -> Precision:
        """What it computes in on a device."""
        return "float16" if device in self.half_on else "float32"


REALESRGAN = "Wang, Xie, Dong, Shan 2021, Real-ESRGAN"
REALESRGAN_FILES = "https://github.com/xinntao/Real-ESRGAN/releases/download"


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


MODELS: tuple[ModelFacts, ...] = (
    ModelFacts(
        name="embedded-segmenter",
        capability="segment",
        architecture="superpixels with boundary connectivity (Zhu et al. 2014), colour densities, minimum cut",
        factory="model_blocks.embedded.segment:EmbeddedSegmenter",
        version=1,
        embedded=True,
        licence="Apache-2.0",
        conventions="RGB 0..1, whole picture, longer side at most working_side",
        memory_factor=36.0,
        libraries=("opencv-python-headless", "numpy", "scipy"),
    ),
    ModelFacts(
        name="embedded-matter",
        capability="matte",
        architecture="local colour estimation and guided filter (He, Sun, Tang 2013; Forte 2021)",
        factory="model_blocks.embedded.matte:EmbeddedMatter",
        version=1,
        embedded=True,
        licence="Apache-2.0",
        conventions="RGB 0..1, trimap 0, 0.5, 1",
        memory_factor=48.0,
        libraries=("opencv-python-headless", "numpy", "torch"),
    ),
    ModelFacts(
        name="embedded-upscaler",
        capability="upscale",
        architecture="Lanczos with iterative back-projection (Irani, Peleg 1991) and limited sharpening",
        factory="model_blocks.embedded.upscale:EmbeddedUpscaler",
        version=1,
        embedded=True,
        licence="Apache-2.0",
        conventions="RGB 0..1, any number of channels, scale 1 to 8",
        memory_factor=45.0,
        libraries=("numpy", "torch"),
    ),
    ModelFacts(
        name="dis-interpolator",
        capability="interpolate",
        architecture="DIS flow both ways (Kroeger et al. 2016), occlusion weights, blending where it is lost",
        factory="model_blocks.embedded.interpolate:DisInterpolator",
        version=1,
        embedded=True,
        licence="Apache-2.0",
        conventions="RGB 0..1, whole frames, straight alpha",
        memory_factor=24.0,
        libraries=("opencv-python-headless", "numpy"),
    ),
    ModelFacts(
        name="embedded-propagator",
        capability="propagate",
        architecture="dense flow (Kroeger et al. 2016) with a check there and back, remembered object, guided filter",
        factory="model_blocks.embedded.propagate:EmbeddedPropagator",
        version=1,
        embedded=True,
        licence="Apache-2.0",
        conventions="RGB 0..1, one frame at a time, longer side at most working_side, a new start at every cut",
        memory_factor=170.0,
        libraries=("opencv-python-headless", "numpy", "scipy", "torch"),
    ),
    ModelFacts(
        name="embedded-inpainter",
        capability="inpaint",
        architecture="background motion and completed flow into neighbouring frames, patches where nothing was seen",
        factory="model_blocks.embedded.inpaint:EmbeddedInpainter",
        version=1,
        embedded=True,
        licence="Apache-2.0",
        conventions="RGB 0..1, mask above 0.5 is removed, frames within reach on each side",
        memory_factor=34.0,
        libraries=("opencv-python-headless", "numpy", "scipy"),
    ),
    _realesrgan(
        name="realesrgan-x4plus",
        architecture=f"RRDB, 23 blocks ({REALESRGAN})",
        file_url=f"{REALESRGAN_FILES}/v0.1.0/RealESRGAN_x4plus.pth",
        sha256="4fa0d38905f75ac06eb49a7951b426670021be3018265fd191d2125df9d682f1",
        container_key="params_ema",
        halo_pixels=64,
        receptive_radius=349,
        halo_error=2e-6,  # float32's own rounding, see halo_errors for what the halo itself does
        halo_errors=((4, 6e-2), (8, 2e-3), (10, 3e-4), (16, 6e-7), (32, 4e-14), (64, 1e-14), (96, 1e-14), (192, 1e-14)),
        tile_pixels=256,
        auto_on=("cuda",),  # 19 s per megapixel of the result on two cores, general-x4v3 takes 1 to 3
        memory_factor=280.0,
    ),
    _realesrgan(
        name="realesrgan-x4plus-anime-6b",
        architecture=f"RRDB, 6 blocks ({REALESRGAN})",
        file_url=f"{REALESRGAN_FILES}/v0.2.2.4/RealESRGAN_x4plus_anime_6B.pth",
        sha256="f872d837d3c90ed2e05227bed711af5671a6fd1c9f7d7e91c911a61f155e99da",
        container_key="params_ema",
        halo_pixels=94,
        receptive_radius=94,
        halo_errors=((4, 3e-2), (8, 3e-4), (10, 4e-5), (16, 3e-8), (32, 4e-15), (64, 4e-15), (94, 0.0)),
        memory_factor=280.0,
    ),
    _realesrgan(
        name="realesr-animevideo-v3",
        architecture=f"compact, 16 convolutions ({REALESRGAN})",
        file_url=f"{REALESRGAN_FILES}/v0.2.5.0/realesr-animevideov3.pth",
        sha256=None,
        container_key="params",
        halo_pixels=18,
        receptive_radius=18,
        memory_factor=20.0,
    ),
    _realesrgan(
        name="realesr-general-x4v3",
        architecture=f"compact, 32 convolutions ({REALESRGAN})",
        file_url=f"{REALESRGAN_FILES}/v0.2.5.0/realesr-general-x4v3.pth",
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
        architecture=f"compact, 32 convolutions, weakly denoising ({REALESRGAN})",
        file_url=f"{REALESRGAN_FILES}/v0.2.5.0/realesr-general-wdn-x4v3.pth",
        sha256=None,
        container_key="params",
        halo_pixels=34,
        receptive_radius=34,
        memory_factor=20.0,
        auto_on=("cpu", "cuda"),
    ),
)


def known_models(capability: Capability | None = None) -> tuple[ModelFacts, ...]:
    """All registered models, or those with a capability, in order of preference."""
    return tuple(facts for facts in MODELS if capability in (None, facts.capability))


def find_model(name: str, capability: Capability | None = None) -> ModelFacts:
    """The facts of a model.

    Raises:
        ModelUnknownError: Nothing of that name is registered (for that capability); the known ones are named.
    """
    candidates = known_models(capability)
    for facts in candidates:
        if facts.name == name:
            return facts
    known = ", ".join(facts.name for facts in candidates)
    wanted = f"model {name!r}" if capability is None else f"model {name!r} for {capability}"
    raise ModelUnknownError(f"unknown {wanted}; registered: {known}", name=name, registered=known)
