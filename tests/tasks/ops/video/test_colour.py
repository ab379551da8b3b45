"""Planes to RGB and back: the standards' numbers, swscale and OpenCV beside us, and no dependence on chunks."""

import time
import tracemalloc
from dataclasses import replace

import av
import cv2
import numpy as np
import pytest
from av.filter import Graph
from av.video.reformatter import ColorRange, Interpolation
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.errors import FrameShapeError
from datasets.planar import PLANAR
from tasks.ops.video.colour import conversion_bytes, from_rgb, to_rgb
from tasks.ops.video.matrices import ColourUnsupportedError
from tests.tasks.ops.video.sample_planes import av_frame, flat, info_of, noise, soft

EXACT = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT
SWSCALE = {"bt709": 1, "fcc": 4, "smpte170m": 5, "smpte240m": 7, "bt2020nc": 9}


# BT.709, 10 bit limited, from the standard's formulas: white 940/512/512; red: Y = 64 + 876 * 0.2126 = 250.2,
# Cb = 512 - 896 * 0.2126 / 1.8556 = 409.3, Cr = 512 + 448 = 960.
# BT.601, 8 bit full (JFIF): red 76/85/255 (255.5 is clipped).
@pytest.mark.parametrize(
    ("name", "matrix", "range_", "rgb", "codes"),
    [
        ("yuv444p10le", "bt709", "tv", (65535, 65535, 65535), (940, 512, 512)),
        ("yuv444p10le", "bt709", "tv", (65535, 0, 0), (250, 409, 960)),
        ("yuv444p10le", "bt709", "tv", (0, 0, 0), (64, 512, 512)),
        ("yuv444p", "bt709", "tv", (0, 255, 0), (173, 42, 26)),
        ("yuv444p", "smpte170m", "tv", (255, 0, 0), (81, 90, 240)),
        ("yuv444p", "bt470bg", "tv", (0, 0, 255), (41, 240, 110)),
        ("yuvj444p", "smpte170m", "tv", (255, 0, 0), (76, 85, 255)),
        ("yuv444p", "smpte170m", "pc", (0, 0, 255), (29, 255, 107)),
        ("yuv444p10le", "bt2020nc", "tv", (0, 0, 65535), (116, 960, 476)),
        ("yuv444p", "fcc", "tv", (0, 255, 0), (145, 54, 34)),
        ("yuv444p", "smpte240m", "tv", (0, 255, 0), (170, 42, 28)),
        ("yuv444p", "gbr", "tv", (255, 0, 128), (16, 126, 235)),
        ("yuv444p", "gbr", "pc", (255, 0, 128), (0, 128, 255)),
        ("yuv444p", "ycgco", "pc", (0, 255, 0), (128, 255, 128)),
        ("yuv444p", "ycgco", "tv", (255, 0, 0), (71, 73, 238)),
        ("gbrp", "unspecified", "unspecified", (255, 0, 128), (0, 128, 255)),
        ("gbrp10le", "bt709", "tv", (65535, 0, 32768), (0, 512, 1023)),
    ],
)
def test_codes_of_the_standards(
    name: str, matrix: str, range_: str, rgb: tuple[int, ...], codes: tuple[int, ...]
) -> None:
    info = info_of(name, 2, 3, matrix=matrix, range=range_)
    deep = PLANAR[name].depth > 8
    image = np.full((1, 2, 3, 3), rgb, np.uint16 if deep else np.uint8)
    planes = from_rgb(image, info)
    assert tuple(int(plane.flat[0]) for plane in planes.values()) == codes
    back = to_rgb(planes, info).astype(int)
    assert np.abs(back - image).max() <= (65535 / 876 if deep else 2)


@pytest.mark.parametrize(
    ("height", "width", "red_luma"), [(720, 960, 63), (540, 1280, 63), (576, 720, 81), (577, 720, 63)]
)
def test_an_unspecified_matrix_is_guessed_by_size(height: int, width: int, red_luma: int) -> None:
    red = np.zeros((1, height, width, 3), np.uint8)
    red[..., 0] = 255
    assert from_rgb(red, info_of("yuv420p", height, width))["y"][0, 0, 0] == red_luma


def test_gray_is_full_where_nothing_is_said_and_limited_where_it_is() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    full = to_rgb({"y": ramp}, info_of("gray", 16, 16))
    assert (full == ramp[..., None]).all()
    limited = to_rgb({"y": ramp}, info_of("gray", 16, 16, range="tv"))
    assert [int(v) for v in limited[0].reshape(-1, 3)[[16, 126, 235], 1]] == [0, 128, 255]
    back = from_rgb(full, info_of("gray", 16, 16))
    assert (back["y"] == ramp).all()


