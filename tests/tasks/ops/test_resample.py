from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from datasets.errors import FrameShapeError
from tasks.ops import resample
from tasks.ops.geometry import Region
from tasks.ops.resample import Kernel, resample_frames, resample_input_region, resample_input_span, resize_image

KERNELS: list[Kernel] = ["lanczos3", "bicubic", "area", "triangle"]
PILLOW: dict[Kernel, Image.Resampling] = {
    "lanczos3": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "triangle": Image.Resampling.BILINEAR,
}


def noise(shape: tuple[int, ...], dtype: Any = np.uint8, seed: int = 0) -> NDArray[Any]:
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.random(shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def row(values: list[int], dtype: Any = np.uint8) -> NDArray[Any]:
    return np.array(values, dtype=dtype).reshape(1, -1, 1)


def resampled(
    frames: NDArray[Any],
    region: Region,
    in_size: tuple[int, int],
    out_size: tuple[int, int],
    kernel: Kernel,
    linear_light: bool = False,
) -> NDArray[Any]:
    read = resample_input_region(region, in_size=in_size, out_size=out_size, kernel=kernel)
    part = frames[read.slices]
    return resample_frames(
        part, read=read, region=region, in_size=in_size, out_size=out_size, kernel=kernel, linear_light=linear_light
    )


@pytest.mark.parametrize("kernel", PILLOW)
@pytest.mark.parametrize("size", [(31, 17), (133, 40), (64, 48), (7, 91)])
def test_agrees_with_pillow(kernel: Kernel, size: tuple[int, int]) -> None:
    image = 64 + noise((48, 64, 3)) // 2  # no overshoot leaves 0..255: Pillow clips between its two passes
    expected = np.asarray(Image.fromarray(image).resize(size, PILLOW[kernel])).astype(int)
    assert np.abs(resize_image(image, *size, kernel=kernel).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("kernel", PILLOW)
def test_agrees_with_pillow_in_floats(kernel: Kernel) -> None:
    image = noise((48, 64, 1), np.float32)
    expected = np.asarray(Image.fromarray(image[..., 0]).resize((133, 19), PILLOW[kernel]))
    np.testing.assert_allclose(resize_image(image, 133, 19, kernel=kernel)[..., 0], expected, atol=2e-6)


@pytest.mark.parametrize("size", [(31, 17), (32, 24), (5, 48)])
def test_area_agrees_with_opencv_when_shrinking(size: tuple[int, int]) -> None:
    image = noise((48, 64, 3))
    expected = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(resize_image(image, *size, kernel="area").astype(int) - expected).max() <= 1


def test_area_is_the_mean_and_ties_go_to_even() -> None:
    assert resize_image(row([100, 101, 101, 102]), 2, 1, kernel="area").ravel().tolist() == [100, 102]
    # two pixels of three: 1.5 input pixels each
    assert resize_image(row([30, 60, 90]), 2, 1, kernel="area").ravel().tolist() == [40, 80]


def test_triangle_enlarges_by_pixel_centres() -> None:
    # middles at 0.25, 0.75, 1.25, 1.75 of two pixels whose middles are 0.5 and 1.5
    assert resize_image(row([0, 100]), 4, 1, kernel="triangle").ravel().tolist() == [0, 25, 75, 100]


def test_linear_light_averages_light() -> None:
    assert resize_image(row([0, 255]), 1, 1, kernel="area", linear_light=True).ravel().tolist() == [188]
    assert resize_image(row([0, 255]), 1, 1, kernel="area").ravel().tolist() == [128]


@pytest.mark.parametrize("kernel", KERNELS)
def test_hidden_colours_leave_no_fringe(kernel: Kernel) -> None:
    image = np.zeros((8, 8, 4), dtype=np.uint8)
    image[..., 1] = 255  # green where nothing is seen
    image[:, :4] = (255, 0, 0, 255)
    for size in (3, 5, 21):
        out = resize_image(image, size, size, kernel=kernel)
        seen = out[..., 3] > 0
        assert seen.any()
        assert (out[seen][:, :3] == (255, 0, 0)).all()
        assert (out[~seen] == 0).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_flat_picture_stays_flat(dtype: Any, kernel: Kernel) -> None:
    for value in (1, 200):
        image = np.full((13, 17, 3), value if np.dtype(dtype).kind == "u" else value / 255, dtype=dtype)
        for size in ((5, 4), (40, 29)):
            np.testing.assert_allclose(resize_image(image, *size, kernel=kernel), image[0, 0, 0], rtol=1e-6)


def test_the_same_size_returns_the_same_values() -> None:
    image = noise((9, 11, 4))
    assert (resize_image(image, 11, 9) == image).all()


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_a_tile_equals_its_part_of_the_whole(data: st.DataObject) -> None:
    side = st.integers(1, 40)
    in_size, out_size = data.draw(st.tuples(side, side)), data.draw(st.tuples(side, side))
    kernel, channels = data.draw(st.sampled_from(KERNELS)), data.draw(st.sampled_from([1, 3, 4]))
    dtype, light = data.draw(st.sampled_from([np.uint8, np.uint16, np.float32])), data.draw(st.booleans())
    frames = noise((2, *in_size, channels), dtype, seed=data.draw(st.integers(0, 9)))
    whole = resampled(frames, Region(0, 2, 0, out_size[0], 0, out_size[1]), in_size, out_size, kernel, light)
    t0, y0, x0 = data.draw(st.integers(0, 1)), *(data.draw(st.integers(0, size - 1)) for size in out_size)
    y1, x1 = data.draw(st.integers(y0 + 1, out_size[0])), data.draw(st.integers(x0 + 1, out_size[1]))
    region = Region(t0, 2, y0, y1, x0, x1)
    assert np.array_equal(resampled(frames, region, in_size, out_size, kernel, light), whole[region.slices])


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(KERNELS), st.integers(1, 60), st.integers(1, 60), st.data())
def test_the_span_holds_what_matters_and_no_more(
    kernel: Kernel, in_size: int, out_size: int, data: st.DataObject
) -> None:
    out0 = data.draw(st.integers(0, out_size - 1))
    out1 = data.draw(st.integers(out0 + 1, out_size))
    in0, in1 = resample_input_span(out0, out1, in_size=in_size, out_size=out_size, kernel=kernel)
    assert 0 <= in0 < in1 <= in_size
    base = np.zeros((1, in_size, 1), dtype=np.float32)
    for at in range(in_size):
        touched = base.copy()
        touched[0, at] = 1e5
        changed = resize_image(touched, out_size, 1, kernel=kernel)[0, out0:out1].any()
        assert changed == (in0 <= at < in1) or (in0 < at < in1 - 1)  # a tap inside may weigh nothing


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("before", "after"), [(1, 0), (0, 1)])
def test_a_span_shorter_by_one_pixel_is_refused(kernel: Kernel, before: int, after: int) -> None:
    in_size, out_size, region = (1, 50), (1, 23), Region(0, 1, 0, 1, 7, 12)
    need = resample_input_region(region, in_size=in_size, out_size=out_size, kernel=kernel)
    short = Region(0, 1, 0, 1, need.x0 + before, need.x1 - after)
    with pytest.raises(FrameShapeError, match="needs pixels"):
        resample_frames(
            noise((1, 1, short.width, 3)), read=short, region=region, in_size=in_size, out_size=out_size, kernel=kernel
        )


