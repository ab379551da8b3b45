"""What decoders overlook: missing ends, wrong checksums, appended and hidden data."""

import io
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tasks.ops.photo import read_photo
from tasks.ops.photo_containers import jpeg_end, photo_body
from tasks.ops.photo_errors import DamagedError, TruncatedError
from tasks.ops.sniff import KINDS
from tests.tasks.ops.picture_files import chunk, exif, gradient, png, saved

EOI = b"\xff\xd9"
NOISE = np.random.default_rng(5).integers(0, 256, (64, 64, 3), dtype=np.uint8)
BASELINE = saved(NOISE, "JPEG", quality=80)
PROGRESSIVE = saved(NOISE, "JPEG", quality=80, progressive=True)
RESTARTS = saved(NOISE, "JPEG", quality=80, restart_marker_blocks=2)
SCAN = BASELINE.index(b"\xff\xda")


@pytest.mark.parametrize("jpeg", [BASELINE, PROGRESSIVE, RESTARTS])
def test_a_jpeg_without_its_end_is_refused(jpeg: bytes) -> None:
    assert read_photo(jpeg).pixels.shape == (64, 64, 3)
    for cut in (1, 2, 3, 100, len(jpeg) // 2, len(jpeg) - 30, len(jpeg) - 4):
        with pytest.raises(TruncatedError):
            read_photo(jpeg[:-cut])


@given(st.integers(SCAN + 40, len(BASELINE) - 200))
def test_a_jpeg_cut_and_closed_again_is_refused(cut: int) -> None:
    """Its decoder would pass a grey lower part on."""
    with pytest.raises(TruncatedError):
        read_photo(BASELINE[:cut].rstrip(b"\xff") + EOI)


@given(st.data())
@settings(max_examples=30)
def test_a_progressive_jpeg_cut_inside_a_scan_and_closed_again_is_refused(data: st.DataObject) -> None:
    scan = data.draw(st.sampled_from(scans(PROGRESSIVE)))
    cut = data.draw(st.integers(*scan))
    with pytest.raises(TruncatedError):
        read_photo(PROGRESSIVE[:cut].rstrip(b"\xff") + EOI)


def scans(jpeg: bytes) -> list[tuple[int, int]]:
    """Where the coded bytes of each scan lie, without their first and last few."""
    starts = [at for at in range(len(jpeg)) if jpeg[at : at + 2] == b"\xff\xda"]
    ends = [*starts[1:], len(jpeg)]
    return [(start + 16, end - 150) for start, end in zip(starts, ends, strict=True) if end - start > 200]


@pytest.mark.parametrize("grey", [127, 128, 129])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_whole_grey_jpeg_is_taken(grey: int, progressive: bool) -> None:
    flat = Image.new("RGB", (33, 17), (grey, grey, grey))
    assert read_photo(saved(flat, "JPEG", progressive=progressive)).pixels.mean() == pytest.approx(grey, abs=1)


@pytest.mark.parametrize("jpeg", [BASELINE, PROGRESSIVE, RESTARTS])
def test_bytes_behind_the_end_of_a_jpeg_are_dropped(jpeg: bytes) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("../../evil.sh", "echo")
    for tail in (archive.getvalue(), EOI, bytes(1000), b"\xff\xda\xff", jpeg):
        assert jpeg_end(jpeg + tail) == len(jpeg)
        assert np.array_equal(read_photo(jpeg + tail).pixels, read_photo(jpeg).pixels)


def test_an_end_marker_inside_a_thumbnail_is_not_the_end() -> None:
    jpeg = saved(NOISE, "JPEG", exif=exif(1) + BASELINE[:2000] + EOI, comment=b"\xff\xd9\xff\xda")
    assert jpeg_end(jpeg) == len(jpeg)
    assert read_photo(jpeg).pixels.shape == (64, 64, 3)


@given(st.binary(max_size=80))
def test_the_end_of_any_jpeg_like_bytes_lies_inside_them(content: bytes) -> None:
    data = b"\xff\xd8\xff" + content
    try:
        end = jpeg_end(data)
    except (TruncatedError, DamagedError):
        return
    assert data[:end].endswith(EOI)


PNG = png(gradient(), before=chunk(b"tEXt", b"Comment\x00hidden"))


@pytest.mark.parametrize("name", [b"IHDR", b"tEXt", b"IDAT", b"IEND"])
def test_a_png_with_a_wrong_checksum_is_refused(name: bytes) -> None:
    damaged = bytearray(PNG)
    start = PNG.index(name)
    length = int.from_bytes(PNG[start - 4 : start], "big")
    damaged[start + 4 + length] ^= 1
    with pytest.raises(DamagedError, match="checksum"):
        read_photo(bytes(damaged))


def test_every_changed_bit_of_a_png_is_noticed() -> None:
    for at in range(8, len(PNG)):
        damaged = bytearray(PNG)
        damaged[at] ^= 0x10
        with pytest.raises((DamagedError, TruncatedError)):
            read_photo(bytes(damaged))


@pytest.mark.parametrize("cut", [1, 4, 11, 12, 13, 40, len(PNG) // 2])
def test_a_png_without_its_end_is_refused(cut: int) -> None:
    with pytest.raises(TruncatedError):
        read_photo(PNG[:-cut])


def test_a_png_with_too_few_rows_is_refused() -> None:
    short = bytearray(png(gradient()))
    short[20:24] = (25).to_bytes(4, "big")  # one row more than there is
    short[29:33] = zlib.crc32(short[12:29]).to_bytes(4, "big")
    with pytest.raises((TruncatedError, DamagedError)):
        read_photo(bytes(short))


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 8), (17, 9)])
def test_whole_pngs_of_all_modes_and_sizes_are_taken(mode: str, size: tuple[int, int]) -> None:
    assert read_photo(saved(Image.new("RGB", size, "red").convert(mode), "PNG")).pixels.shape[:2] == size[::-1]


