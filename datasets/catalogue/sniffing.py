"""What a table's first bytes say: its encoding, or that it is something else."""

import codecs

from datasets.catalogue.mapping import WIDE
from datasets.catalogue.records import TableUnreadableError

HEAD = 4096  # bytes that are looked at
MARKS = (  # longest first: the mark of UTF-32 begins like that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
OTHERS = (
    (b"PK\x03\x04", "a ZIP archive (Excel and OpenDocument workbooks are such): save the sheet as CSV"),
    (b"PK\x05\x06", "an empty ZIP archive: save the table itself"),
    (b"\x1f\x8b", "compressed with gzip: unpack it"),
    (b"BZh", "compressed with bzip2: unpack it"),
    (b"\xfd7zXZ\x00", "compressed with xz: unpack it"),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard: unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive: unpack it"),
    (b"Rar!\x1a\x07", "a RAR archive: unpack it"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook: save the sheet as CSV"),
    (b"PAR1", "a Parquet file: end its name in .parquet"),
    (b"%PDF-", "a PDF"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\x89PNG\r\n", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
)
PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")
FEW_NULS = 0.1  # of the first bytes; tables of wide characters have a third and more


def refuse_other_things(url: str, head: bytes) -> None:
    """Refuse what is no text at all.

    Raises:
        TableUnreadableError: An archive, a workbook, a picture, a web page.
    """
    for magic, words in OTHERS:
        if head.startswith(magic):
            raise TableUnreadableError(f"{url} is {words}", table=url)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(PAGES):
        raise TableUnreadableError(
            f"{url} is a web page or XML, not a table; was it saved from a page that asks for a login?", table=url
        )


def encoding_of(url: str, head: bytes, declared: str) -> tuple[str, int]:
    """The encoding of a text and how many bytes its byte-order mark takes. A mark outweighs what was declared.

    Raises:
        TableUnreadableError: It has so many NUL bytes that it is in a wide encoding nobody declared, or no text.
    """
    for mark, name in MARKS:
        if head.startswith(mark):
            return name, len(mark)
    if declared not in WIDE and head[:HEAD].count(0) > FEW_NULS * max(1, len(head[:HEAD])):
        raise TableUnreadableError(
            f"{url} is full of NUL bytes: no text, or UTF-16 without a byte-order mark; declare the encoding "
            "utf-16-le or utf-16-be, or save it as UTF-8",
            table=url,
        )
    return declared, 0