@pytest.mark.parametrize("name", [name for name, fmt in PLANAR.items() if fmt.family == "yuv"])
def test_greys_are_neutral_and_rise(name: str) -> None:
    fmt = PLANAR[name]
    info = info_of(name, 4, 256, matrix="bt709")
    planes = flat(info, y=0, u=1 << (fmt.depth - 1), v=1 << (fmt.depth - 1), a=0)
    planes["y"][:] = np.linspace(0, 2**fmt.depth - 1, 256).round().astype(fmt.dtype)
    rgb = to_rgb(planes, info)
    assert (rgb[..., :1] == rgb[..., 1:3]).all()
    assert (np.diff(rgb[0, 0, :, 0].astype(int)) >= 0).all()
    assert rgb[0, 0, 0, 0] == 0
    assert rgb[0, 0, -1, 0] == np.iinfo(rgb.dtype).max


@pytest.mark.parametrize("name", PLANAR)
@pytest.mark.parametrize("location", ["left", "center", "topleft", "bottom"])
def test_flat_colours_come_back_in_every_format(name: str, location: str) -> None:
    fmt = PLANAR[name]
    info = info_of(name, 7, 9, matrix="bt709", chroma_location=location)
    image = np.empty((1, 7, 9, fmt.channels), np.uint8 if fmt.depth == 8 else np.uint16)
    image[:] = np.array([180, 90, 60, 200][: fmt.channels]) * (1 if fmt.depth == 8 else 257)
    if fmt.family == "gray":
        image[..., :3] = image[..., :1]
    planes = from_rgb(image, info)
    assert all((plane == plane.flat[0]).all() for plane in planes.values())
    back = to_rgb(planes, info)
    assert (back == back[0, 0, 0]).all()
    step = 1 if fmt.family != "yuv" and fmt.depth == 8 else 65535 * 1.7 / 2**fmt.depth if fmt.depth > 8 else 2
    assert np.abs(back.astype(int) - image).max() <= step
    again = from_rgb(back, info)
    assert all(np.abs(again[plane].astype(int) - planes[plane]).max() <= (fmt.depth == 8) for plane in planes)


@pytest.mark.parametrize("name", ["yuv444p10le", "yuv444p12le", "yuv444p16le", "gbrp10le", "gbrp", "gbrap12le"])
@pytest.mark.parametrize("matrix", ["bt709", "smpte170m", "bt2020nc", "ycgco"])
def test_eight_bit_rgb_survives_deeper_planes(name: str, matrix: str) -> None:
    info = info_of(name, 64, 64, matrix=matrix, range="tv")
    image = np.random.default_rng(1).integers(0, 256, (1, 64, 64, PLANAR[name].channels)).astype(np.uint8)
    scale = 1 if name == "gbrp" else 257
    back = to_rgb(from_rgb(image, info), info)
    assert np.abs(np.rint(back / scale) - image).max() <= (1 if name == "yuv444p10le" else 0)


@pytest.mark.parametrize("name", ["yuv444p9le", "yuv444p10le", "yuv444p12le", "yuv444p14le", "yuva444p12le"])
@pytest.mark.parametrize("range_", ["tv", "pc"])
def test_planes_of_full_size_survive_rgb_exactly(name: str, range_: str) -> None:
    info = info_of(name, 40, 50, matrix="bt709", range=range_)
    planes = soft(info, 0.42, 0.58)
    back = from_rgb(to_rgb(planes, info), info)
    assert all((back[plane] == planes[plane]).all() for plane in planes)


@pytest.mark.parametrize("matrix", SWSCALE)
@pytest.mark.parametrize("range_", ["tv", "pc"])
@pytest.mark.parametrize(
    "name", ["yuv444p", "yuv420p", "yuv422p", "yuv440p", "yuv411p", "yuv410p", "yuv444p12le", "yuva420p"]
)
def test_swscale_agrees(name: str, matrix: str, range_: str) -> None:
    info = info_of(name, 48, 64, matrix=matrix, range=range_, chroma_location="center")  # where reformat sees it
    planes = soft(info)
    tags = {"src_colorspace": SWSCALE[matrix], "dst_colorspace": SWSCALE[matrix]}
    deep = PLANAR[name].depth > 8
    wanted = (
        av_frame(planes, info)
        .reformat(
            format="rgb48le" if deep else "rgba" if PLANAR[name].alpha else "rgb24",
            **tags,
            src_color_range=ColorRange.MPEG if range_ == "tv" else ColorRange.JPEG,
            dst_color_range=ColorRange.JPEG,
            interpolation=EXACT,
        )
        .to_ndarray()
    )
    # one step of rounding; at 16 bit swscale's white is 255 * 256
    assert np.abs(to_rgb(planes, info)[0].astype(int) - wanted).max() <= (256 if deep else 1)