def test_an_interlaced_png_is_whole_with_its_last_pass() -> None:
    """3×3 grey pixels in Adam7: passes of 1×1, none, none, 1×2 ... written out by hand."""
    rows = b"\x00\x01" + b"\x00\x03" + b"\x00\x07\x09" + b"\x00\x02" + b"\x00\x08" + b"\x00\x04\x05\x06"
    header = bytes([0, 0, 0, 3, 0, 0, 0, 3, 8, 0, 0, 0, 1])

    def written(content: bytes) -> bytes:
        parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(content)), chunk(b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + b"".join(parts)

    assert read_photo(written(rows)).pixels[..., 0].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    with pytest.raises(TruncatedError):
        read_photo(written(rows[:-1]))


def test_a_png_without_picture_data_is_refused() -> None:
    start = PNG.index(b"IDAT") - 4
    with pytest.raises(DamagedError):
        read_photo(PNG[:start] + chunk(b"IEND", b""))


def test_text_and_appended_bytes_of_a_png_never_reach_the_decoder() -> None:
    bomb = chunk(b"zTXt", b"Comment\x00\x00" + zlib.compress(bytes(50_000_000)))
    data = png(gradient(), before=bomb, after=bomb) + b"PK\x03\x04"
    assert photo_body(data, KINDS["png"]).data == png(gradient())
    assert np.array_equal(read_photo(data).pixels, gradient())


def test_a_profile_that_inflates_without_end_is_refused_or_ignored() -> None:
    bomb = chunk(b"iCCP", b"name\x00\x00" + zlib.compress(bytes(50_000_000)))
    with pytest.raises(DamagedError):
        read_photo(png(gradient(), before=bomb))


@pytest.mark.parametrize("settings_", [{"lossless": True}, {"quality": 80}])
def test_a_cut_webp_is_refused_and_appended_bytes_are_dropped(settings_: dict[str, object]) -> None:
    webp = saved(NOISE, "WEBP", **settings_)
    for cut in (2, 10, len(webp) // 2, len(webp) - 12):
        with pytest.raises(TruncatedError):
            read_photo(webp[:-cut])
    assert photo_body(webp + b"PK\x03\x04", KINDS["webp"]).data == webp
    assert np.array_equal(read_photo(webp + b"PK\x03\x04").pixels, read_photo(webp).pixels)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "AVIF"])
def test_other_formats_cut_anywhere_are_refused(kind: str) -> None:
    data = saved(NOISE, kind)
    for part in (0.3, 0.5, 0.9):
        with pytest.raises((TruncatedError, DamagedError)):
            read_photo(data[: int(len(data) * part)])
