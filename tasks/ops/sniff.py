"""What a file is by its first bytes. Names and content types sent along are claims, so nobody asks them."""

import codecs
from dataclasses import dataclass
from typing import Literal

HEAD_BYTES = 4096  # enough for every signature here, and for an SVG behind a long comment

Group = Literal["photo", "picture", "document", "archive", "playlist", "video", "text", "empty", "unknown"]


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: Stable short name: ``jpeg``, ``html``, ``mp4``, ...
        label: For messages: "an HTML page".
        short: For messages, in brackets: "HTML".
        group: ``photo`` is taken by intake; ``picture`` is an image format that intake does not take.
    """

    name: str
    label: str
    short: str
    group: Group

    @property
    def is_photo(self) -> bool:
        return self.group == "photo"


_TABLE: tuple[tuple[str, str, str, Group], ...] = (
    ("jpeg", "a JPEG", "JPEG", "photo"),
    ("png", "a PNG", "PNG", "photo"),
    ("webp", "a WebP", "WebP", "photo"),
    ("gif", "a GIF", "GIF", "photo"),
    ("avif", "an AVIF", "AVIF", "photo"),
    ("tiff", "a TIFF", "TIFF", "photo"),
    ("bmp", "a BMP", "BMP", "photo"),
    ("heif", "an HEIF/HEIC picture", "HEIF", "picture"),
    ("jpeg-xl", "a JPEG XL picture", "JPEG XL", "picture"),
    ("jpeg2000", "a JPEG 2000 picture", "JPEG 2000", "picture"),
    ("camera-raw", "a camera's raw file", "camera raw", "picture"),
    ("psd", "a Photoshop document", "PSD", "picture"),
    ("exr", "an OpenEXR picture", "OpenEXR", "picture"),
    ("ico", "an icon", "ICO", "picture"),
    ("svg", "an SVG drawing", "SVG", "picture"),
    ("pdf", "a PDF document", "PDF", "document"),
    ("html", "an HTML page", "HTML", "text"),
    ("xml", "an XML document", "XML", "text"),
    ("text", "plain text", "text", "text"),
    ("zip", "a ZIP archive", "ZIP", "archive"),
    ("gzip", "a gzip archive", "gzip", "archive"),
    ("playlist", "a media playlist", "playlist", "playlist"),
    ("mov", "a QuickTime video", "MOV", "video"),
    ("mp4", "an MP4 video", "MP4", "video"),
    ("mkv", "a Matroska video", "MKV", "video"),
    ("webm", "a WebM video", "WebM", "video"),
    ("avi", "an AVI video", "AVI", "video"),
    ("flv", "an FLV video", "FLV", "video"),
    ("mpeg", "an MPEG video", "MPEG", "video"),
    ("ogg", "an Ogg stream", "Ogg", "video"),
    ("empty", "an empty file", "empty", "empty"),
    ("unknown", "bytes of no known format", "unknown", "unknown"),
)
KINDS = {name: Kind(name, label, short, group) for name, label, short, group in _TABLE}

# (offset, signature, kind); the first match wins
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"GIF87a", "gif"),
    (0, b"GIF89a", "gif"),
    (8, b"CR\x02", "camera-raw"),
    (0, b"II*\x00", "tiff"),
    (0, b"MM\x00*", "tiff"),
    (0, b"II+\x00", "tiff"),
    (0, b"MM\x00+", "tiff"),
    (0, b"\xff\x0a", "jpeg-xl"),
    (0, b"\x00\x00\x00\x0cJXL \r\n\x87\n", "jpeg-xl"),
    (0, b"\x00\x00\x00\x0cjP  \r\n\x87\n", "jpeg2000"),
    (0, b"\xff\x4f\xff\x51", "jpeg2000"),
    (0, b"IIU\x00", "camera-raw"),
    (0, b"IIRO", "camera-raw"),
    (0, b"FUJIFILMCCD-RAW", "camera-raw"),
    (0, b"8BPS", "psd"),
    (0, b"\x76\x2f\x31\x01", "exr"),
    (0, b"\x00\x00\x01\x00", "ico"),
    (0, b"%PDF-", "pdf"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"PK\x05\x06", "zip"),
    (0, b"PK\x07\x08", "zip"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"FLV\x01", "flv"),
    (0, b"OggS", "ogg"),
    (0, b"\x00\x00\x01\xba", "mpeg"),
    (0, b"\x00\x00\x01\xb3", "mpeg"),
    (4, b"moov", "mov"),
    (4, b"mdat", "mov"),
    (4, b"wide", "mov"),
    (4, b"free", "mov"),
    (4, b"skip", "mov"),
)
_BMP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}  # sizes of the information headers that exist
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_HTML_STARTS = (b"<!doctype html", b"<html", b"<head", b"<body", b"<script", b"<title")
_PLAYLIST_STARTS = (b"#extm3u", b"ffconcat", b"[playlist]", b"#ext-x-", b"<mpd", b"<smil")
_TEXT_CONTROLS = {0x07, 0x08, 0x09, 0x0A, 0x0C, 0x0D, 0x1B}


def sniff(head: bytes) -> Kind:
    """The kind of a file by its first bytes; ``HEAD_BYTES`` of them are looked at."""
    head = head[:HEAD_BYTES]
    return KINDS[_binary(head) or _text(head) or "unknown"]


def _binary(head: bytes) -> str | None:
    if not head:
        return "empty"
    for offset, signature, name in _MAGIC:
        if head.startswith(signature, offset):
            return name
    return _riff(head) or _iso_media(head) or _matroska(head) or _bitmap(head) or _transport_stream(head)


def _riff(head: bytes) -> str | None:
    if head[:4] != b"RIFF":
        return None
    return {b"WEBP": "webp", b"AVI ": "avi"}.get(head[8:12])


def _iso_media(head: bytes) -> str | None:
    """ISO/IEC 14496-12 files by their brands; a picture may name its coding among the compatible ones only."""
    if head[4:8] != b"ftyp":
        return None
    size = min(int.from_bytes(head[:4], "big"), len(head))
    major = head[8:12]
    brands = {major, *(head[at : at + 4] for at in range(16, size - 3, 4))}
    if major == b"crx ":
        return "camera-raw"
    if brands & {b"avif", b"avis"}:
        return "avif"
    if brands & _HEIF_BRANDS:
        return "heif"
    return "mov" if major == b"qt  " else "mp4"


def _matroska(head: bytes) -> str | None:
    if head[:4] != b"\x1a\x45\xdf\xa3":
        return None
    return "webm" if b"webm" in head[:64] else "mkv"


def _bitmap(head: bytes) -> str | None:
    known = head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS
    return "bmp" if known else None


def _transport_stream(head: bytes) -> str | None:
    """MPEG-TS packets have 188 bytes and begin with 0x47."""
    return "mpeg" if len(head) > 376 and head[0] == head[188] == head[376] == 0x47 else None


def _text(head: bytes) -> str | None:
    text = _utf8(head)
    if text is None:
        return None
    start = text.lstrip().lower()
    if start.startswith(_PLAYLIST_STARTS) or b"<mpd" in start[:512]:
        return "playlist"
    if start.startswith((b"<?xml", b"<!--", b"<!doctype", b"<svg")):
        return _markup(start)
    return "html" if start.startswith(_HTML_STARTS) else "text"


def _markup(start: bytes) -> str:
    if b"<svg" in start and b"<html" not in start.partition(b"<svg")[0]:
        return "svg"
    if b"<!doctype html" in start or b"<html" in start:
        return "html"
    return "xml" if start.startswith(b"<?xml") else "text"


def _utf8(head: bytes) -> bytes | None:
    """The head as UTF-8 without its byte order mark, or None if it does not read as text."""
    if head[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return head.decode("utf-16", errors="ignore").encode()
    text = head.removeprefix(b"\xef\xbb\xbf")
    if any(byte < 0x20 and byte not in _TEXT_CONTROLS for byte in text):
        return None
    return text if _mostly_text(text) else None


def _mostly_text(text: bytes) -> bool:
    """UTF-8 up to a character cut off at the end, or a Latin text: hardly any byte outside ASCII."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(text, final=False)
    except UnicodeDecodeError:
        return sum(byte >= 0x80 for byte in text) < len(text) / 8
    return True
