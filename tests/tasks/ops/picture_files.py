"""Picture files for tests, written by hand or by Pillow: reading is not tested against our own writing."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(levels: Any, *, depth: int = 8, colour: int = RGB, before: bytes = b"", after: bytes = b"") -> bytes:
    """A PNG of (H, W[, C]) at 8 or 16 bits, without filters."""
    array = np.asarray(levels).astype(">u2" if depth == 16 else "u1")
    height, width = array.shape[:2]
    rows = b"".join(b"\x00" + array[row].tobytes() for row in range(height))
    return raw_png(width, height, rows, depth=depth, colour=colour, before=before, after=after)


def raw_png(
    width: int, height: int, rows: bytes, *, depth: int = 8, colour: int = RGB, before: bytes = b"", after: bytes = b""
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + data + after + chunk(b"IEND", b"")


def saved(image: Image.Image | np.ndarray[Any, Any], kind: str, **settings: Any) -> bytes:
    stream = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(stream, kind, **settings)
    return stream.getvalue()


def exif(orientation: object) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x010F] = "Camera maker"
    block.get_ifd(0x8825)[1] = "N"  # GPSLatitudeRef
    return block.tobytes()


def gradient(height: int = 24, width: int = 40) -> np.ndarray[Any, Any]:
    """Smooth colours, none of them grey in the last corner."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([columns * 5 + 20, rows * 7 + 30, 220 - columns * 2 - rows], axis=-1).astype(np.uint8)
