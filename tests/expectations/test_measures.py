"""Measures of pictures, against arithmetic, other implementations and real photographs."""

import itertools
import warnings
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image
from skimage import color

from datasets.errors import FrameShapeError
from expectations.colour_difference import delta_e_2000, srgb_to_lab
from expectations.measures import ITEM_MEASURES, MEASURES, measures_row
from expectations.views import ViewBuilder, views_of
from tests.shared_data import fixture

Picture = NDArray[Any]


def measured(image: Picture, **more: Any) -> dict[str, Any]:
    return dict(measures_row("cup", image, **more).row(0, named=True))


def photo(name: str, mode: str = "RGB") -> NDArray[np.uint8]:
    with Image.open(fixture(f"images/{name}")) as image:
        return np.asarray(image.convert(mode))


def grey(height: int, width: int, value: int = 128) -> NDArray[np.uint8]:
    return np.full((height, width, 3), value, np.uint8)


def cutout(alpha: Picture) -> NDArray[np.uint8]:
    """A grey object with this alpha, 0..1."""
    return np.dstack([grey(*alpha.shape), np.round(alpha * 255).astype(np.uint8)])


def box(height: int, width: int, top: int, left: int, bottom: int, right: int) -> NDArray[np.float64]:
    alpha = np.zeros((height, width))
    alpha[top:bottom, left:right] = 1
    return alpha


def noisy(height: int, width: int, sigma: float, ground: float = 128) -> NDArray[np.uint8]:
    """The same noise in all channels, so that luma has it too."""
    noise = np.random.default_rng(1).normal(ground, sigma, (height, width, 1)).round()
    return np.clip(noise, 0, 255).astype(np.uint8).repeat(3, axis=2)


def test_a_row_has_every_column_in_its_type() -> None:
    row = measures_row("cup", grey(30, 40))
    kinds = {"float": "Float64", "int": "Int64", "str": "String"}
    assert {name: str(kind) for name, kind in row.schema.items()} == {n: kinds[m.kind] for n, m in MEASURES.items()}
    found = row.row(0, named=True)
    assert (found["item"], found["width"], found["height"], found["short_side"]) == ("cup", 40, 30, 30)
    assert (found["aspect"], found["megapixels"]) == (pytest.approx(4 / 3), pytest.approx(0.0012))


