from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.ops.shadow import Shadow, ShadowConfig, contact_shadow

BLOCK = np.ones((200, 300), dtype=np.float32)


def rendered(
    alpha: NDArray[np.float32], canvas: int = 600, x: float = 150.0, y: float = 100.0, width: int = 300, **settings: Any
) -> tuple[Shadow, NDArray[np.float32]]:
    shadow = contact_shadow(alpha, x=x, y=y, width=width, config=ShadowConfig(enabled=True, **settings))
    return shadow, shadow.render((0, canvas, 0, canvas))[..., 3]


@pytest.mark.parametrize("times", [1, 2])  # at 600 pixels the shadow is made smaller than it is drawn
def test_it_lies_at_the_foot_and_in_the_middle(times: int) -> None:
    shadow, density = rendered(BLOCK, canvas=600 * times, x=150 * times, y=100 * times + 0.7, width=300 * times)
    rows, columns = density.sum(axis=1), density.sum(axis=0)
    pixels = np.arange(600 * times) + 0.5
    assert (rows @ pixels) / rows.sum() == pytest.approx(300 * times + 0.7, abs=0.1)
    assert (columns @ pixels) / columns.sum() == pytest.approx(300 * times, abs=0.1)
    assert density[: 250 * times].max() < 1e-6
    top, bottom, left, right = shadow.window
    density[top:bottom, left:right] = 0
    assert density.max() < 1e-6


def test_opacity_is_reached_and_not_exceeded() -> None:
    _, density = rendered(BLOCK, opacity=0.4, squash=0.5)
    assert density.max() == pytest.approx(0.4, abs=0.01)
    assert rendered(BLOCK, opacity=0.0)[1].max() == 0


@pytest.mark.parametrize("times", [1, 2])
def test_offset_moves_it_down(times: int) -> None:
    place: dict[str, Any] = {"canvas": 600 * times, "x": 150 * times, "y": 100 * times, "width": 300 * times}
    _, near = rendered(BLOCK, **place)
    _, far = rendered(BLOCK, **place, offset=0.1)
    down = 30 * times  # a tenth of the longer side
    assert np.abs(far[down:] - near[:-down]).max() < 0.02


def test_a_part_in_the_air_throws_less() -> None:
    alpha = np.zeros((200, 300), dtype=np.float32)
    alpha[:, 150:] = 1
    alpha[:120, :140] = 1  # 80 of 200 rows above the ground: exp(-0.4 / 0.08)
    _, density = rendered(alpha)
    foot = density[295:305]
    assert foot[:, 160:280].max() < 0.05 * foot[:, 320:440].max()


def test_softness_does_not_depend_on_the_size_of_the_object() -> None:
    _, small = rendered(BLOCK, canvas=300, x=75, y=50, width=150)
    _, large = rendered(BLOCK)
    assert np.abs(large.reshape(300, 2, 300, 2).mean(axis=(1, 3)) - small).max() < 0.03


def test_tiles_equal_the_whole() -> None:
    shadow, density = rendered(BLOCK)
    assert np.array_equal(shadow.render((290, 307, 100, 333))[..., 3], density[290:307, 100:333])


@pytest.mark.parametrize("shape", [(1, 1), (1, 4000), (4000, 1)])
def test_extreme_outlines(shape: tuple[int, ...]) -> None:
    shadow = contact_shadow(np.ones(shape, np.float32), x=5, y=5, width=shape[1], config=ShadowConfig(enabled=True))
    assert np.isfinite(shadow.density).all()
    assert shadow.density.size < 2_000_000
