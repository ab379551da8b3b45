"""Embedded ICC profiles to sRGB, by LittleCMS.

Relative colorimetric with black point compensation: what lies inside sRGB keeps its colour, so that a product looks the
same before and after; black stays black for papers and inks.
"""

import io
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from datasets.notices import Notice

_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
_SPACE_OF_MODE = {"L": "GRAY", "RGB": "RGB", "RGBA": "RGB", "CMYK": "CMYK"}
_NAME_CHARACTERS = 80  # a profile's own name is a stranger's text: shortened for the record
_PROFILE_ERRORS = (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError)
_SAME_TOLERANCE = 1  # 8-bit codes: profiles that round sRGB differently are still sRGB


@dataclass(frozen=True)
class Profile:
    """An embedded profile that LittleCMS could open."""

    handle: ImageCms.ImageCmsProfile
    space: str
    name: str


def open_profile(icc: bytes) -> Profile | None:
    """The profile, or None if it is broken."""
    try:
        handle = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        inner: Any = handle.profile
        return Profile(handle, str(inner.xcolor_space).strip(), _printable(str(inner.profile_description or "")))
    except _PROFILE_ERRORS:
        return None


def is_srgb(profile: Profile) -> bool:
    """Whether the profile means sRGB, found by converting a grid of colours, since names are claims."""
    if profile.space not in {"RGB", "GRAY"}:
        return False
    probe = _probe(profile.space)
    try:
        converted = _convert(probe.copy(), profile)
    except _PROFILE_ERRORS:
        return False
    before, after = (np.asarray(image.convert("RGB"), dtype=np.int16) for image in (probe, converted))
    return bool(np.abs(before - after).max() <= _SAME_TOLERANCE)


def to_srgb(image: Image.Image, profile: Profile) -> Image.Image:
    """Convert to sRGB.

    Args:
        image: mode L, LA, RGB, RGBA or CMYK, in the profile's colours.
        profile: of the same colour space; a grey picture may carry an RGB profile.

    Returns:
        Mode RGB or RGBA; alpha is unchanged. ``image`` itself may be changed.

    Raises:
        ValueError: The profile does not fit the picture, or LittleCMS cannot use it.
    """
    if image.mode == "LA":
        converted = to_srgb(image.getchannel("L"), profile)
        converted.putalpha(image.getchannel("A"))
        return converted
    if image.mode == "L" and profile.space == "RGB":
        image = image.convert("RGB")
    if _SPACE_OF_MODE[image.mode] != profile.space:
        raise ValueError(f"it is for {profile.space} and the picture is {_SPACE_OF_MODE[image.mode]}")
    try:
        return _convert(image, profile)
    except _PROFILE_ERRORS as error:
        raise ValueError("it holds no usable tables") from error


def lab_to_rgb(image: Image.Image) -> Image.Image:
    """A picture in CIE L*a*b* (D50) as sRGB."""
    lab = Profile(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")), "LAB", "LAB")
    return _convert(image, lab)


def profile_ignored(reason: str) -> Notice:
    """The notice for a profile that could not be used."""
    return Notice(
        "profile_ignored",
        f"The embedded colour profile was ignored ({reason}); the colours were taken as sRGB. "
        "If they look wrong, export the picture with an sRGB profile.",
        {"reason": reason},
    )


def _convert(image: Image.Image, profile: Profile) -> Image.Image:
    """RGB and RGBA are converted in place, which spares a copy of the picture."""
    target = "RGBA" if image.mode == "RGBA" else "RGB"
    transform = ImageCms.buildTransform(profile.handle, _srgb(), image.mode, target, _INTENT, _FLAGS)
    if image.mode == target and not image.readonly:
        transform.apply_in_place(image)
        return image
    return transform.apply(image)


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _probe(space: str) -> Image.Image:
    """Every sixth of each channel, as one row of pixels."""
    levels = range(0, 256, 51)
    if space == "GRAY":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    return Image.fromarray(np.array([list(product(levels, repeat=3))], dtype=np.uint8))


def _printable(name: str) -> str:
    return "".join(character for character in name if character.isprintable())[:_NAME_CHARACTERS]
