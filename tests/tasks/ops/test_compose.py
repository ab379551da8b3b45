import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from datasets.errors import FrameShapeError
from tasks.ops import compose
from tasks.ops.compose import Box, ComposeConfig, ComposeResult, Placement, compose_image, layout, object_box
from tasks.ops.shadow import ShadowConfig

WHITE = 255


def cutout(
    height: int,
    width: int,
    box: Box,
    colour: tuple[int, int, int] = (200, 30, 40),
    alpha: int = 255,
    dtype: Any = np.uint8,
) -> NDArray[Any]:
    """A rectangle of one colour in a transparent photo."""
    image = np.zeros((height, width, 4), dtype=dtype)
    x0, y0, x1, y1 = box
    image[y0:y1, x0:x1] = (*colour, alpha)
    return image


def canvas_of(size: int, **fields: Any) -> ComposeConfig:
    return ComposeConfig(width=size, height=size, **fields)


def placed_on(result: ComposeResult) -> Placement:
    assert result.placement is not None
    return result.placement


def seen_box(pixels: NDArray[Any], background: int = WHITE) -> Box:
    rows, columns = np.nonzero((pixels[..., :3] != background).any(axis=2))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def test_the_box_holds_what_is_opaque() -> None:
    assert object_box(cutout(30, 40, (5, 6, 17, 21))[..., 3]) == (5, 6, 17, 21)
    assert object_box(np.zeros((9, 9), np.uint8)) is None
    assert object_box(np.eye(1, dtype=np.float32)) == (0, 0, 1, 1)


def test_the_box_ignores_soft_shadows_and_dust() -> None:
    alpha = cutout(200, 200, (50, 50, 150, 150))[..., 3]
    alpha[150:180, 40:160] = 100  # below one half
    alpha[2:4, 190:193] = 255  # 6 of 10,000 pixels
    assert object_box(alpha) == (50, 50, 150, 150)
    alpha[2:4, 180:190] = 255  # 26 of 10,000
    assert object_box(alpha) == (50, 2, 193, 150)


@pytest.mark.parametrize(
    ("box", "fields", "expected"),
    [
        ((0, 0, 400, 200), {}, (75, 287, 850, 425)),  # x = (1000 - 850) / 2
        ((7, 9, 207, 409), {}, (287, 75, 425, 850)),
        ((0, 0, 400, 200), {"upscale_limit": 1.0}, (300, 400, 400, 200)),
        ((0, 0, 4000, 2000), {"margin": 200}, (200, 350, 600, 300)),
        ((0, 0, 4000, 2000), {"align": "bottom"}, (75, 500, 850, 425)),  # 1000 - 75 - 425
        ((0, 0, 4000, 2000), {"fill": 1.0, "align": "bottom"}, (0, 500, 1000, 500)),
        ((0, 0, 4000, 1), {}, (75, 499, 850, 1)),
    ],
)
def test_layout_by_hand(box: Box, fields: dict[str, Any], expected: tuple[int, ...]) -> None:
    placement = layout(box, canvas_of(1000, upscale_limit=fields.pop("upscale_limit", 4.0), **fields))
    assert (placement.x, placement.y, placement.width, placement.height) == expected


def test_layout_says_which_rule_held() -> None:
    assert layout((0, 0, 100, 100), canvas_of(1000)).limited_by == "upscale_limit"
    assert layout((0, 0, 900, 900), canvas_of(1000)).limited_by == "fill"
    assert layout((0, 0, 900, 900), canvas_of(1000, margin=300)).limited_by == "margin"


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 90), st.integers(1, 90), st.integers(0, 40), st.integers(0, 40),
    st.integers(16, 200), st.integers(16, 200), st.floats(0.1, 1.0),
)  # fmt: skip
def test_centred_to_half_a_pixel_and_filled_to_one(
    width: int, height: int, x: int, y: int, canvas_width: int, canvas_height: int, fill: float
) -> None:
    image = cutout(y + height + 3, x + width + 5, (x, y, x + width, y + height))
    config = ComposeConfig(width=canvas_width, height=canvas_height, fill=fill, upscale_limit=16)
    result = compose_image(image, config)
    placed = placed_on(result)
    assert result.object_box_xyxy == (x, y, x + width, y + height)
    assert abs(placed.x + placed.width / 2 - canvas_width / 2) <= 0.5
    assert abs(placed.y + placed.height / 2 - canvas_height / 2) <= 0.5
    if placed.limited_by == "fill":
        longest = max(placed.width / (fill * canvas_width), placed.height / (fill * canvas_height))
        assert longest == pytest.approx(1, abs=1 / (fill * min(canvas_width, canvas_height)))


