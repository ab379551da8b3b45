"""Checks of a photograph's container that a decoder leaves out: its end, its checksums, its announced size.

A decoder is content with a file that yields rows. A published picture needs more: that nothing is missing, that
checksums hold, that the announced size is looked at before memory is taken for it, and that whatever is appended or
hidden in text chunks never reaches the decoder.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from tasks.ops.photo_errors import DamagedError, TruncatedError
from tasks.ops.sniff import Kind

RESEND = "send the file again, or export it anew"

_PNG_SIGNATURE = 8
_PNG_KEPT = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"iCCP", b"eXIf"}
_PNG_SINGLE = {b"IHDR", b"PLTE", b"tRNS", b"iCCP", b"eXIf"}
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
# First column and row of each pass, and the steps between them
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_INFLATED_AT_A_TIME = 1 << 20  # bytes
_JPEG_SCAN_END = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # any marker but a stuffed zero, a restart, a fill byte
_AVIF_HEADER = 65536  # bytes; the boxes that describe the picture come first
_JPEG_EOI = b"\xff\xd9"
_JPEG_STANDALONE = {0x01, *range(0xD0, 0xD9)}


@dataclass(frozen=True)
class Body:
    """What the decoder is given.

    Attributes:
        data: The file without appended bytes, and for PNG without chunks that do not concern the pixels.
        size: (width, height) as announced, where opening the file already takes memory for it; else None.
        frames: Number of pictures, where the decoder is not asked for it; else None.
        bits: Per channel, where the decoder does not tell; else None.
    """

    data: bytes
    size: tuple[int, int] | None = None
    frames: int | None = None
    bits: int | None = None


def photo_body(data: bytes, kind: Kind) -> Body:
    """Check the container of a photograph.

    Raises:
        TruncatedError: The file ends early.
        DamagedError: A checksum or a length is wrong.
    """
    if kind.name == "jpeg":
        return Body(data[: jpeg_end(data)], frames=1)
    if kind.name == "png":
        return _png_body(data)
    if kind.name == "webp":
        return _webp_body(data)
    if kind.name == "avif":
        return Body(data, bits=_avif_bits(data))
    return Body(data)


def truncated(kind: str, **facts: object) -> TruncatedError:
    """The error for a file that ends before its picture."""
    return TruncatedError(f"expected a whole {kind}, but the file ends before the picture does; {RESEND}", **facts)


def damaged(kind: str, what: str, **facts: object) -> DamagedError:
    """The error for a file that contradicts itself."""
    return DamagedError(f"expected a sound {kind}, but {what}; {RESEND}", reason=what, **facts)


def jpeg_end(data: bytes) -> int:
    """Where the first JPEG picture ends: the offset behind its end marker. Source: ITU-T T.81, annex B.

    Raises:
        TruncatedError: There is no end marker.
        DamagedError: A segment does not begin with a marker.
    """
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise damaged("JPEG", "a segment does not begin with a marker", offset=at)
        code = data[at + 1]
        if code == 0xD9:
            return at + 2
        at = _next_jpeg_marker(data, at, code)
    if data[at : at + 2] == _JPEG_EOI:
        return at + 2
    raise truncated("JPEG", bytes=len(data))


def _next_jpeg_marker(data: bytes, at: int, code: int) -> int:
    if code == 0xFF:  # a fill byte
        return at + 1
    if code in _JPEG_STANDALONE:
        return at + 2
    behind = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    if code != 0xDA:
        return behind
    found = _JPEG_SCAN_END.search(data, behind)
    if found is None:
        raise truncated("JPEG", bytes=len(data))
    return found.start()


def with_filler(jpeg: bytes) -> bytes:
    """The JPEG with meaningless entropy-coded bytes before its end marker.

    A decoder that has all it needs never reads them. One that ran out of data, and would have put grey in place of the
    rest, now makes noise of them: where both decodings differ, the file was cut and closed again.
    """
    return jpeg.removesuffix(_JPEG_EOI) + bytes(range(7, 247, 3)) * 8 + _JPEG_EOI


def _png_body(data: bytes) -> Body:
    """Keep the chunks that make the pixels. Source: PNG specification, third edition, 5."""
    kept = [data[:_PNG_SIGNATURE]]
    seen: set[bytes] = set()
    frames = 1
    for name, chunk, content in _png_chunks(data):
        if name == b"acTL":
            frames = max(1, int.from_bytes(content[:4], "big"))
        if name in _PNG_KEPT and not (name in _PNG_SINGLE and name in seen):
            kept.append(chunk)
            seen.add(name)
    if b"IEND" not in seen:
        raise truncated("PNG", bytes=len(data))
    if b"IDAT" not in seen:
        raise damaged("PNG", "it holds no picture data")
    return Body(b"".join(kept), frames=frames)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Name, whole chunk and content of each chunk up to IEND, their checksums verified."""
    at, name = _PNG_SIGNATURE, b""
    while at + 12 <= len(data) and name != b"IEND":
        length = int.from_bytes(data[at : at + 4], "big")
        chunk = data[at : at + 12 + length]
        if len(chunk) < 12 + length:
            raise truncated("PNG", bytes=len(data))
        name, content = chunk[4:8], chunk[8:-4]
        if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
            raise damaged("PNG", "a checksum does not match its data", offset=at)
        yield name, chunk, content
        at += 12 + length