@pytest.mark.parametrize("location", ["left", "topleft", "center"])
def test_swscale_agrees_on_where_colour_lies(location: str) -> None:
    info = info_of("yuv420p", 48, 64, matrix="smpte170m", range="tv", chroma_location=location)
    planes = soft(info)
    graph = Graph()
    source = graph.add_buffer(width=64, height=48, format=av.VideoFormat("yuv420p"), time_base=info.time_base)
    flags = "bilinear+accurate_rnd+full_chroma_int+bitexact"
    scale = graph.add(
        "scale", f"flags={flags}:in_chroma_loc={location}:in_range=tv:out_range=pc:in_color_matrix=smpte170m"
    )
    graph.link_nodes(source, scale, graph.add("format", "rgb24"), graph.add("buffersink")).configure()
    graph.push(av_frame(planes, info))
    wanted = graph.vpull().to_ndarray().astype(int)
    apart = np.abs(to_rgb(planes, info)[0] - wanted)
    assert apart.max() <= 2
    assert apart.mean() < 0.05
    elsewhere = replace(info, colour=replace(info.colour, chroma_location="center" if location != "center" else "left"))
    assert np.abs(to_rgb(planes, elsewhere)[0] - wanted).mean() > 0.5


def test_opencv_agrees_on_bt601() -> None:
    info = info_of("yuv444p", 48, 64, matrix="smpte170m", range="pc")
    planes = soft(info)
    merged = np.stack([planes["y"][0], planes["v"][0], planes["u"][0]], axis=-1)
    assert np.abs(to_rgb(planes, info)[0].astype(int) - cv2.cvtColor(merged, cv2.COLOR_YCrCb2RGB)).max() <= 1
    image = np.random.default_rng(2).integers(0, 256, (1, 48, 64, 3)).astype(np.uint8)
    back = from_rgb(image, info)
    wanted = cv2.cvtColor(image[0], cv2.COLOR_RGB2YCrCb).astype(int)
    assert max(np.abs(wanted[..., i] - back[n][0]).max() for i, n in enumerate("yvu")) <= 1


def test_samples_lie_where_the_tags_say() -> None:
    # one row of colour differences 128, 192, 128 (full range, Cr only): red above its grey by 1.402 * (v - 128)
    def red(location: str) -> list[int]:
        info = info_of("yuv422p", 1, 6, matrix="smpte170m", range="pc", chroma_location=location)
        planes = flat(info, y=100, u=128, v=128)
        planes["v"][0, 0, 1] = 192
        return [int(v) - 100 for v in to_rgb(planes, info)[0, 0, :, 0]]

    assert red("left") == [0, 45, 90, 45, 0, 0]  # 64 * 1.402 = 89.7 on the sample, half of it beside
    assert red("center") == [0, 22, 67, 67, 22, 0]  # a quarter and three quarters


def test_shrinking_is_the_mean_around_the_sample() -> None:
    def differences(location: str) -> list[int]:
        info = info_of("yuv422p", 1, 6, matrix="ycgco", range="pc", chroma_location=location)
        image = np.zeros((1, 1, 6, 3), np.uint8)
        image[..., 2, 0] = 160  # Co = (R - B) / 2 = 80
        return [int(v) - 128 for v in from_rgb(image, info)["v"][0, 0]]

    assert differences("left") == [0, 40, 0]  # [1 2 1] / 4 around pixel 2
    assert differences("center") == [0, 40, 0]  # pixels 2 and 3
    info = info_of("yuv422p", 1, 6, matrix="ycgco", range="pc")
    image = np.zeros((1, 1, 6, 3), np.uint8)
    image[..., 3, 0] = 160
    assert [int(v) - 128 for v in from_rgb(image, info)["v"][0, 0]] == [0, 20, 20]  # a quarter to each neighbour


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(PLANAR)), st.integers(1, 40), st.integers(1, 40),
    st.sampled_from(["left", "topleft", "bottom"]), st.integers(1, 3), st.integers(0, 2**16),
)  # fmt: skip
def test_frames_at_once_change_nothing(name: str, height: int, width: int, location: str, cut: int, seed: int) -> None:
    info = info_of(name, height, width, chroma_location=location)
    planes = noise(info, 4, seed)
    whole = to_rgb(planes, info)
    parts = [to_rgb({n: p[at : at + cut] for n, p in planes.items()}, info) for at in range(0, 4, cut)]
    assert (np.concatenate(parts) == whole).all()
    back = from_rgb(whole, info)
    pieces = [from_rgb(whole[at : at + cut], info) for at in range(0, 4, cut)]
    assert all((np.concatenate([piece[n] for piece in pieces]) == back[n]).all() for n in back)