def test_the_object_is_where_the_placement_says() -> None:
    image = cutout(300, 500, (33, 41, 233, 141))
    result = compose_image(image, canvas_of(400))
    placed = placed_on(result)
    opaque = compose_image(image, canvas_of(400, preset="transparent")).pixels[..., 3] >= 128
    assert object_box(opaque.astype(np.float32)) == (
        placed.x, placed.y, placed.x + placed.width, placed.y + placed.height
    )  # fmt: skip
    inner = result.pixels[placed.y + 4 : placed.y + placed.height - 4, placed.x + 4 : placed.x + placed.width - 4]
    assert (inner == (200, 30, 40)).all()
    assert result.object_fill == 0.85
    assert result.enlarged_by == pytest.approx(1.7)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_is_exactly_white(dtype: Any) -> None:
    top = np.iinfo(dtype).max
    image = cutout(60, 60, (20, 20, 40, 40), dtype=dtype, alpha=top)
    result = compose_image(image, canvas_of(100, upscale_limit=1))
    assert result.pixels.dtype == dtype
    outside = result.pixels.copy()
    outside[37:63, 37:63] = top
    assert (outside == top).all()
    assert (result.pixels[45:55, 45:55] == (200, 30, 40)).all()


def test_half_transparent_red_over_white_in_linear_light() -> None:
    image = cutout(10, 10, (0, 0, 10, 10), colour=(255, 0, 0), alpha=128)
    pixel = compose_image(image, canvas_of(20, fill=0.5)).pixels[10, 10]
    # green and blue: 127/255 = 0.49804 of the light of white, which is sRGB code 187.2
    assert pixel.tolist() == [255, 187, 187]


def test_no_fringe_of_hidden_colours() -> None:
    image = cutout(40, 40, (10, 10, 30, 30), colour=(255, 255, 255))
    for side in (37, 64, 111):
        assert (compose_image(image, canvas_of(side)).pixels == WHITE).all()


def test_transparent_keeps_colours_straight() -> None:
    image = cutout(20, 20, (5, 5, 15, 15), colour=(10, 20, 30), alpha=77)
    result = compose_image(image, canvas_of(20, preset="transparent", fill=0.5))
    # 77 lies below the first threshold and above the one for glass
    assert result.pixels[10, 10].tolist() == [10, 20, 30, 77]
    assert (result.pixels[0, 0] == 0).all()


def test_the_shadow_lies_below_the_object_only() -> None:
    image = cutout(100, 100, (20, 20, 80, 80))
    plain = compose_image(image, canvas_of(400, fill=0.5, upscale_limit=8))
    shaded = compose_image(image, canvas_of(400, fill=0.5, upscale_limit=8, shadow=ShadowConfig(enabled=True)))
    placed = placed_on(plain)
    changed = (plain.pixels != shaded.pixels).any(axis=2)
    middle, foot = placed.y + placed.height // 2, placed.y + placed.height
    assert not changed[:middle].any()
    assert changed[foot + 2, 200]
    assert (shaded.pixels[foot + 2, 200] < plain.pixels[foot + 2, 200]).all()
    assert not changed[:, 200][: foot - 7].any()  # the edge of the enlarged object is two photo pixels wide


def test_a_shadow_on_nothing_is_transparent_black() -> None:
    image = cutout(100, 100, (20, 20, 80, 80))
    config = canvas_of(400, fill=0.5, upscale_limit=8, preset="transparent", shadow=ShadowConfig(enabled=True))
    pixels = compose_image(image, config).pixels
    below = pixels[303, 200]
    assert (below[:3] == 0).all()
    assert 0 < below[3] < 128


