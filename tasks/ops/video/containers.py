"""Opening a stranger's container: by its first bytes, with one demuxer, and without leave to open anything else."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import av
import av.container
from av.error import FFmpegError

from tasks.ops.sniff import HEAD_BYTES, sniff
from tasks.ops.video.video_errors import (
    ClipBrokenError,
    ClipContainerError,
    ClipError,
    ClipTruncatedError,
    NotAClipError,
    PlaylistError,
    StillPictureError,
    refusal,
)

READ = "MP4, MOV, Matroska, WebM, AVI, MPEG-TS, MPEG-PS, FLV, Ogg, IVF, MXF, GIF or animated WebP"
_DEMUXERS = {
    "mov": "mov", "mp4": "mov", "mkv": "matroska", "webm": "matroska", "avi": "avi", "flv": "flv", "ogg": "ogg",
    "gif": "gif",
}  # fmt: skip
_MXF_PARTITION = bytes.fromhex("060e2b34020501010d010201")  # SMPTE ST 377-1: the key of a header partition
_BUFFER_BYTES = 1 << 18  # a read of a remote file costs far more than its bytes
_TS_PACKETS = ((188, 0), (192, 4), (204, 0))  # bytes of a packet, where its sync byte stands; plain, M2TS, with parity


@dataclass
class Source:
    """A file to be read, any number of times and from several readers at once.

    Attributes:
        file: A path, or a seekable binary file; the file stays the caller's to close.
        name: What messages call it.
    """

    file: Path | BinaryIO
    name: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def view(self) -> BinaryIO:
        """A reader with a position of its own."""
        if isinstance(self.file, Path):
            return self.file.open("rb")
        return io.BufferedReader(_View(self.file, self._lock), _BUFFER_BYTES)

    def head(self) -> bytes:
        with self.view() as view:
            return view.read(HEAD_BYTES)

    def size(self) -> int:
        with self.view() as view:
            return view.seek(0, io.SEEK_END)


class _View(io.RawIOBase):
    """A position in a file that others read too."""

    def __init__(self, file: BinaryIO, lock: threading.Lock) -> None:
        super().__init__()
        self._file, self._lock, self._at = file, lock, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        with self._lock:
            self._file.seek(self._at)
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET:
            self._at = offset
        elif whence == io.SEEK_CUR:
            self._at += offset
        else:
            with self._lock:
                self._at = self._file.seek(offset, io.SEEK_END)
        return self._at


def demuxer_of(source: Source) -> str:
    """FFmpeg's name of the one demuxer that may read a file; ``webp`` for an animation that Pillow reads.

    Raises:
        ClipError: one of its leaves, for anything that is not on the list.
    """
    head = source.head()
    kind = sniff(head)
    if kind.name == "webp" and _animated(head):
        return "webp"
    found = _DEMUXERS.get(kind.name) or _by_signature(head)
    if found:
        return found
    raise _unreadable(source.name, kind.group, kind.label)


def _unreadable(name: str, group: str, label: str) -> ClipError:
    if group == "playlist":
        remedy = "send the video itself; nothing that a list names is opened"
        return refusal(PlaylistError, name, expected="a video", came=label, remedy=remedy)
    if group in ("photo", "picture"):
        remedy = "send still pictures to the product flow"
        return refusal(StillPictureError, name, expected="a video", came=label, remedy=remedy)
    kind = ClipContainerError if group == "video" else NotAClipError
    return refusal(kind, name, expected=READ, came=label, remedy="export the clip as MP4 or MOV and send that")


def _animated(head: bytes) -> bool:
    """Whether the extended header of a WebP has the animation flag (WebP container specification)."""
    return head[12:16] == b"VP8X" and bool(head[20] & 0x02)


def _by_signature(head: bytes) -> str | None:
    if head.startswith(b"DKIF"):
        return "ivf"
    if head.startswith(b"\x00\x00\x01\xba"):
        return "mpeg"
    if head[:11] == _MXF_PARTITION[:11]:
        return "mxf"
    spaced = any(
        len(head) > at + 2 * size and all(head[at + n * size] == 0x47 for n in range(3)) for size, at in _TS_PACKETS
    )
    return "mpegts" if spaced else None


@contextmanager
def open_container(source: Source, demuxer: str, *, max_pixels: int) -> Iterator[av.container.InputContainer]:
    """The container by FFmpeg, which may use that demuxer and open nothing besides.

    Raises:
        ClipTruncatedError: the index is missing.
        ClipBrokenError: FFmpeg cannot make sense of it.
    """
    with _opened(source, demuxer, max_pixels) as container:
        yield container


@contextmanager
def _opened(source: Source, demuxer: str, max_pixels: int) -> Iterator[av.container.InputContainer]:
    is_path = isinstance(source.file, Path)
    options = {
        "format_whitelist": _whitelist(demuxer),
        "protocol_whitelist": "file" if is_path else "none",
        "max_pixels": str(max_pixels),
    }
    target = f"file:{source.file.absolute()}" if isinstance(source.file, Path) else source.view()
    try:
        container = av.open(
            target, "r", format=demuxer, options=options, metadata_errors="replace", buffer_size=_BUFFER_BYTES
        )
    except FFmpegError as error:
        raise _not_opened(source, demuxer, error) from error
    with container:
        yield container


def _whitelist(demuxer: str) -> str:
    return {"mov": "mov,mp4,m4a,3gp,3g2,mj2", "matroska": "matroska,webm"}.get(demuxer, demuxer)


def _not_opened(source: Source, demuxer: str, error: FFmpegError) -> ClipError:
    came = f"a {demuxer} container that FFmpeg does not open ({error.strerror})"
    if demuxer == "mov" and b"moov" not in top_boxes(source):
        return refusal(
            ClipTruncatedError, source.name, expected="an MP4 or MOV with its index (moov)",
            came="one without: it was cut off or its recording never ended", remedy="send the complete file again",
        )  # fmt: skip
    return refusal(
        ClipBrokenError, source.name, expected="a readable video", came=came, remedy="export the clip again and send it"
    )


def top_boxes(source: Source) -> dict[bytes, int]:
    """Where each kind of top level box of an ISO/IEC 14496-12 file would end; the last one of a kind counts."""
    ends: dict[bytes, int] = {}
    size = source.size()
    with source.view() as view:
        at = 0
        while at + 8 <= size:
            view.seek(at)
            header = view.read(16)
            length = int.from_bytes(header[:4], "big")
            if length == 1:
                length = int.from_bytes(header[8:16], "big")
            length = length or size - at
            if length < 8:
                break
            at += length
            ends[header[4:8]] = at
    return ends


def promised_bytes(source: Source, demuxer: str) -> int | None:
    """How long the file must be by its own outermost lengths; None where the container does not say."""
    if demuxer == "mov":
        return max(top_boxes(source).values(), default=None)
    head = source.head()
    if demuxer in ("avi", "webp"):
        return 8 + int.from_bytes(head[4:8], "little")
    return _matroska_end(head) if demuxer == "matroska" else None


def _matroska_end(head: bytes) -> int | None:
    """The end of the segment, if its length is known (RFC 8794: all ones say that it is not)."""
    _, after = _ebml_number(head, 4)
    header, _ = _ebml_number(head, 4)
    at = after + (header or 0)
    if head[at : at + 4] != b"\x18\x53\x80\x67":
        return None
    length, start = _ebml_number(head, at + 4)
    return None if length is None else start + length


def _ebml_number(data: bytes, at: int) -> tuple[int | None, int]:
    """(value, position behind it) of a variable length integer."""
    if at >= len(data) or not data[at]:
        return None, at
    width = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
    return (None if value == (1 << 7 * width) - 1 else value), at + width
