"""Physical lines of a text: numbered, bounded in length, whatever the text is made of."""

import codecs
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from datasets.catalogue.mapping import WIDE

LONGEST_ROW = 1 << 20  # bytes; a product's longest description is far below
NEVER_UTF8 = b"\xff"


class Line(NamedTuple):
    r"""One line without its ``\n``; a ``\r`` before it is left, since it may be part of a quoted value.

    Attributes:
        number: From 1.
        data: Its bytes; of one that is too long, the first of them.
        whole: Whether that is all of it.
    """

    number: int
    data: bytes
    whole: bool


def lines(blocks: Iterable[bytes], end: bytes = b"\n") -> Iterator[Line]:
    """Cut a stream into lines; no more than ``LONGEST_ROW`` bytes of a line are kept."""
    number, held, whole = 1, b"", True
    for block in blocks:
        *ended, rest = block.split(end)
        for piece in ended:
            data, fits = _joined(held, piece)
            yield Line(number, data, whole and fits)
            number, held, whole = number + 1, b"", True
        held, fits = _joined(held, rest)
        whole = whole and fits
    if held:
        yield Line(number, held, whole)


def _joined(held: bytes, piece: bytes) -> tuple[bytes, bool]:
    data = held + piece if held else piece
    return (data, True) if len(data) <= LONGEST_ROW else (data[:LONGEST_ROW], False)


def line_end(head: bytes) -> bytes:
    r"""``\r`` where a text knows no other line end, as old Macintosh programs write it."""
    return b"\r" if b"\r" in head and b"\n" not in head else b"\n"


def as_narrow(blocks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """The same text in an encoding in which ASCII characters are single bytes; UTF-16 and UTF-32 become UTF-8.

    What cannot be decoded becomes bytes that are no UTF-8, so that their row is refused and no other.
    """
    if encoding not in WIDE:
        yield from blocks
        return
    decoder = codecs.getincrementaldecoder(encoding)("replace" if "32" in encoding else "surrogatepass")
    for block in blocks:
        yield _narrow(decoder.decode(block))
    try:
        yield _narrow(decoder.decode(b"", final=True))
    except UnicodeDecodeError:
        yield NEVER_UTF8


def _narrow(text: str) -> bytes:
    """U+FFFD, by which decoders replace, is as good as undecodable."""
    return text.encode("utf-8", "surrogatepass").replace("�".encode(), NEVER_UTF8)


def narrow_name(encoding: str) -> str:
    """The encoding that ``as_narrow`` gives."""
    return "utf-8" if encoding in WIDE else encoding
