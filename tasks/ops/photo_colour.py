"""Whatever way a photograph's file keeps its colours, to sRGB pixels with straight alpha."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datasets.notices import Notice
from tasks.ops.colour_profile import Profile, is_srgb, lab_to_rgb, open_profile, profile_ignored, to_srgb
from tasks.ops.depth import to_uint8

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

# Pillow's modes that stand for a plainer one; P and the ones with a transparent colour are decided by the file
_PLAIN_MODES = {"1": "L", "La": "LA", "PA": "RGBA", "RGBa": "RGBA", "RGBX": "RGB", "YCbCr": "RGB", "HSV": "RGB"}


@dataclass(frozen=True)
class Colours:
    """Pixels in sRGB.

    Attributes:
        pixels: (H, W, 3|4), uint8 or uint16; four channels only if something is not opaque.
        profile_name: What the embedded profile calls itself, or None without a readable one.
    """

    pixels: Pixels
    profile_name: str | None
    notices: tuple[Notice, ...]


def to_srgb_pixels(image: Image.Image, deep: NDArray[np.uint16] | None, bits: int) -> Colours:
    """Bring a loaded picture to sRGB.

    Args:
        image: any of Pillow's modes, with its ``info``.
        deep: the same in 16 bits, (H, W) or (H, W, 3|4), or None.
        bits: per channel, in the file; what cannot be kept of them is noticed.
    """
    profile, notices = _profile(image)
    converting = profile is not None and not is_srgb(profile)
    if bits > 8 and (deep is None or converting):
        notices = (*notices, _depth_reduced(bits))
    if deep is not None and not converting:
        pixels: Pixels = _channels(deep)
    else:
        plain = _plain(image, bits) if deep is None else Image.fromarray(to_uint8(deep))
        converted, more = _converted(plain, profile if converting else None)
        pixels, notices = _channels(np.asarray(converted)), (*notices, *more)
    return Colours(without_opaque_alpha(pixels), profile.name if profile else None, notices)


def without_opaque_alpha(pixels: Pixels) -> Pixels:
    """The picture (H, W, 3|4) with three channels if it is opaque everywhere."""
    if pixels.shape[2] == 4 and bool((pixels[..., 3] == np.iinfo(pixels.dtype).max).all()):
        return pixels[..., :3]
    return pixels


def _profile(image: Image.Image) -> tuple[Profile | None, tuple[Notice, ...]]:
    icc = image.info.get("icc_profile")
    if not isinstance(icc, bytes) or not icc:
        return None, ()
    profile = open_profile(icc)
    return profile, () if profile else (profile_ignored("it is broken"),)


def _converted(image: Image.Image, profile: Profile | None) -> tuple[Image.Image, tuple[Notice, ...]]:
    """The picture in mode L, LA, RGB or RGBA. Inks without a usable profile are mixed by the plain formula."""
    notices: tuple[Notice, ...] = ()
    if profile is not None:
        try:
            return to_srgb(image, profile), ()
        except ValueError as error:
            notices = (profile_ignored(str(error)),)
    return (image.convert("RGB") if image.mode == "CMYK" else image), notices


def _plain(image: Image.Image, bits: int) -> Image.Image:
    """The picture in mode L, LA, RGB, RGBA or CMYK; a transparent colour becomes alpha."""
    if image.mode == "LAB":
        return lab_to_rgb(image)
    key = image.info.get("transparency")
    if image.mode == "L" and isinstance(key, int) and bits in {2, 4}:  # Pillow scales the levels, but not the key
        image.info["transparency"] = key * 255 // (2**bits - 1)
    transparent = image.has_transparency_data
    if image.mode in {"P", "RGB"}:
        target = "RGBA" if transparent else "RGB"
    elif image.mode in {"1", "L"}:
        target = "LA" if transparent else "L"
    else:
        target = _PLAIN_MODES.get(image.mode, image.mode)
    return image if image.mode == target else image.convert(target)


def _channels(array: NDArray[Any]) -> Pixels:
    """Grey (H, W) and grey with alpha (H, W, 2) as RGB and RGBA."""
    if array.ndim == 2:
        return np.repeat(array[..., None], 3, axis=2)
    return array[..., [0, 0, 0, 1]] if array.shape[2] == 2 else array


def _depth_reduced(bits: int) -> Notice:
    return Notice(
        "depth_reduced",
        f"The picture has {bits} bits per channel and was read in 8; 16-bit PNG or TIFF in sRGB would keep more.",
        {"bits": bits, "kept": 8},
    )