@pytest.mark.parametrize("name", ["yuv420p", "yuv410p", "yuv422p10le", "yuva420p", "gray"])
@pytest.mark.parametrize("location", ["left", "topleft", "bottomleft"])
def test_strips_leave_no_seams(name: str, location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    info = info_of(name, 37, 21, chroma_location=location)
    planes = noise(info)
    whole = to_rgb(planes, info)
    back = from_rgb(whole, info)
    monkeypatch.setattr("tasks.ops.video.colour._STRIP_PIXELS", 1)
    assert (to_rgb(planes, info) == whole).all()
    assert all((plane == back[n]).all() for n, plane in from_rgb(whole, info).items())


def test_alpha_is_full_range_and_opaque_where_it_is_missing() -> None:
    info = info_of("yuva420p10le", 2, 4, range="tv", matrix="bt709")
    planes = flat(info, y=64, u=512, v=512, a=1023)
    planes["a"][0, 0] = [0, 1, 512, 1023]
    assert to_rgb(planes, info)[0, 0, :, 3].tolist() == [0, 64, 32800, 65535]
    assert (from_rgb(to_rgb(planes, info), info)["a"] == planes["a"]).all()
    assert (from_rgb(np.zeros((1, 2, 4, 3), np.uint8), info)["a"] == 1023).all()


@pytest.mark.parametrize("matrix", ["ictcp", "smpte2085"])
def test_a_matrix_beyond_us_is_refused(matrix: str) -> None:
    info = info_of("yuv420p", matrix=matrix)
    with pytest.raises(ColourUnsupportedError, match=matrix):
        to_rgb(noise(info), info)


def test_wrong_planes_and_frames_are_refused() -> None:
    info = info_of("yuv420p")
    planes = noise(info)
    with pytest.raises(FrameShapeError, match="yuv420p"):
        to_rgb({**planes, "u": planes["y"]}, info)
    with pytest.raises(FrameShapeError, match="uint8"):
        to_rgb({n: p.astype(np.uint16) for n, p in planes.items()}, info)
    with pytest.raises(FrameShapeError, match="with_pixels"):
        from_rgb(np.zeros((1, 3, 3, 3), np.uint8), info)
    with pytest.raises(FrameShapeError, match="rgb24"):
        to_rgb(planes, replace(info, pixel_format="rgb24"))


@pytest.mark.parametrize("name", ["yuv420p", "yuv420p10le", "yuva444p12le", "gbrp", "gray", "yuv410p"])
@pytest.mark.parametrize("size", [(720, 1280), (8, 8192), (3, 2)])
def test_the_stated_memory_is_enough(name: str, size: tuple[int, int]) -> None:
    info = info_of(name, *size)
    planes = noise(info)
    tracemalloc.start()
    rgb = to_rgb(planes, info)
    to_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    tracemalloc.start()
    from_rgb(rgb, info)
    from_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    stated = conversion_bytes(info)
    assert max(to_peak, from_peak) - 20_000 <= stated  # the interpreter's own small things
    if size == (720, 1280):
        assert stated <= 4 * max(to_peak, from_peak)


@pytest.mark.slow
def test_conversion_keeps_pace_with_opencv() -> None:
    info = info_of("yuv420p", 720, 1280)
    planes = noise(info)
    rgb = to_rgb(planes, info)
    began = time.process_time()
    for _ in range(5):
        from_rgb(to_rgb(planes, info), info)
    assert rgb.shape == (1, 720, 1280, 3)
    assert (time.process_time() - began) / 5 < 0.06  # 11 ms on a quiet core
