"""A stranger's photograph, bytes to sRGB pixels, or a clear refusal.

Only the bytes given are looked at: nothing here opens a path or a connection, whatever the file says. Sizes are checked
before memory is taken for them, and of the camera's own data nothing goes on but the orientation, which is applied.
"""

import io
import struct
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from typing import TypeVar

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from datasets.notices import Notice
from tasks.ops.photo_colour import Pixels, to_srgb_pixels
from tasks.ops.photo_containers import Body, damaged, photo_body, refuse_short_png, truncated, with_filler
from tasks.ops.photo_depth import announced_bits, deep_pixels
from tasks.ops.photo_errors import (
    DamagedError,
    EmptyFileError,
    IntakeTimeoutError,
    NotAnImageError,
    TooManyBytesError,
    TooManyPixelsError,
    TooSmallError,
    TruncatedError,
    UnsupportedFormatError,
)
from tasks.ops.sniff import KINDS, Kind, sniff

Result = TypeVar("Result")

MEBIBYTE = 1 << 20
ACCEPTED = "JPEG, PNG, WebP, GIF, AVIF, TIFF or BMP"

# The classes themselves: Image.open would guess the format again and keep its pixel limit in a global variable.
_OPENERS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "avif": AvifImagePlugin.AvifImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
}
# What Pillow raises for files that contradict themselves; found by changing bytes at random.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_ORIENTATION = 0x0112  # TIFF 6.0, Orientation
_REDUCED = 0x00FE  # TIFF 6.0, NewSubfileType; bit 0: a smaller version of another picture in this file
_DNG_VERSION = 0xC612  # DNG specification 1.7
_ROWS_AT_A_TIME = 256
_CUT_GREY = range(126, 131)  # what libjpeg puts in place of missing data: 128, give or take the conversion

# How to set a picture upright. Source: TIFF 6.0 and Exif 2.32, tag Orientation
_TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: image[::-1].swapaxes(0, 1),
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: lambda image: image[:, ::-1].swapaxes(0, 1),
}


@dataclass(frozen=True)
class PhotoLimits:
    """What a photograph may cost.

    Attributes:
        max_bytes: Size of the file.
        max_pixels: Width × height as announced.
        min_side: Pixels of the shorter side.
        timeout_s: Seconds of decoding.
    """

    max_bytes: int = 256 * MEBIBYTE
    max_pixels: int = 120_000_000
    min_side: int = 1
    timeout_s: float = 30.0


@dataclass(frozen=True)
class Photo:
    """A decoded photograph.

    Attributes:
        pixels: (H, W, 3|4), uint8 or uint16, sRGB, upright, straight alpha. Four channels only if not all opaque.
        notices: What was changed on the way and a user should know.
        format: The file's format by its content: ``jpeg``, ``png``, ...
        source_width: Pixels, as displayed (orientation applied).
        source_height: Likewise.
        had_profile: Whether an ICC profile was embedded.
        facts: JSON-ready: format, mode, bits, icc (the profile's name or None), orientation, frames.
    """

    pixels: Pixels
    notices: tuple[Notice, ...]
    format: str
    source_width: int
    source_height: int
    had_profile: bool
    facts: dict[str, object] = field(default_factory=dict)


DEFAULT_LIMITS = PhotoLimits()


def read_photo(data: bytes, limits: PhotoLimits = DEFAULT_LIMITS) -> Photo:
    """Decode a photograph from its bytes.

    Decoding runs in a thread of its own, which is given up after ``limits.timeout_s``: no decoder can be stopped from
    outside. The abandoned thread ends by itself, and ``limits.max_pixels`` bounds what it may still use.
    Memory: the pixels and about two copies of them (measured: 10 bytes a pixel for JPEG, 18 for WebP and 16-bit PNG).

    Raises:
        EmptyFileError: No bytes.
        TooManyBytesError: More bytes than allowed.
        NotAnImageError: A web page, a text, an archive, or unknown.
        UnsupportedFormatError: A known format that is not taken, or a variant of a taken one.
        TruncatedError: The file ends early.
        DamagedError: The file contradicts itself.
        TooManyPixelsError: The announced size is over the limit; nothing was decoded.
        TooSmallError: A side is under the minimum.
        IntakeTimeoutError: Decoding took too long.
    """
    if len(data) > limits.max_bytes:
        raise TooManyBytesError(
            f"the file has {len(data) / MEBIBYTE:.0f} MiB and {limits.max_bytes / MEBIBYTE:.0f} MiB are allowed; "
            "give a smaller file or raise the limit",
            bytes=len(data),
            limit=limits.max_bytes,
        )
    kind = sniff(data)
    refuse_kind(kind)
    return _within(limits.timeout_s, lambda: _read(data, kind, limits))


def refuse_kind(kind: Kind) -> None:
    """Pass photographs that intake takes, refuse everything else by name.

    Raises:
        EmptyFileError: No bytes.
        NotAnImageError: A web page, a text, an archive, or unknown.
        UnsupportedFormatError: A known format that is not taken.
    """
    if kind.is_photo:
        return
    if kind.group == "empty":
        raise EmptyFileError("expected a photograph, got an empty file (0 bytes); send the file again")
    if kind.group in {"text", "archive", "unknown"}:
        raise NotAnImageError(
            f"not an image ({kind.short}): the file holds {kind.label}; give a {ACCEPTED} photograph",
            found=kind.name,
            label=kind.label,
        )
    raise UnsupportedFormatError(
        f"the file is {kind.label}, which is not taken as a photograph; export it as {ACCEPTED}",
        found=kind.name,
        label=kind.label,
    )


