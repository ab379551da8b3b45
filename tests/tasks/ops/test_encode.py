"""Published files: exact where they can be, in sRGB, without a trace of the camera, the same bytes every time."""

import hashlib
import io
import struct
import subprocess
import sys
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from datasets.errors import FrameShapeError
from tasks.ops.encode import (
    FormatLimitError,
    PictureFormat,
    encode_picture,
    extension,
    flatten,
    media_type,
    srgb_profile,
)
from tests.tasks.ops.picture_files import gradient

FORMATS: tuple[PictureFormat, ...] = ("png", "jpeg", "webp", "avif")

# what Pillow tells of a file's structure; text, dates and positions would come under other names
ALLOWED_INFO = {"icc_profile", "jfif", "jfif_version", "jfif_unit", "jfif_density", "progressive", "progression"} | {
    "loop", "background", "timestamp", "duration"
}  # fmt: skip


def cutout() -> NDArray[np.uint8]:
    """Colours everywhere, alpha from nothing to all."""
    alpha = np.linspace(0, 255, 960).round().astype(np.uint8).reshape(24, 40)
    return np.dstack([gradient(), alpha])


def decoded(data: bytes) -> NDArray[Any]:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("channels", [3, 4])
def test_png_is_exact_at_eight_bits(channels: int) -> None:
    picture = cutout()[..., :channels]
    assert np.array_equal(decoded(encode_picture(picture, format="png", quality=1)), picture)


@pytest.mark.parametrize("channels", [3, 4])
def test_png_is_exact_at_sixteen_bits(channels: int) -> None:
    picture = np.random.default_rng(1).integers(0, 65536, (9, 11, channels), dtype=np.uint16)
    data = encode_picture(picture, format="png", quality=90)
    back: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert back.dtype == np.uint16
    assert np.array_equal(back, picture[..., [2, 1, 0, 3][:channels]])


def test_lossless_webp_keeps_hidden_colours() -> None:
    assert np.array_equal(decoded(encode_picture(cutout(), format="webp", quality=80, lossless=True)), cutout())


@pytest.mark.parametrize("format_", ["webp", "avif"])
def test_lossy_formats_keep_alpha_and_come_near(format_: PictureFormat) -> None:
    back = decoded(encode_picture(cutout(), format=format_, quality=95)).astype(int)
    assert np.abs(back[..., 3] - cutout()[..., 3]).max() <= (0 if format_ == "webp" else 4)
    assert np.abs(back[..., :3] - cutout()[..., :3]).mean() < 5


@pytest.mark.parametrize("format_", ["jpeg", "webp"])
def test_sixteen_bits_are_rounded_elsewhere(format_: PictureFormat) -> None:
    """128 is nearer to 0 than 257 is: a picture of 128s is as black as one of 0s, one of 129s is not."""
    flat = [np.full((16, 16, 3), level, np.uint16) for level in (0, 128, 129, 65535)]
    files = [encode_picture(picture, format=format_, quality=95, lossless=format_ == "webp") for picture in flat]
    eight = encode_picture(np.full((16, 16, 3), 255, np.uint8), format=format_, quality=95, lossless=format_ == "webp")
    assert files[0] == files[1] != files[2]
    assert files[3] == eight


def test_transparency_is_mixed_in_linear_light() -> None:
    # half of white over black is 0.5 in linear light: sRGB 188, where mixing codes would give 128
    half = np.full((8, 8, 4), 255, np.uint8)
    half[..., 3] = 128
    flat = flatten(half, (0, 0, 0))
    assert flat.shape == (8, 8, 3)
    assert np.unique(flat).tolist() == [188]
    assert abs(int(decoded(encode_picture(half, format="jpeg", quality=95, background=(0, 0, 0)))[0, 0, 0]) - 188) <= 1


def test_flattening_keeps_what_is_opaque_and_shows_the_background_elsewhere() -> None:
    picture = cutout()
    picture[..., 3] = 255
    assert np.array_equal(flatten(picture, (1, 2, 3)), gradient())
    picture[..., 3] = 0
    assert np.unique(flatten(picture, (1, 2, 3)).reshape(-1, 3), axis=0).tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("size", [(220, 300), (1, 4000), (600, 700)])
def test_noise_which_no_encoder_makes_smaller_fits_into_a_jpeg(size: tuple[int, int], capfd: Any) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (*size, 3), dtype=np.uint8)
    made = encode_picture(noise, format="jpeg", quality=100)
    assert decoded(made).shape == noise.shape
    assert capfd.readouterr().err == ""


def test_flattening_in_bands_is_seamless() -> None:
    tall = np.repeat(np.repeat(cutout()[:1], 600, axis=0), 2, axis=1)
    flat = flatten(tall, (255, 255, 255))
    assert (flat == flat[:1]).all()


