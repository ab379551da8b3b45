"""Photographs of more than eight bits a channel, which Pillow hands out in eight except for grey."""

import re

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin

from tasks.ops.photo_errors import UnsupportedFormatError

_TOP = 65535
_ROWS_AT_A_TIME = 256
_RAW_MODE_BITS = re.compile(r"(?!BGR)\w+;(\d+)")  # behind BGR stands the sum of all channels
_BITS_PER_SAMPLE = 258  # TIFF 6.0 tags
_PHOTOMETRIC = 262
_WHITE_IS_ZERO = 0

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # else a line per unknown TIFF tag


def announced_bits(image: ImageFile.ImageFile) -> int:
    """Bits per channel of an opened picture that is not loaded yet: 1, 2, 4, 8, 12, 16 or 32."""
    if image.mode in {"I", "F"}:
        return 32
    found = _RAW_MODE_BITS.match(_raw_mode(image))
    if found:
        return int(found[1])
    return 1 if image.mode == "1" else 8


def deep_pixels(image: ImageFile.ImageFile, data: bytes, bits: int) -> NDArray[np.uint16] | None:
    """The picture in 16 bits.

    Args:
        image: loaded.
        data: the file's bytes.
        bits: ``announced_bits`` of the picture before it was loaded.

    Returns:
        (H, W) grey or (H, W, 3|4) RGB(A), 0..65535, as oriented as ``image``; None where there are only eight bits, or
        where no decoder here gives more that agrees with Pillow's eight.

    Raises:
        UnsupportedFormatError: Numbers that are no brightness of 0..65535 or 0..1.
    """
    if image.mode.startswith("I;16"):
        return _grey(image)
    if image.mode in {"I", "F"}:
        return _from_numbers(np.asarray(image))
    if bits == 16 and image.mode in {"RGB", "RGBA"}:
        return _colour(image, data)
    return None


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """How samples lie in the file, in Pillow's words: ``RGB;16B``."""
    arguments = image.tile[0].args if image.tile else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _grey(image: ImageFile.ImageFile) -> NDArray[np.uint16]:
    levels: NDArray[np.uint16] = np.asarray(image).astype(np.uint16)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return _tiff_grey(image, levels)
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return levels
    alpha = np.where(levels == key, 0, _TOP).astype(np.uint16)
    return np.stack([levels, levels, levels, alpha], axis=-1)


def _tiff_grey(image: TiffImagePlugin.TiffImageFile, levels: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Pillow leaves 12 bits unscaled and does not turn white-is-zero round at this depth."""
    bits = int(image.tag_v2.get(_BITS_PER_SAMPLE, (16,))[0])
    if bits < 16:
        levels = np.rint(levels * (_TOP / (2**bits - 1))).astype(np.uint16)
    if image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        levels = np.invert(levels)
    return levels


def _from_numbers(numbers: NDArray[np.int32] | NDArray[np.float32]) -> NDArray[np.uint16]:
    """Integers are taken as 16 bit, floats as 0..1; a file that means something else is not guessed at."""
    top = 1.0 if numbers.dtype.kind == "f" else float(_TOP)
    low, high = float(numbers.min()), float(numbers.max())
    if not (low >= 0 and high <= top):
        raise UnsupportedFormatError(
            f"expected brightness of 0..{top:g}, got values from {low:g} to {high:g}; export the picture in 16 bits",
            low=str(low),
            high=str(high),
        )
    levels: NDArray[np.uint16] = np.rint(numbers * (_TOP / top)).astype(np.uint16)
    return levels


def _colour(image: Image.Image, data: bytes) -> NDArray[np.uint16] | None:
    """OpenCV's decoding, believed where its high bytes are Pillow's picture."""
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.dtype != np.uint16 or decoded.ndim != 3:
        return None
    if decoded.shape[:2] != (image.height, image.width) or decoded.shape[2] < len(image.getbands()):
        return None
    order = cv2.COLOR_BGRA2RGBA if decoded.shape[2] == 4 else cv2.COLOR_BGR2RGB
    deep = np.asarray(cv2.cvtColor(decoded, order, dst=decoded), dtype=np.uint16)
    return deep if _agrees(deep, image) else None


def _agrees(deep: NDArray[np.uint16], image: Image.Image) -> bool:
    channels = len(image.getbands())
    for top in range(0, image.height, _ROWS_AT_A_TIME):
        bottom = min(top + _ROWS_AT_A_TIME, image.height)
        shallow = np.asarray(image.crop((0, top, image.width, bottom)))
        if not np.array_equal(deep[top:bottom, :, :channels] >> 8, shallow):
            return False
    return True