def test_wrong_shapes_are_refused() -> None:
    read = Region(0, 1, 0, 4, 0, 4)
    with pytest.raises(FrameShapeError, match="expected frames"):
        resample_frames(noise((1, 4, 5, 3)), read=read, region=read, in_size=(4, 4), out_size=(8, 8))
    beyond = Region(0, 1, 0, 9, 0, 8)
    with pytest.raises(FrameShapeError, match="not within"):
        resample_frames(noise((1, 4, 4, 3)), read=read, region=beyond, in_size=(4, 4), out_size=(8, 8))


def test_bands_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    image = noise((90, 60, 4))
    whole = resize_image(image, 41, 33)
    monkeypatch.setattr(resample, "BAND_SAMPLES", 1)
    assert np.array_equal(resize_image(image, 41, 33), whole)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("width", [13, 20, 80, 132])
def test_a_hard_edge_of_alpha_rings_nowhere(kernel: Kernel, width: int) -> None:
    image = np.zeros((1, 40, 4), dtype=np.uint8)
    image[:, 20:] = (20, 30, 40, 255)
    out = resize_image(image, width, 1, kernel=kernel)[0]
    upright = resize_image(image.transpose(1, 0, 2), 1, width, kernel=kernel)[:, 0]
    assert np.array_equal(upright, out)
    assert (np.diff(out[:, 3].astype(int)) >= 0).all()
    assert np.abs(out[out[:, 3] > 0][:, :3].astype(int) - (20, 30, 40)).max() <= 1


def test_enlarging_does_not_overshoot_alpha() -> None:
    image = np.zeros((6, 6, 4), dtype=np.float32)
    image[2:4, 2:4] = 1.0
    alpha = resize_image(image, 24, 24)[..., 3]
    assert alpha.min() == 0.0
    assert alpha.max() == 1.0