def _within(timeout_s: float, work: Callable[[], Result]) -> Result:
    """The result of ``work``, or an error after ``timeout_s`` seconds; the thread does not keep the process alive."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # handed on to the waiting thread, whatever it is
            future.set_exception(error)

    threading.Thread(target=run, name="read_photo", daemon=True).start()
    try:
        return future.result(timeout_s)
    except FutureTimeoutError as error:
        if future.done():
            raise
        raise IntakeTimeoutError(
            f"decoding took more than {timeout_s:g} s and was given up; export the picture anew or raise the limit",
            timeout_s=timeout_s,
        ) from error


def _read(data: bytes, kind: Kind, limits: PhotoLimits) -> Photo:
    body = photo_body(data, kind)
    if body.size:
        _check_size(body.size, limits)
    image = _open(body, kind)
    _check_size(image.size, limits)
    _refuse_raw(image)
    frames = body.frames or _frames(image, kind)
    bits = body.bits or announced_bits(image)
    in_tags = _tiff_orientation(image)
    facts: dict[str, object] = {"format": kind.name, "mode": image.mode, "bits": bits}
    if kind.name == "png":
        refuse_short_png(body.data)
    _load(image, kind)
    if kind.name == "jpeg":
        _refuse_filled_up(image, body, kind)
    orientation = _exif_orientation(image)
    colours = to_srgb_pixels(image, deep_pixels(image, body.data, bits), bits)
    pixels = _TURNS[orientation](colours.pixels).copy(order="C")
    facts |= {"icc": colours.profile_name, "orientation": in_tags or orientation, "frames": frames}
    return Photo(
        pixels=pixels,
        notices=(*_frame_notices(frames), *colours.notices),
        format=kind.name,
        source_width=pixels.shape[1],
        source_height=pixels.shape[0],
        had_profile=bool(image.info.get("icc_profile")),
        facts=facts,
    )


def _open(body: Body, kind: Kind) -> ImageFile.ImageFile:
    """Read the header."""
    try:
        return _OPENERS[kind.name](io.BytesIO(body.data))
    except _DECODER_ERRORS as error:
        raise _translated(error, kind) from error


def _load(image: ImageFile.ImageFile, kind: Kind) -> None:
    try:
        image.load()
    except _DECODER_ERRORS as error:
        raise _translated(error, kind) from error


def _translated(error: BaseException, kind: Kind) -> TruncatedError | DamagedError:
    words = str(error) or type(error).__name__
    if isinstance(error, EOFError) or "truncated" in words.lower():
        return truncated(kind.short)
    return damaged(kind.short, f"the decoder says {words[:200]!r}")


def _check_size(size: tuple[int, int], limits: PhotoLimits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise TooManyPixelsError(
            f"the picture has {width}×{height} = {width * height / 1e6:.0f} megapixels and "
            f"{limits.max_pixels / 1e6:g} are allowed; give a smaller picture or raise the limit",
            width=width,
            height=height,
            limit=limits.max_pixels,
        )
    if min(size) < limits.min_side:
        raise TooSmallError(
            f"the picture has {width}×{height} pixels and each side needs at least {limits.min_side}; give more",
            width=width,
            height=height,
            limit=limits.min_side,
        )


def _refuse_raw(image: ImageFile.ImageFile) -> None:
    """Raw files are TIFF, and their first picture is a thumbnail that would pass for the photograph."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return
    reduced = image.tag_v2.get(_REDUCED, 0)
    if _DNG_VERSION in image.tag_v2 or (isinstance(reduced, int) and reduced & 1):
        refuse_kind(KINDS["camera-raw"])


def _frames(image: ImageFile.ImageFile, kind: Kind) -> int:
    """Asked before loading, since a GIF has to be walked through to count its frames."""
    try:
        return int(getattr(image, "n_frames", 1))
    except _DECODER_ERRORS as error:
        raise _translated(error, kind) from error


def _frame_notices(frames: int) -> tuple[Notice, ...]:
    if frames == 1:
        return ()
    words = f"The file holds {frames} pictures; the first one is used. Give a still picture to choose another."
    return (Notice("animation_first_frame", words, {"frames": frames}),)


def _tiff_orientation(image: ImageFile.ImageFile) -> int | None:
    """For the record: Pillow and OpenCV apply a TIFF's orientation themselves while they load."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return None
    return _valid_orientation(image.tag_v2.get(_ORIENTATION))


def _exif_orientation(image: ImageFile.ImageFile) -> int:
    """What remains to be applied to a loaded picture. A broken EXIF block says nothing."""
    block = image.info.get("exif")
    if not isinstance(block, bytes):  # nor for TIFF, which Pillow has turned already
        return 1
    exif = Image.Exif()
    try:
        exif.load(block)
        return _valid_orientation(exif.get(_ORIENTATION))
    except _DECODER_ERRORS:
        return 1


def _valid_orientation(value: object) -> int:
    return value if isinstance(value, int) and value in _TURNS else 1


def _refuse_filled_up(image: ImageFile.ImageFile, body: Body, kind: Kind) -> None:
    """Refuse a JPEG that was cut and closed again: its decoder fills up with grey and says nothing."""
    if not (image.info.get("progressive") or _ends_grey(image)):
        return
    again = _open(Body(with_filler(body.data)), kind)
    _load(again, kind)
    for top in range(0, image.height, _ROWS_AT_A_TIME):
        box = (0, top, image.width, min(top + _ROWS_AT_A_TIME, image.height))
        if image.crop(box).tobytes() != again.crop(box).tobytes():
            raise truncated(kind.short, first_row=top)


def _ends_grey(image: Image.Image) -> bool:
    last = image.getpixel((image.width - 1, image.height - 1))
    values = last if isinstance(last, tuple) else (last,)
    return all(value in _CUT_GREY for value in values)