@pytest.mark.parametrize(("quality", "layers"), [(89, (2, 2)), (90, (1, 1))])
def test_jpeg_chroma_is_full_from_quality_90(quality: int, layers: tuple[int, int]) -> None:
    data = encode_picture(gradient(), format="jpeg", quality=quality)
    image: Any = Image.open(io.BytesIO(data))
    assert image.layer[0][1:3] == layers
    assert image.info.get("progressive")


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_file_says_srgb_and_nothing_else(format_: PictureFormat, dtype: Any) -> None:
    image = Image.open(io.BytesIO(encode_picture(cutout().astype(dtype), format=format_, quality=80)))
    assert image.format is not None
    assert image.format.lower() == format_
    assert image.info["icc_profile"] == srgb_profile()
    assert not image.getexif()
    assert set(image.info) <= ALLOWED_INFO


def test_png_chunks_are_in_order_and_sound() -> None:
    data = encode_picture(gradient(), format="png", quality=80)
    at, names = 8, []
    while at < len(data):
        length, name = struct.unpack(">I4s", data[at : at + 8])
        assert zlib.crc32(data[at + 4 : at + 8 + length]) == int.from_bytes(
            data[at + 8 + length : at + 12 + length], "big"
        )
        names.append(name)
        at += 12 + length
    assert names[:2] == [b"IHDR", b"iCCP"]
    assert names[-1] == b"IEND"
    assert set(names) == {b"IHDR", b"iCCP", b"IDAT", b"IEND"}


def test_the_profile_is_srgb_and_carries_no_clock() -> None:
    profile = srgb_profile()
    assert profile[24:36] == struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    assert profile[84:100] == bytes(16)
    assert int.from_bytes(profile[:4], "big") == len(profile) < 1000
    ours = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    probe = Image.fromarray(gradient())
    same = ImageCms.profileToProfile(probe, ours, ImageCms.createProfile("sRGB"))
    assert same is not None
    assert np.abs(np.asarray(same).astype(int) - gradient()).max() <= 1


DIGESTS = """
import hashlib
import numpy as np
from tasks.ops.encode import encode_picture
rng = np.random.default_rng(7)
picture = rng.integers(0, 256, (40, 56, 4), dtype=np.uint8)
for format in ("png", "jpeg", "webp", "avif"):
    for pixels in (picture, picture[..., :3], picture.astype(np.uint16) * 257 + 5):
        print(hashlib.sha256(encode_picture(pixels, format=format, quality=91)).hexdigest())
"""


def test_bytes_are_the_same_in_every_process() -> None:
    command = [sys.executable, "-c", DIGESTS]
    first, second = (subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2))
    assert first == second
    assert len(first.split()) == 12
    picture = np.random.default_rng(7).integers(0, 256, (40, 56, 4), dtype=np.uint8)
    here = hashlib.sha256(encode_picture(picture, format="png", quality=91)).hexdigest()
    assert here == first.split()[0]


@pytest.mark.parametrize(("format_", "limit"), [("webp", 16_383), ("jpeg", 65_500), ("avif", 65_536)])
def test_a_side_over_the_limit_of_a_format_is_refused(format_: PictureFormat, limit: int) -> None:
    if format_ != "avif":  # AVIF of this width takes long
        encode_picture(np.zeros((1, limit, 3), np.uint8), format=format_, quality=50)
    for shape in ((1, limit + 1, 3), (limit + 1, 1, 3)):
        with pytest.raises(FormatLimitError) as error:
            encode_picture(np.zeros(shape, np.uint8), format=format_, quality=50)
        assert error.value.facts["limit"] == limit
        assert error.value.code == "format_limit"


def test_lossless_avif_is_refused_rather_than_nearly_kept() -> None:
    with pytest.raises(FormatLimitError, match="webp"):
        encode_picture(gradient(), format="avif", quality=100, lossless=True)


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
)
def test_other_shapes_and_types_are_refused(bad: Any) -> None:
    with pytest.raises(FrameShapeError):
        encode_picture(bad, format="png", quality=90)


@pytest.mark.parametrize("format_", FORMATS)
def test_arrays_that_are_views_and_single_pixels(format_: PictureFormat) -> None:
    view = cutout()[::-2, ::3]
    same = np.ascontiguousarray(view)
    assert encode_picture(view, format=format_, quality=80) == encode_picture(same, format=format_, quality=80)
    assert decoded(encode_picture(view[:1, :1], format=format_, quality=80)).shape[:2] == (1, 1)


def test_names_of_formats() -> None:
    assert [(extension(f), media_type(f)) for f in FORMATS] == [
        ("png", "image/png"),
        ("jpg", "image/jpeg"),
        ("webp", "image/webp"),
        ("avif", "image/avif"),
    ]