@pytest.mark.parametrize("image", [np.zeros((4, 4)), np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4, 3)), grey(0, 4)])
def test_what_is_no_picture_is_refused(image: Picture) -> None:
    with pytest.raises(FrameShapeError):
        measures_row("cup", image)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.sampled_from([3, 4]),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    data=st.data(),
)
def test_no_size_and_no_content_crashes_or_warns(
    height: int, width: int, channels: int, dtype: type, data: st.DataObject
) -> None:
    top = np.iinfo(dtype).max
    elements = data.draw(st.sampled_from([st.just(0), st.just(top), st.just(7), st.integers(0, top)]))
    image = data.draw(arrays.arrays(dtype, (height, width, channels), elements=elements))
    alpha = data.draw(st.none() | st.just(np.zeros((height, width))) | st.just(np.ones((height, width), bool)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = measured(image, alpha=alpha, object_found=data.draw(st.none() | st.booleans()))
    for name, value in found.items():
        assert value is not None or name.startswith("fidelity") or ITEM_MEASURES[name].unknown
        assert not isinstance(value, float) or np.isfinite(value)


def test_nothing_visible_has_no_brightness_but_a_coverage_of_zero() -> None:
    found = measured(cutout(np.zeros((50, 60))))
    assert (found["luma_mean"], found["sharpness"], found["noise"], found["phash"]) == (None, None, None, None)
    assert (found["coverage"], found["pieces"], found["holes"], found["border"]) == (0, 0, 0, 0)


def test_an_object_that_was_looked_for_and_not_found_covers_nothing() -> None:
    assert measured(grey(9, 9), object_found=False)["coverage"] == 0
    assert measured(grey(9, 9))["coverage"] is None


@pytest.mark.parametrize("wide", [1024, 4096])
def test_sharpness_orders_pictures_by_their_blur_at_any_size(wide: int) -> None:
    image = noisy(64, wide, 40)
    blurred = [cv2.GaussianBlur(image, (0, 0), sigma * wide / 1024) for sigma in (0.7, 1.0, 1.5, 2.5)]
    values = [measured(each)["sharpness"] for each in [image, *blurred]]
    assert all(first > 1.5 * second for first, second in itertools.pairwise(values))


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    image = grey(60, 60, 100)
    image[30, 30] = 150  # the Laplacian is 50 in four pixels and -200 in one
    assert measured(image)["sharpness"] == pytest.approx((4 * 50**2 + 200**2) / 3600, rel=1e-5)


def test_the_edge_of_an_object_is_not_its_sharpness() -> None:
    assert measured(cutout(box(80, 80, 20, 20, 60, 60)))["sharpness"] == pytest.approx(0, abs=1e-6)


def test_a_blurred_photograph_is_told_from_a_sharp_one() -> None:
    sharp = photo("cap_04.jpg")
    blurred = cv2.GaussianBlur(sharp, (0, 0), 3 * 1600 / 1024)
    assert measured(sharp)["sharpness"] > 100
    assert measured(np.asarray(blurred))["sharpness"] < 5


def test_exposure_counts_what_is_clipped() -> None:
    image = grey(100, 100, 100)
    image[:25], image[25:35] = 0, 255
    found = measured(image)
    assert (found["clipped_black"], found["clipped_white"]) == (0.25, 0.1)
    assert found["luma_mean"] == pytest.approx(0.1 * 255 + 0.65 * 100, abs=1e-3)


def test_the_same_picture_in_sixteen_bits_has_the_same_numbers() -> None:
    image = noisy(90, 70, 20)
    eight, sixteen = measured(image), measured(image.astype(np.uint16) * 257)
    assert eight["phash"] == sixteen["phash"]
    numbers = [name for name, value in eight.items() if isinstance(value, float)]
    assert [eight[name] for name in numbers] == pytest.approx([sixteen[name] for name in numbers], rel=1e-3)


def test_a_dark_photograph_is_dark_and_keeps_its_hash_nearly() -> None:
    image = photo("coffee.png")
    assert measured(image)["luma_mean"] > 90
    assert measured((image * 0.08).astype(np.uint8))["luma_mean"] < 10


@pytest.mark.parametrize("sigma", [2.0, 5.0, 12.0])
def test_noise_is_found_on_a_slope_beside_an_object(sigma: float) -> None:
    image = noisy(400, 400, sigma, ground=120).astype(float)
    image += np.linspace(-40, 40, 400)[None, :, None]
    image[100:200, 150:250] = 0
    assert measured(np.clip(image, 0, 255).astype(np.uint8))["noise"] == pytest.approx(sigma, rel=0.1)


def test_a_smooth_picture_has_no_noise() -> None:
    slope = np.linspace(50, 200, 300).astype(np.uint8)
    assert measured(np.broadcast_to(slope[:, None, None], (300, 300, 3)).copy())["noise"] < 0.1


def test_blocks_of_strong_compression_show_even_in_a_cropped_picture() -> None:
    def encoded(quality: int) -> NDArray[np.uint8]:
        ok, data = cv2.imencode(".jpg", photo("coffee.png"), [cv2.IMWRITE_JPEG_QUALITY, quality])
        assert ok
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))

    clean, light, strong = photo("coffee.png"), encoded(90), encoded(8)
    values = [measured(image)["blockiness"] for image in (clean, light, strong, strong[3:, 5:])]
    assert values[0] < 1.1
    assert values[1] < 1.3
    assert min(values[2:]) > 2