def refuse_short_png(data: bytes) -> None:
    """Count the bytes of all rows: Pillow leaves missing rows black when the compressed stream ends in good order.

    Args:
        data: A PNG of checked size, as ``photo_body`` gives it.

    Raises:
        TruncatedError: Rows are missing.
        DamagedError: The compressed stream is broken.
    """
    missing = _png_row_bytes(data[16:29])
    inflater = zlib.decompressobj()
    try:
        for name, _, content in _png_chunks(data):
            if name == b"IDAT":
                missing -= _inflated_bytes(inflater, content, missing)
    except zlib.error as error:
        raise damaged("PNG", "its picture data does not inflate") from error
    if missing > 0:
        raise truncated("PNG", missing_bytes=missing)


def _inflated_bytes(inflater: "zlib._Decompress", content: bytes, wanted: int) -> int:
    """How many bytes come out, counted until there are ``wanted``, a piece at a time to spare memory."""
    count = 0
    while count < wanted and (rows := inflater.decompress(content, _INFLATED_AT_A_TIME)):
        count += len(rows)
        content = inflater.unconsumed_tail
    return count


def _png_row_bytes(header: bytes) -> int:
    """Bytes of all rows with their filter bytes. Source: PNG specification, third edition, 7.2 and 8.1 (Adam7)."""
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    depth, colour, interlaced = header[8], header[9], header[12]
    bits = depth * _PNG_CHANNELS.get(colour, 1)
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, step_x, step_y in passes:
        columns, rows = -(-(width - left) // step_x), -(-(height - top) // step_y)
        total += rows * (1 + -(-columns * bits // 8)) if columns > 0 and rows > 0 else 0
    return total


def _webp_body(data: bytes) -> Body:
    """Source: RFC 9649, 2.3 to 2.7."""
    size = int.from_bytes(data[4:8], "little") + 8
    if len(data) < min(size, 30) or len(data) < size - 1:  # writers disagree about the last padding byte
        raise truncated("WebP", bytes=len(data), announced_bytes=size)
    return Body(data[:size], size=_webp_size(data))


def _webp_size(data: bytes) -> tuple[int, int]:
    name, content = data[12:16], data[20:30]
    if name == b"VP8X":
        return int.from_bytes(content[4:7], "little") + 1, int.from_bytes(content[7:10], "little") + 1
    if name == b"VP8L":
        bits = int.from_bytes(content[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if name == b"VP8 ":
        return int.from_bytes(content[6:8], "little") & 0x3FFF, int.from_bytes(content[8:10], "little") & 0x3FFF
    raise damaged("WebP", "its first chunk is not a picture")


def _avif_bits(data: bytes) -> int:
    """Source: AV1 Codec ISO Media File Format Binding, 2.3.3: high_bitdepth and twelve_bit of the first av1C box."""
    at = data.find(b"av1C", 0, _AVIF_HEADER)
    flags = data[at + 6] if 0 <= at < len(data) - 6 else 0
    if not flags & 0x40:
        return 8
    return 12 if flags & 0x20 else 10
