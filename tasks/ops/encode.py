"""Pictures to files as they are published: an sRGB profile in every one, and nothing of the camera or the clock."""

import io
import struct
import threading
import zlib
from functools import cache
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile

from datasets.errors import FrameShapeError, PermanentError
from tasks.ops.depth import to_uint8
from tasks.ops.transfer import linear_to_srgb_uint8, srgb_to_linear

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
PictureFormat = Literal["png", "jpeg", "webp", "avif"]

WHITE = (255, 255, 255)
FULL_CHROMA_QUALITY = 90  # from here on colour edges are kept at full resolution (4:4:4)
AVIF_SPEED = 7  # measured on a product photograph: half the time of 6, 0.05 to 0.5 dB less at the same setting

_MEDIA_TYPES: dict[PictureFormat, str] = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "avif": "image/avif",
}
_EXTENSIONS: dict[PictureFormat, str] = {"png": "png", "jpeg": "jpg", "webp": "webp", "avif": "avif"}
_LONGEST_SIDE: dict[PictureFormat, int] = {
    "png": 1_000_000,  # libpng's own default limit
    "jpeg": 65_500,  # libjpeg's JPEG_MAX_DIMENSION
    "webp": 16_383,  # RFC 9649: 14 bits
    "avif": 65_536,  # AV1: 16 bits
}
_ROOM = threading.Lock()
_PNG_HEADER_END = 33  # signature and IHDR: the profile goes in right behind
_ROWS_AT_A_TIME = 256
_PROFILE_DATE = slice(24, 36)  # ICC.1:2022, table 17
_PROFILE_ID = slice(84, 100)
_FIXED_DATE = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)


class FormatLimitError(PermanentError):
    """A picture that the chosen format cannot hold."""

    code = "format_limit"


def media_type(format: PictureFormat) -> str:  # noqa: A002 - the word of every library
    """The media type: ``image/png``."""
    return _MEDIA_TYPES[format]


def extension(format: PictureFormat) -> str:  # noqa: A002
    """The file name's ending, without its dot: ``jpg``."""
    return _EXTENSIONS[format]


def encode_picture(
    pixels: Pixels,
    *,
    format: PictureFormat,  # noqa: A002
    quality: int,
    lossless: bool = False,
    background: tuple[int, int, int] = WHITE,
) -> bytes:
    """Encode a picture. The bytes depend on the arguments and on the library versions alone.

    Args:
        pixels: (H, W, 3|4), uint8 or uint16, sRGB, straight alpha. 16 bits are kept in PNG and rounded elsewhere.
        format: PNG is always lossless. Hidden colours under full transparency are kept in PNG and WebP.
        quality: 1..100, of the lossy formats. JPEG keeps full chroma resolution from 90 on, AVIF too.
        lossless: for WebP.
        background: 8-bit sRGB; JPEG has no alpha, and is laid over it in linear light.

    Raises:
        FormatLimitError: A side is longer than the format allows, or AVIF is to be lossless.
        FrameShapeError: Not a picture of this shape and depth.
    """
    _check(pixels, format)
    if format == "avif" and lossless:
        raise FormatLimitError("avif is written with loss only; choose png or webp for lossless files", format=format)
    if format == "png":
        return _png(pixels)
    if format == "jpeg":
        return _jpeg(flatten(pixels, background), quality)
    shallow = np.ascontiguousarray(to_uint8(pixels))
    return _webp(shallow, quality, lossless) if format == "webp" else _avif(shallow, quality)


