"""Profiles, inks and depth: the colours of a photograph come out as sRGB."""

import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from tasks.ops.depth import to_uint8
from tasks.ops.photo import read_photo
from tasks.ops.photo_containers import photo_body
from tasks.ops.sniff import KINDS
from tests.shared_data import fixture
from tests.tasks.ops import picture_files as files
from tests.tasks.ops.picture_files import chunk, gradient, png, saved

# Display P3 to sRGB in linear light, both with white D65. Source: SMPTE EG 432-1 and IEC 61966-2-1 primaries
P3_TO_SRGB = np.array([[1.2249401, -0.2249404, 0], [-0.0420569, 1.0420571, 0], [-0.0196376, -0.0786361, 1.0982735]])


def srgb_codes(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.clip(linear, 0, 1)
    return np.where(clipped <= 0.0031308, clipped * 12.92, 1.055 * clipped ** (1 / 2.4) - 0.055) * 255


def profile_bytes(kind_and_spaces: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A small ICC version 2 profile. Source: ICC.1:2001-04, 6.1 and 6.2."""
    tags = {
        **tags,
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"Test\x00" + bytes(79),
    }
    directory, body, at = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        directory += name + struct.pack(">2I", at + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I", at + len(body)) + bytes(4) + struct.pack(">I", 0x02400000) + kind_and_spaces + bytes(12)
    return head + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061) + bytes(48) + directory + body


def xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


def matrix_profile(space: bytes, gamma: float, columns: dict[bytes, tuple[float, float, float]]) -> bytes:
    curve = b"curv" + bytes(4) + struct.pack(">IHH", 1, round(gamma * 256), 0)
    curves = [b"kTRC"] if space == b"GRAY" else [b"rTRC", b"gTRC", b"bTRC"]
    return profile_bytes(
        b"mntr" + space + b"XYZ ",
        {**dict.fromkeys(curves, curve), **{name: xyz(*column) for name, column in columns.items()}},
    )


P3 = matrix_profile(  # colorants adapted to D50 by Bradford
    b"RGB ",
    2.2,
    {b"rXYZ": (0.51512, 0.2412, -0.00105), b"gXYZ": (0.29198, 0.69225, 0.04189), b"bXYZ": (0.1571, 0.06657, 0.78407)},
)
GREY_18 = matrix_profile(b"GRAY", 1.8, {})


def p3_to_srgb(codes: NDArray[Any], gamma: float) -> NDArray[np.float64]:
    return srgb_codes((codes / 255.0) ** gamma @ P3_TO_SRGB.T)


def notices(data: bytes) -> list[str]:
    return [notice.code for notice in read_photo(data).notices]


def test_display_p3_of_the_fixture_is_converted() -> None:
    path = fixture("hostile/icc_display_p3.jpg")
    photo = read_photo(path.read_bytes())
    stored = np.asarray(Image.open(path), dtype=float)
    distance = np.abs(photo.pixels - p3_to_srgb(stored, 2.2))
    assert distance.mean() < 0.3  # rounding alone is 0.25
    assert distance.max() < 1.1
    assert np.abs(photo.pixels - stored).mean() > 5  # so that an unconverted picture cannot pass
    assert (photo.had_profile, photo.facts["icc"], photo.notices) == (True, "Display P3 like", ())


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_a_profile_is_found_in_every_format(kind: str) -> None:
    colour = (np.indices((16, 16)).sum(0) * 0 + 1)[..., None] * np.array([200, 120, 60])
    pixels = read_photo(saved(colour.astype(np.uint8), kind, icc_profile=P3, quality=100)).pixels
    expected = p3_to_srgb(np.array([200, 120, 60]), 2.2)
    assert np.abs(pixels - expected).max() < (1.1 if kind in {"PNG", "TIFF"} else 6)
    assert abs(expected[0] - 200) > 8


def test_alpha_goes_through_a_conversion_untouched() -> None:
    picture = np.dstack([gradient(), np.arange(960, dtype=np.uint8).reshape(24, 40)])
    pixels = read_photo(saved(picture, "PNG", icc_profile=P3)).pixels
    assert np.array_equal(pixels[..., 3], picture[..., 3])
    assert np.abs(pixels[..., :3] - p3_to_srgb(gradient(), 2.2)).max() < 1.1


@pytest.mark.parametrize("alpha", [False, True])
def test_grey_with_a_grey_profile(alpha: bool) -> None:
    grey = np.arange(256, dtype=np.uint8)[None]
    opacity = np.full_like(grey, 99)
    data = png(
        np.dstack([grey, opacity]) if alpha else grey,
        colour=files.GREY_ALPHA if alpha else files.GREY,
        before=iccp(GREY_18),
    )
    pixels = read_photo(data).pixels
    assert pixels.shape[2] == (4 if alpha else 3)
    expected = srgb_codes((grey / 255.0) ** 1.8)
    assert np.abs(pixels[..., 1] - expected).max() < 1.5


def iccp(profile: bytes) -> bytes:
    return chunk(b"iCCP", b"name\x00\x00" + zlib.compress(profile))


def test_an_srgb_profile_changes_no_pixel_and_no_depth() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    levels = np.random.default_rng(3).integers(0, 65536, (4, 4, 3), dtype=np.uint16)
    photo = read_photo(png(levels, depth=16, before=iccp(srgb)))
    assert np.array_equal(photo.pixels, levels)
    assert (photo.had_profile, photo.notices) == (True, ())


def test_sixteen_bits_with_another_profile_become_eight_and_say_so() -> None:
    levels = gradient().astype(np.uint16) * 257
    photo = read_photo(png(levels, depth=16, before=iccp(P3)))
    assert photo.pixels.dtype == np.uint8
    assert np.abs(photo.pixels - p3_to_srgb(gradient(), 2.2)).max() < 1.1
    assert [notice.code for notice in photo.notices] == ["depth_reduced"]


@pytest.mark.parametrize(
    "profile", [b"x", P3[:200], P3[:36] + b"nope" + P3[40:], bytes(128), P3.replace(b"rTRC", b"zzzz")]
)
def test_a_broken_profile_is_ignored_and_said(profile: bytes) -> None:
    data = saved(gradient(), "PNG", icc_profile=profile)
    assert np.array_equal(read_photo(data).pixels, gradient())
    assert notices(data) == ["profile_ignored"]
    assert read_photo(data).had_profile


def test_a_profile_for_other_channels_is_ignored_and_said() -> None:
    data = saved(gradient(), "PNG", icc_profile=GREY_18)
    assert np.array_equal(read_photo(data).pixels, gradient())
    (notice,) = read_photo(data).notices
    assert notice.facts == {"reason": "it is for GRAY and the picture is RGB"}


def test_inks_without_a_profile_come_near_their_source() -> None:
    photo = read_photo(fixture("hostile/cmyk.jpg").read_bytes())
    source = np.asarray(Image.open(fixture("images/coffee.png")).convert("RGB"), dtype=float)
    assert np.abs(photo.pixels - source).mean() < 2.5  # measured 1.82, of JPEG; an inverted one has 111
    assert np.abs(255 - photo.pixels - source).mean() > 50


def test_inks_in_tiff_are_not_inverted() -> None:
    inks = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # magenta and yellow make red
    assert read_photo(saved(inks, "TIFF")).pixels[0, 0].tolist() == [255, 0, 0]


def test_inks_with_a_profile_go_through_it() -> None:
    inks = Image.new("CMYK", (8, 8), (10, 200, 190, 20))
    profile = ink_profile()
    red, green, blue = (int(v) for v in read_photo(saved(inks, "TIFF", icc_profile=profile)).pixels[0, 0])
    plain = read_photo(saved(inks, "TIFF")).pixels[0, 0].tolist()
    assert [red, green, blue] != plain
    # the table below maps every ink to L* 50, a* 40, b* 20; that is X .2635, Y .1842, Z .0851 (D50),
    # by Bradford and the inverse of the sRGB matrix .4863, .0978, .0964 in linear light
    assert np.abs(np.array([red, green, blue]) - [185, 88, 87]).max() <= 2


def ink_profile() -> bytes:
    """A CMYK profile whose only table sends everything to one colour, in ICC version 2 Lab16."""
    lab = [50 * 65280 // 100, (40 + 128) * 256, (20 + 128) * 256]
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    line = struct.pack(">2H", 0, 65535)
    table = b"mft2" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + struct.pack(">2H", 2, 2) + line * 4
    table += struct.pack(">3H", *lab) * 16 + line * 3
    return profile_bytes(b"prtrCMYKLab ", {b"A2B0": table, b"A2B1": table})


def test_lab_tiff_is_converted() -> None:
    grey = Image.new("LAB", (4, 4), (128, 128, 128))  # L* 50.2 of 100, neutral: sRGB 119 or 120
    assert np.abs(read_photo(saved(grey, "TIFF")).pixels.astype(int) - 119).max() <= 2


def test_sixteen_bit_grey_of_the_fixture_against_another_decoder() -> None:
    path = fixture("hostile/gray16.png")
    expected: Any = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    pixels = read_photo(path.read_bytes()).pixels
    assert np.array_equal(pixels, np.stack([expected] * 3, -1))
    assert np.array_equal(to_uint8(pixels)[..., 0], np.rint(expected / 257))
    assert 20 < to_uint8(pixels).mean() < 235


def test_ten_bits_of_avif_are_read_in_eight_and_said() -> None:
    data = bytearray(saved(gradient(), "AVIF"))
    assert notices(bytes(data)) == []
    data[data.index(b"av1C") + 6] |= 0x40
    assert photo_body(bytes(data), KINDS["avif"]).bits == 10
