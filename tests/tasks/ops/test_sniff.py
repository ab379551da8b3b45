"""Files are what their first bytes say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.ops.sniff import HEAD_BYTES, KINDS, sniff
from tests.shared_data import SHARED, fixture
from tests.tasks.ops.picture_files import gradient, saved


def ftyp(major: bytes, *brands: bytes) -> bytes:
    content = b"ftyp" + major + bytes(4) + b"".join(brands)
    return (len(content) + 4).to_bytes(4, "big") + content + b"\x00\x00\x00\x10mdat"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("JPEG", "jpeg"),
        ("PNG", "png"),
        ("WEBP", "webp"),
        ("GIF", "gif"),
        ("AVIF", "avif"),
        ("TIFF", "tiff"),
        ("BMP", "bmp"),
    ],
)
def test_photographs(kind: str, name: str) -> None:
    found = sniff(saved(gradient(), kind))
    assert (found.name, found.is_photo) == (name, True)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"", "empty"),
        (b"\x01\x02\x03", "unknown"),
        (b"\xff\x0a\xfa\x7f", "jpeg-xl"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "jpeg-xl"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "jpeg2000"),
        (ftyp(b"heic", b"mif1", b"heic"), "heif"),
        (ftyp(b"mif1", b"mif1", b"avif"), "avif"),
        (ftyp(b"avis", b"avis"), "avif"),
        (ftyp(b"crx ", b"crx "), "camera-raw"),
        (b"II*\x00\x10\x00\x00\x00CR\x02\x00", "camera-raw"),
        (ftyp(b"qt  "), "mov"),
        (ftyp(b"isom", b"iso2"), "mp4"),
        (b"\x00\x00\x10\x00moov", "mov"),
        (b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm", "webm"),
        (b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\x82\x88matroska", "mkv"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "avi"),
        (b"\x47" + bytes(187) + b"\x47" + bytes(187) + b"\x47", "mpeg"),
        (b"%PDF-1.7\n", "pdf"),
        (b"PK\x03\x04", "zip"),
        (b"8BPS\x00\x01", "psd"),
        (b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd", "playlist"),
        (b"\xef\xbb\xbf#EXTM3U\n", "playlist"),
        (b"ffconcat version 1.0\nfile secret.png", "playlist"),
        (b"<?xml version='1.0'?>\n<MPD xmlns='urn:mpeg:dash:schema:mpd:2011'>", "playlist"),
        (b"\n  <!DOCTYPE HTML><html>", "html"),
        (b"<!-- hello --><html>", "html"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "svg"),
        (b"<?xml version='1.0'?><!-- a --><svg/>", "svg"),
        (b"<html><body><svg/></body></html>", "html"),
        (b"<?xml version='1.0'?><rss/>", "xml"),
        ("naïve text".encode("latin-1"), "text"),
        ("\ufeffhello".encode("utf-16-le"), "text"),
        (b"BMW is a make of cars", "text"),
        (b'{"error": "forbidden"}', "text"),
    ],
)
def test_signatures(head: bytes, name: str) -> None:
    assert sniff(head).name == name
    assert sniff(head).is_photo == (name in {"avif"})


@pytest.mark.parametrize("folder", ["videos", "images"])
def test_every_fixture_is_what_its_folder_says(folder: str) -> None:
    group = {"videos": "video", "images": "photo"}[folder]
    fixture(folder)
    for path in sorted((SHARED / "fixtures" / folder).iterdir()):
        assert sniff(path.read_bytes()[:HEAD_BYTES]).group == group, path.name


@given(st.binary(max_size=600))
def test_any_bytes_have_a_kind(head: bytes) -> None:
    assert sniff(head) in KINDS.values()


def test_text_cut_inside_a_character_is_text() -> None:
    assert sniff(("é" * HEAD_BYTES).encode()).name == "text"
    assert sniff(b"a" + ("é" * HEAD_BYTES).encode()).name == "text"