def flatten(pixels: Pixels, background: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Lay a picture (H, W, 3|4) over an 8-bit sRGB colour in linear light: (H, W, 3) uint8."""
    if pixels.shape[2] == 3:
        return np.ascontiguousarray(to_uint8(pixels))
    behind = srgb_to_linear(np.array(background, dtype=np.uint8))
    flat = np.empty((*pixels.shape[:2], 3), dtype=np.uint8)
    for top in range(0, len(pixels), _ROWS_AT_A_TIME):  # in bands: floats take four times the memory
        band = pixels[top : top + _ROWS_AT_A_TIME]
        alpha = band[..., 3:].astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
        mixed = srgb_to_linear(band[..., :3]) * alpha + behind * (1 - alpha)
        flat[top : top + _ROWS_AT_A_TIME] = linear_to_srgb_uint8(mixed)
    return flat


@cache
def srgb_profile() -> bytes:
    """LittleCMS's sRGB profile with a fixed date and no id, so that its bytes are the same every day."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[_PROFILE_DATE] = _FIXED_DATE
    profile[_PROFILE_ID] = bytes(16)
    return bytes(profile)


def _check(pixels: Pixels, chosen: PictureFormat) -> None:
    if (
        pixels.ndim != 3
        or pixels.shape[2] not in {3, 4}
        or not pixels.size
        or pixels.dtype.name not in {"uint8", "uint16"}
    ):
        raise FrameShapeError(
            f"expected a picture (H, W, 3|4) of uint8 or uint16, got {pixels.shape} of {pixels.dtype}",
            shape=pixels.shape,
        )
    height, width = pixels.shape[:2]
    longest = _LONGEST_SIDE[chosen]
    if max(height, width) > longest:
        raise FormatLimitError(
            f"{chosen} holds at most {longest} pixels a side and the picture has {width}×{height}; "
            "choose png or a smaller picture",
            format=chosen,
            width=width,
            height=height,
            limit=longest,
        )


def _png(pixels: Pixels) -> bytes:
    """OpenCV writes all depths; it has no word for a profile, so the chunk is put in by hand."""
    order = cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR
    settings = [cv2.IMWRITE_PNG_COMPRESSION, 6]
    encoded: Any
    done, encoded = cv2.imencode(".png", cv2.cvtColor(np.ascontiguousarray(pixels), order), settings)
    assert done
    data = encoded.tobytes()
    return b"".join([data[:_PNG_HEADER_END], _profile_chunk(), data[_PNG_HEADER_END:]])


@cache
def _profile_chunk() -> bytes:
    """Source: PNG specification, third edition, 11.3.2.3 iCCP."""
    content = b"iCCP" + b"sRGB\x00\x00" + zlib.compress(srgb_profile(), 9)
    return struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))


def _jpeg(pixels: NDArray[np.uint8], quality: int) -> bytes:
    subsampling = 0 if quality >= FULL_CHROMA_QUALITY else 2
    return _saved(pixels, "JPEG", quality=quality, subsampling=subsampling, optimize=True, progressive=True)


def _webp(pixels: NDArray[np.uint8], quality: int, lossless: bool) -> bytes:
    return _saved(pixels, "WEBP", quality=quality, lossless=lossless, method=4, exact=True, alpha_quality=100)


def _avif(pixels: NDArray[np.uint8], quality: int) -> bytes:
    return _saved(
        pixels,
        "AVIF",
        quality=quality,
        subsampling="4:4:4" if quality >= FULL_CHROMA_QUALITY else "4:2:0",
        speed=AVIF_SPEED,
        max_threads=2,  # the bytes depend on it being one or more; more than two change nothing
    )


def _saved(pixels: NDArray[np.uint8], name: str, **settings: object) -> bytes:
    stream = io.BytesIO()
    parameters: dict[str, Any] = {**settings, "icc_profile": srgb_profile()}
    _make_room(2 * pixels.nbytes + 65_536)  # noise at the best quality takes more than it is, and there is a profile
    Image.fromarray(pixels).save(stream, name, **parameters)
    return stream.getvalue()


def _make_room(size: int) -> None:
    """Let Pillow's buffer hold ``size`` bytes.

    Optimised JPEGs must fit in at once, and noise takes about a byte a value. Pillow itself allows a byte a
    pixel. What is not written to costs addresses alone.
    """
    with _ROOM:
        ImageFile.MAXBLOCK = max(ImageFile.MAXBLOCK, size)
