"""Reading photographs: modes, orientation, depth, limits."""

import io
import threading
import time
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from datasets.errors import PermanentError
from tasks.ops import photo as photo_module
from tasks.ops.photo import PhotoLimits, read_photo
from tasks.ops.photo_errors import (
    DamagedError,
    IntakeTimeoutError,
    TooManyBytesError,
    TooManyPixelsError,
    TooSmallError,
    TruncatedError,
    UnsupportedFormatError,
)
from tests.shared_data import fixture
from tests.tasks.ops import picture_files as files
from tests.tasks.ops.picture_files import chunk, exif, gradient, png, raw_png, saved

LOSSLESS = [("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("TIFF", {}), ("BMP", {})]
DEEP = [("tiff", [cv2.IMWRITE_TIFF_COMPRESSION, code]) for code in (1, 5, 32946)]  # none, LZW, deflate


def codes(data: bytes) -> list[str]:
    return [notice.code for notice in read_photo(data).notices]


@pytest.mark.parametrize(("kind", "settings"), LOSSLESS)
def test_lossless_formats_give_the_exact_pixels(kind: str, settings: dict[str, Any]) -> None:
    photo = read_photo(saved(gradient(), kind, **settings))
    assert np.array_equal(photo.pixels, gradient())
    assert photo.notices == ()
    assert (photo.source_width, photo.source_height, photo.had_profile) == (40, 24, False)


@pytest.mark.parametrize(("kind", "mean"), [("JPEG", 3), ("AVIF", 3), ("GIF", 12)])
def test_lossy_formats_come_near(kind: str, mean: float) -> None:
    photo = read_photo(saved(gradient(), kind))
    assert photo.pixels.shape == (24, 40, 3)
    assert np.abs(photo.pixels.astype(int) - gradient()).mean() < mean


def test_facts_hold_nothing_of_the_camera() -> None:
    photo = read_photo(saved(gradient(), "JPEG", exif=exif(1)))
    assert photo.facts == {"format": "jpeg", "mode": "RGB", "bits": 8, "icc": None, "orientation": 1, "frames": 1}


# An asymmetric picture, and where the camera's corners go. Source: Exif 2.32, Orientation:
# row 0 and column 0 of the file are, on the upright picture: (top, left), (top, right), (bottom, right), ...
UPRIGHT = np.array([[10, 60, 110], [160, 210, 250]], dtype=np.uint8)
STORED = {
    1: [[10, 60, 110], [160, 210, 250]],
    2: [[110, 60, 10], [250, 210, 160]],
    3: [[250, 210, 160], [110, 60, 10]],
    4: [[160, 210, 250], [10, 60, 110]],
    5: [[10, 160], [60, 210], [110, 250]],
    6: [[110, 250], [60, 210], [10, 160]],
    7: [[250, 110], [210, 60], [160, 10]],
    8: [[160, 10], [210, 60], [250, 110]],
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_orientation_is_applied_once(kind: str, orientation: int) -> None:
    stored = np.kron(np.array(STORED[orientation], np.uint8), np.ones((16, 16), np.uint8))
    settings: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    photo = read_photo(saved(np.stack([stored] * 3, -1), kind, exif=exif(orientation), **settings))
    assert photo.pixels.shape == (32, 48, 3)
    centres = photo.pixels[8::16, 8::16, 0].astype(int)
    assert np.abs(centres - UPRIGHT).max() <= (2 if kind == "JPEG" else 0)
    assert photo.facts["orientation"] == orientation
    assert (photo.source_width, photo.source_height) == (48, 32)


@pytest.mark.parametrize("orientation", [3, 6])
def test_orientation_agrees_with_real_photographs(orientation: int) -> None:
    photo = read_photo(fixture(f"images/Landscape_{orientation}.jpg").read_bytes())
    assert photo.pixels.shape == (1200, 1800, 3)
    sky, ground = photo.pixels[:100].mean(axis=(0, 1)), photo.pixels[-100:].mean(axis=(0, 1))
    assert sky[2] > sky[0]  # blue above
    assert sky[2] > ground[2] + 40


@pytest.mark.parametrize(
    "block", [b"", b"Exif\x00\x00", b"Exif\x00\x00MM\x00*\xff\xff\xff\xff", b"garbage" * 9, exif(99)]
)
def test_a_broken_exif_block_turns_nothing(block: bytes) -> None:
    photo = read_photo(saved(gradient(), "JPEG", exif=block))
    assert photo.pixels.shape == (24, 40, 3)
    assert photo.facts["orientation"] == 1


def test_grey_becomes_three_channels() -> None:
    grey = gradient()[..., 0]
    assert np.array_equal(read_photo(saved(grey, "PNG")).pixels, np.stack([grey] * 3, -1))


def test_black_and_white() -> None:
    photo = read_photo(raw_png(3, 1, b"\x00\xa0", depth=1, colour=files.GREY))
    assert photo.pixels[0, :, 0].tolist() == [255, 0, 255]
    assert photo.facts["bits"] == 1


@pytest.mark.parametrize(
    ("depth", "rows", "key", "levels", "alpha"),
    [
        (2, b"\x00\x1b", 2, [0, 85, 170, 255], [255, 255, 0, 255]),
        (4, b"\x00\x3a\x5f", 5, [51, 170, 85, 255], [255, 255, 0, 255]),
        (8, b"\x00\x01\x02\x03\x04", 2, [1, 2, 3, 4], [255, 0, 255, 255]),
        (16, b"\x00\x00\x01\x00\x02\x01\x00\xff\xff", 2, [1, 2, 256, 65535], [65535, 0, 65535, 65535]),
    ],
)
def test_a_transparent_grey_becomes_alpha(
    depth: int, rows: bytes, key: int, levels: list[int], alpha: list[int]
) -> None:
    before = chunk(b"tRNS", key.to_bytes(2, "big"))
    pixels = read_photo(raw_png(4, 1, rows, depth=depth, colour=files.GREY, before=before)).pixels
    assert pixels[0, :, 0].tolist() == levels
    assert pixels[0, :, 3].tolist() == alpha


@pytest.mark.parametrize("depth", [8, 16])
def test_a_transparent_colour_becomes_alpha(depth: int) -> None:
    levels = [[[1, 2, 3], [200, 100, 50]]]
    before = chunk(b"tRNS", np.array([1, 2, 3], ">u2").tobytes())
    pixels = read_photo(png(levels, depth=depth, before=before)).pixels
    top = 255 if depth == 8 else 65535
    assert pixels.tolist() == [[[1, 2, 3, 0], [200, 100, 50, top]]]


def test_palette_with_partial_transparency() -> None:
    before = chunk(b"PLTE", bytes([9, 8, 7, 200, 100, 50, 1, 1, 1])) + chunk(b"tRNS", bytes([0, 128]))
    pixels = read_photo(png([[0, 1, 2]], colour=files.PALETTE, before=before)).pixels
    assert pixels.tolist() == [[[9, 8, 7, 0], [200, 100, 50, 128], [1, 1, 1, 255]]]


def test_alpha_that_hides_nothing_is_dropped() -> None:
    opaque = np.dstack([gradient(), np.full((24, 40), 255, np.uint8)])
    assert read_photo(saved(opaque, "PNG")).pixels.shape == (24, 40, 3)
    opaque[3, 4, 3] = 254
    assert np.array_equal(read_photo(saved(opaque, "PNG")).pixels, opaque)


def test_colours_under_full_transparency_are_kept() -> None:
    picture = np.array([[[10, 200, 30, 0], [1, 2, 3, 77]]], np.uint8)
    assert read_photo(saved(picture, "PNG")).pixels.tolist() == picture.tolist()


def test_grey_with_alpha() -> None:
    pixels = read_photo(png([[[50, 128], [90, 255]]], colour=files.GREY_ALPHA)).pixels
    assert pixels.tolist() == [[[50, 50, 50, 128], [90, 90, 90, 255]]]


def test_premultiplied_tiff_becomes_straight() -> None:
    # half-covered red 200 is stored as 100
    straight = saved(np.array([[[100, 0, 0, 128], [7, 8, 9, 255]]], np.uint8), "TIFF")
    tag, associated = (np.array([338, 3, 1, 0, value, 0], "<u2").tobytes() for value in (2, 1))
    assert straight.count(tag) == 1
    assert read_photo(straight.replace(tag, associated)).pixels.tolist() == [[[199, 0, 0, 128], [7, 8, 9, 255]]]


@pytest.mark.parametrize(
    ("colour", "channels"), [(files.GREY, 1), (files.GREY_ALPHA, 2), (files.RGB, 3), (files.RGBA, 4)]
)
def test_sixteen_bits_of_png_are_kept(colour: int, channels: int) -> None:
    levels = np.random.default_rng(1).integers(0, 65536, (5, 7, channels), dtype=np.uint16)
    photo = read_photo(png(levels, depth=16, colour=colour))
    expected = levels if channels >= 3 else levels[..., [0, 0, 0] if channels == 1 else [0, 0, 0, 1]]
    assert photo.pixels.dtype == np.uint16
    assert np.array_equal(photo.pixels, expected)
    assert (photo.facts["bits"], photo.notices) == (16, ())


@pytest.mark.parametrize(("ending", "settings"), DEEP)
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_sixteen_bits_of_tiff_are_kept(ending: str, settings: list[int], shape: tuple[int, ...]) -> None:
    levels = np.random.default_rng(2).integers(0, 65536, shape, dtype=np.uint16)
    data: Any = cv2.imencode(f".{ending}", levels, settings)[1]
    photo = read_photo(data.tobytes())
    assert np.array_equal(photo.pixels, np.stack([levels] * 3, -1) if len(shape) == 2 else levels[..., ::-1])
    assert photo.notices == ()


def test_white_is_zero_is_turned_round_at_sixteen_bits() -> None:
    levels = np.array([[0, 1000, 65535]], np.uint16)
    photo = read_photo(saved(levels, "TIFF", tiffinfo={262: 0}))
    assert photo.pixels[..., 0].tolist() == [[65535, 64535, 0]]


def test_floats_of_0_to_1_become_sixteen_bits_and_others_are_refused() -> None:
    photo = read_photo(saved(np.array([[0.0, 0.5, 1.0]], np.float32), "TIFF"))
    assert photo.pixels[..., 0].tolist() == [[0, 32768, 65535]]
    for bad in (1.5, -0.1, float("nan"), float("inf")):
        with pytest.raises(UnsupportedFormatError, match="brightness"):
            read_photo(saved(np.array([[0.0, bad]], np.float32), "TIFF"))


def test_integers_of_sixteen_bits_are_taken_and_larger_ones_refused() -> None:
    assert read_photo(saved(np.array([[0, 65535]], np.int32), "TIFF")).pixels[..., 0].tolist() == [[0, 65535]]
    with pytest.raises(UnsupportedFormatError):
        read_photo(saved(np.array([[0, 65536]], np.int32), "TIFF"))


@pytest.mark.parametrize("tags", [{254: 1}, {50706: b"\x01\x04\x00\x00"}])
def test_a_raw_file_is_not_taken_for_its_thumbnail(tags: dict[int, object]) -> None:
    with pytest.raises(UnsupportedFormatError, match="raw"):
        read_photo(saved(gradient(), "TIFF", tiffinfo=tags))


@pytest.mark.parametrize(
    ("kind", "settings"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {}), ("AVIF", {})]
)
def test_the_first_of_several_frames_is_used_and_said(kind: str, settings: dict[str, Any]) -> None:
    flat = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    photo = read_photo(saved(flat[0], kind, save_all=True, append_images=flat[1:], duration=100, **settings))
    assert np.abs(photo.pixels.astype(int) - [255, 0, 0]).max() <= 3
    (notice,) = photo.notices
    assert (notice.code, notice.facts, photo.facts["frames"]) == ("animation_first_frame", {"frames": 3}, 3)


def test_the_first_picture_of_a_multi_picture_jpeg_is_used() -> None:
    pictures = [Image.fromarray(gradient()), Image.new("RGB", (40, 24), "red")]
    data = saved(pictures[0], "MPO", save_all=True, append_images=pictures[1:])
    assert np.array_equal(read_photo(data).pixels, np.asarray(Image.open(io.BytesIO(data))))


def test_a_small_bitmap_of_565_bits_is_eight_bits_without_notice() -> None:
    header = b"BM" + (66 + 4).to_bytes(4, "little") + bytes(4) + (66).to_bytes(4, "little")
    info = (
        np.array([40, 2, 1], "<i4").tobytes()
        + np.array([1, 16], "<u2").tobytes()
        + np.array([3, 4, 0, 0, 0, 0], "<i4").tobytes()
    )
    data = (
        header + info + np.array([0xF800, 0x7E0, 0x1F], "<u4").tobytes() + np.array([0xF800, 0x001F], "<u2").tobytes()
    )
    photo = read_photo(data)
    assert photo.pixels.tolist() == [[[255, 0, 0], [0, 0, 255]]]
    assert (photo.facts["bits"], photo.notices) == (8, ())


def test_limits_of_bytes_pixels_and_sides() -> None:
    data = saved(gradient(), "PNG")
    with pytest.raises(TooManyBytesError) as many_bytes:
        read_photo(data, PhotoLimits(max_bytes=len(data) - 1))
    assert many_bytes.value.facts == {"bytes": len(data), "limit": len(data) - 1}
    read_photo(data, PhotoLimits(max_bytes=len(data), max_pixels=960, min_side=24))
    with pytest.raises(TooManyPixelsError) as many_pixels:
        read_photo(data, PhotoLimits(max_pixels=959))
    assert many_pixels.value.facts == {"width": 40, "height": 24, "limit": 959}
    with pytest.raises(TooSmallError):
        read_photo(data, PhotoLimits(min_side=25))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "AVIF", "TIFF", "BMP"])