def test_a_block_grid_made_by_hand_has_the_ratio_of_its_steps() -> None:
    image = grey(64, 64, 100)
    image[:, np.arange(64) // 8 % 2 == 1] += 8  # a step of 8 on every edge, 0 elsewhere
    assert measured(image)["blockiness"] == pytest.approx((8 + 0.25) / 0.25, rel=1e-3)


@pytest.mark.parametrize(
    ("tint", "a", "b"), [((0, 0, 0), 0.0, 0.0), ((12, 0, -14), 4.0, 11.0), ((0, 10, 0), -7.5, 5.0)]
)
def test_the_colour_of_greys_is_their_cast(tint: tuple[int, int, int], a: float, b: float) -> None:
    image = (grey(64, 64, 140) + np.array(tint)).astype(np.uint8)
    image[:20] = (200, 30, 40)  # a coloured product does not count
    expected = color.rgb2lab(image[40:41, 40:41])[0, 0]
    found = measured(image)
    assert (found["cast_a"], found["cast_b"]) == (
        pytest.approx(expected[1], abs=0.1),
        pytest.approx(expected[2], abs=0.1),
    )
    assert (found["cast_a"], found["cast_b"]) == (pytest.approx(a, abs=2.5), pytest.approx(b, abs=2.5))


def test_a_picture_without_greys_has_no_known_cast() -> None:
    assert measured(np.full((20, 20, 3), (220, 20, 20), np.uint8))["cast"] is None


def test_the_background_is_what_lies_outside_the_object() -> None:
    image = grey(200, 200, 90)
    image[60:140, 60:140] = (255, 0, 0)
    alpha = box(200, 200, 60, 60, 140, 140)
    assert measured(image, alpha=alpha)["background_std"] == 0
    image[:100, :40] = 110
    counted = 200 * 200 - 90 * 90  # the object and 5 px around it do not count
    share = 100 * 40 / counted
    assert measured(image, alpha=alpha)["background_std"] == pytest.approx(20 * np.sqrt(share * (1 - share)), rel=1e-3)


def test_without_an_object_the_border_tells_of_the_background() -> None:
    image = photo("coffee.png").copy()
    image[:12], image[-12:], image[:, :12], image[:, -12:] = 240, 240, 240, 240
    assert measured(image)["background_std"] == pytest.approx(0, abs=1e-3)
    assert measured(photo("coffee.png"))["background_std"] > 30


@pytest.mark.parametrize("size", [(100, 200), (1024, 512), (2000, 3000)])
def test_coverage_is_the_share_of_the_object(size: tuple[int, int]) -> None:
    height, width = size
    found = measured(cutout(box(height, width, height // 4, width // 4, height // 2, width // 2)))
    assert found["coverage"] == pytest.approx(1 / 16, abs=0.001)
    assert (found["pieces"], found["largest_piece"], found["holes"]) == (1, 1.0, 0)


def test_pieces_and_holes_are_counted_above_a_speck() -> None:
    alpha = box(200, 200, 20, 20, 100, 100)  # 40000 px: a speck has up to 40
    alpha[40:47, 40:47] = 0  # 49: a hole
    alpha[60:66, 60:66] = 0  # 36: none
    alpha[20:30, 50:60] = 0  # a notch, open to the outside
    alpha[150:180, 150:180] = 1  # 900: a piece
    alpha[150:156, 20:26] = 1  # 36: none
    found = measured(cutout(alpha))
    assert (found["pieces"], found["holes"]) == (2, 1)
    main = 80 * 80 - 49 - 36 - 100
    assert found["largest_piece"] == pytest.approx(main / (main + 900 + 36))


def test_pieces_that_touch_by_a_corner_are_one_and_holes_that_do_are_two() -> None:
    alpha = box(100, 100, 10, 10, 40, 40) + box(100, 100, 40, 40, 70, 70)
    assert measured(cutout(alpha))["pieces"] == 1
    alpha = box(100, 100, 10, 10, 90, 90) - box(100, 100, 30, 30, 40, 40) - box(100, 100, 40, 40, 50, 50)
    assert measured(cutout(alpha))["holes"] == 2


def test_two_objects_of_real_photographs_are_two_pieces() -> None:
    mug = np.asarray(Image.fromarray(photo("saleor_mug.png", "RGBA")).resize((700, 700)))
    found = measured(np.concatenate([mug, mug], axis=1))
    assert found["pieces"] == 2
    assert found["largest_piece"] == pytest.approx(0.5, abs=0.01)
    assert found["holes"] == 2  # one handle each


def test_the_border_that_an_object_touches_is_measured_by_side() -> None:
    found = measured(cutout(box(100, 200, 0, 30, 60, 200)))
    sides = [found[f"border_{side}"] for side in ("top", "right", "bottom", "left")]
    assert sides == [pytest.approx(170 / 200), pytest.approx(0.6), 0, 0]
    assert found["border"] == pytest.approx(0.85)


def test_a_real_product_that_was_cut_off_touches_the_border() -> None:
    drink = photo("saleor_apple_drink.png", "RGBA")
    rows = np.nonzero((drink[..., 3] > 128).any(axis=1))[0]
    assert measured(drink)["border"] == 0
    cut = measured(drink[: (rows[0] + rows[-1]) // 2])
    assert cut["border_bottom"] > 0.1
    assert cut["border_top"] == 0


def test_softness_is_the_share_of_soft_pixels_around_the_edge() -> None:
    ramp = np.clip((np.arange(200)[None] - 96 + 0.5) / 8, 0, 1) * np.ones((200, 1))  # 8 soft columns
    found = measured(cutout(ramp))["softness"]
    assert found == pytest.approx(8 / 16)
    assert measured(cutout(box(200, 200, 50, 50, 150, 150)))["softness"] == 0


@settings(max_examples=40, deadline=None)
@given(height=st.integers(1, 2600), width=st.integers(1, 90), channels=st.sampled_from([3, 4]), seed=st.integers(0, 99))
def test_a_reduced_picture_is_the_exact_average_over_areas(height: int, width: int, channels: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    views = views_of(image)
    rows, columns = views.rgb.shape[:2]
    codes = image.astype(np.float64)
    alpha = codes[..., 3:] / 255 if channels == 4 else np.ones((height, width, 1))
    weights = [averaging(small, large) for small, large in ((rows, height), (columns, width))]
    mean = np.einsum("ah,hwc,bw->abc", weights[0], codes[..., :3] * alpha, weights[1], optimize=True)
    total = np.einsum("ah,hwc,bw->abc", weights[0], alpha, weights[1], optimize=True)
    wanted = np.divide(mean, total, out=np.zeros_like(mean), where=total > 0)
    assert np.abs(views.rgb - wanted).max() < 0.05
    if views.alpha is not None:
        assert np.abs(views.alpha - total[..., 0]).max() < 1e-4


def averaging(small: int, large: int) -> NDArray[np.float64]:
    """Overlap of every small pixel with every large one, (small, large)."""
    edges = np.arange(small + 1) * large / small
    low, high = np.maximum(edges[:-1, None], np.arange(large)), np.minimum(edges[1:, None], np.arange(1, large + 1))
    return np.asarray(np.clip(high - low, 0, None) * small / large)


def test_bands_give_the_same_as_the_whole() -> None:
    image = np.random.default_rng(0).integers(0, 256, (2500, 130, 4), dtype=np.uint8)
    builder = ViewBuilder(2500, 130, background_known=False)
    for first in range(0, 2500, 1024):
        builder.add(first, image[first : first + 1024])
    banded, whole = builder.done(), views_of(image)
    assert np.array_equal(banded.rgb, whole.rgb)
    assert [each.luma.shape for each in banded.windows] == [(512, 130), (512, 130)]  # 452 rows are too few for a third


def test_lab_and_delta_e_are_those_of_another_implementation() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.integers(0, 256, (2, 500, 3)).astype(np.float32)
    second[:100] = np.clip(first[:100] + rng.normal(0, 3, (100, 3)), 0, 255)
    first[:5], second[3:8] = 128, 20
    labs = [color.rgb2lab(each[None].astype(np.float64) / 255)[0] for each in (first, second)]
    assert np.abs(srgb_to_lab(first) - labs[0]).max() < 0.02
    theirs = color.deltaE_ciede2000(*labs)  # type: ignore[no-untyped-call]
    assert np.abs(delta_e_2000(labs[0], labs[1]) - theirs).max() < 1e-6


def test_delta_e_is_that_of_the_published_pairs() -> None:
    first = np.array([[50, 2.6772, -79.7751], [50, -1.3802, -84.2814], [50, 2.49, -0.001], [2.0776, 0.0795, -1.135]])
    second = np.array([[50, 0, -82.7485], [50, 0, -82.7485], [50, -2.49, 0.0011], [0.9033, -0.0636, -0.5514]])
    assert delta_e_2000(first, second) == pytest.approx([2.0425, 1.0000, 7.2195, 0.9082], abs=1e-4)