def test_a_photo_without_alpha_is_fitted_whole() -> None:
    image = np.full((50, 100, 3), 7, dtype=np.uint8)
    result = compose_image(image, canvas_of(100, fill=1.0))
    assert seen_box(result.pixels) == (0, 25, 100, 75)
    assert result.object_box_xyxy == (0, 0, 100, 50)


def test_one_pixel_and_one_row() -> None:
    dot = cutout(9, 9, (4, 4, 5, 5))
    result = compose_image(dot, canvas_of(100))
    placed = placed_on(result)
    assert (placed.x, placed.y, placed.width, placed.height) == (49, 49, 2, 2)
    line = compose_image(np.full((1, 4000, 3), 9, np.uint8), canvas_of(100))
    assert seen_box(line.pixels) == (7, 49, 92, 50)
    assert compose_image(np.zeros((1, 1, 3), np.uint8), canvas_of(100)).pixels.min() == 0


def test_nothing_to_place_leaves_the_canvas_empty() -> None:
    result = compose_image(np.zeros((20, 20, 4), np.uint8), canvas_of(30, preset="colour", colour="#102030"))
    assert result.placement is None
    assert result.object_box_xyxy is None
    assert result.object_fill == 0.0
    assert (result.pixels == (16, 32, 48)).all()


def test_soft_surroundings_beyond_the_canvas_are_cut_off() -> None:
    image = cutout(300, 300, (140, 140, 160, 160))
    image[..., 3] = np.maximum(image[..., 3], 40)
    result = compose_image(image, canvas_of(50, upscale_limit=16))
    assert (result.pixels[0, 0] < WHITE).any()


@pytest.mark.parametrize(
    ("angle", "start", "end"),
    [(180, (0, 50), (99, 50)), (0, (99, 50), (0, 50)), (90, (50, 0), (50, 99)), (45, (99, 0), (0, 99))],
)
def test_gradients_run_along_their_angle(angle: float, start: tuple[int, int], end: tuple[int, int]) -> None:
    config = canvas_of(100, preset="gradient", gradient_start="#000000", gradient_end="#c8c8c8", gradient_angle=angle)
    pixels = compose_image(np.zeros((5, 5, 4), np.uint8), config).pixels
    assert (pixels[start] <= 2).all()
    assert (pixels[end] >= 198).all()
    assert (np.abs(pixels[50, 50].astype(int) - 100) <= 2).all()


def test_a_picture_covers_the_canvas_around_its_middle() -> None:
    picture = np.zeros((60, 180, 3), dtype=np.uint8)
    picture[:, 60:120] = 250
    nothing = np.zeros((5, 5, 4), np.uint16)
    pixels = compose_image(nothing, canvas_of(30, preset="picture"), picture).pixels
    assert pixels.shape == (30, 30, 3)
    assert (pixels[:, 3:-3] == 250 * 257).all()
    with pytest.raises(TypeError, match="background"):
        compose_image(nothing, canvas_of(30, preset="picture"))


def test_bands_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    image = cutout(90, 70, (11, 13, 60, 80))
    image[..., 3] = np.minimum(image[..., 3], np.arange(70, dtype=np.uint8) * 3)
    config = canvas_of(150, preset="gradient", shadow=ShadowConfig(enabled=True))
    whole = compose_image(image, config).pixels
    monkeypatch.setattr(compose, "BAND_SAMPLES", 1)
    assert np.array_equal(compose_image(image, config).pixels, whole)


def test_peak_memory_of_a_large_canvas() -> None:
    image = cutout(400, 400, (50, 50, 350, 350))
    config = canvas_of(4000, upscale_limit=16, shadow=ShadowConfig(enabled=True))
    tracemalloc.start()
    pixels = compose_image(image, config).pixels
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 3 * pixels.nbytes


@pytest.mark.parametrize(
    "fields", [{"colour": "white"}, {"colour": "#12345"}, {"fill": 0.05}, {"width": 8}, {"margin": 1000}, {"bg": 1}]
)
def test_wrong_settings_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ComposeConfig(**fields)


def test_wrong_shapes_are_refused() -> None:
    for shape in ((5, 5), (5, 5, 2), (0, 5, 4)):
        with pytest.raises(FrameShapeError):
            compose_image(np.zeros(shape, np.uint8), ComposeConfig())