def test_nothing_is_decoded_over_the_pixel_limit(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_module, "_load", lambda *_: pytest.fail("decoded"))
    with pytest.raises(TooManyPixelsError):
        read_photo(saved(gradient(), kind), PhotoLimits(max_pixels=100))


def test_a_large_webp_is_refused_before_it_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening one takes memory for its whole canvas."""
    monkeypatch.setattr(photo_module, "_open", lambda *_: pytest.fail("opened"))
    for settings in ({"lossless": True}, {"quality": 50}, {"exif": exif(1)}):
        with pytest.raises(TooManyPixelsError) as error:
            read_photo(saved(gradient(), "WEBP", **settings), PhotoLimits(max_pixels=100))
        assert (error.value.facts["width"], error.value.facts["height"]) == (40, 24)


def test_decoding_is_given_up_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(photo_module, "_load", lambda *_: release.wait(20))
    started = time.monotonic()
    with pytest.raises(IntakeTimeoutError) as error:
        read_photo(saved(gradient(), "PNG"), PhotoLimits(timeout_s=0.1))
    assert time.monotonic() - started < 5
    assert error.value.facts == {"timeout_s": 0.1}
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "read_photo")
    release.set()


def test_a_mistake_of_ours_is_not_dressed_up_as_a_bad_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_module, "to_srgb_pixels", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        read_photo(saved(gradient(), "PNG"))


SMALL = {
    kind: saved(gradient(), kind, **settings)
    for kind, settings in [*LOSSLESS, ("JPEG", {}), ("GIF", {}), ("AVIF", {}), ("ICO", {})]
    if kind != "ICO"
}


@given(st.sampled_from(sorted(SMALL)), st.data())
def test_changed_bytes_are_read_or_refused_and_never_crash(kind: str, data: st.DataObject) -> None:
    content = bytearray(SMALL[kind])
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(content)))
    try:
        photo = read_photo(bytes(content[:cut]), PhotoLimits(max_pixels=1_000_000))
    except PermanentError as error:
        assert (error.code, error.message) != ("", "")  # noqa: PT017 - both ends are right
    else:
        assert photo.pixels.ndim == 3
        assert photo.pixels.shape[2] in {3, 4}


@pytest.mark.parametrize("kind", sorted(SMALL))
def test_a_file_cut_in_half_is_refused(kind: str) -> None:
    with pytest.raises((TruncatedError, DamagedError)):
        read_photo(SMALL[kind][: len(SMALL[kind]) // 2])
