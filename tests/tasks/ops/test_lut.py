import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ops.lut import CubeLut, LutInvalidError, parse_cube


def cube(colour_of: Callable[[float, float, float], tuple[float, float, float]], size: int = 2) -> str:
    """A 3D file in which red runs fastest."""
    grid = [v / (size - 1) for v in range(size)]
    rows = [colour_of(r, g, b) for b, g, r in itertools.product(grid, grid, grid)]
    return f"LUT_3D_SIZE {size}\n" + "\n".join(" ".join(f"{v:.6f}" for v in row) for row in rows) + "\n"


IDENTITY = cube(lambda r, g, b: (r, g, b), size=5)
COLOURS = np.random.default_rng(0).random((7, 9, 3)).astype(np.float32)


def test_identity() -> None:
    np.testing.assert_allclose(parse_cube(IDENTITY).apply(COLOURS), COLOURS, atol=1e-6)


def test_swapping_channels() -> None:
    swapped = parse_cube(cube(lambda r, g, b: (b, r, g), size=3)).apply(COLOURS)
    np.testing.assert_allclose(swapped, COLOURS[..., [2, 0, 1]], atol=1e-6)


def test_a_point_worked_by_hand() -> None:
    # black but for the red corner: (1, 0, 0) -> 1. At (0.75, 0.5, 0.25) the path from black is red, yellow, white, with
    # the shares 0.25, 0.25, 0.25, 0.25; trilinear interpolation would give 0.75 * 0.5 * 0.75 = 0.281
    lut = parse_cube(cube(lambda r, g, b: (float((r, g, b) == (1, 0, 0)), 0, 0)))
    assert lut.apply(np.array([0.75, 0.5, 0.25]))[0] == pytest.approx(0.25, abs=1e-6)
    # green first: the red corner is not on the way
    assert lut.apply(np.array([0.5, 0.75, 0.25]))[0] == 0.0


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 7), st.integers(0, 99))
def test_every_grid_point_is_met(size: int, seed: int) -> None:
    table = np.random.default_rng(seed).random((size, size, size, 3)).astype(np.float32)
    points = np.stack(np.meshgrid(*[np.arange(size)] * 3, indexing="ij"), axis=-1) / (size - 1)
    np.testing.assert_allclose(CubeLut(table).apply(points), table, atol=1e-5)


def test_grey_stays_grey_between_points() -> None:
    lut = parse_cube(cube(lambda r, g, b: (r * r, g * g, b * b), size=4))
    out = lut.apply(np.repeat(np.linspace(0, 1, 50, dtype=np.float32)[:, None], 3, axis=1))
    assert (np.ptp(out, axis=1) == 0).all()


def test_one_dimension_with_a_domain() -> None:
    lut = parse_cube("LUT_1D_SIZE 3\nDOMAIN_MIN 0 0 0\nDOMAIN_MAX 2 2 2\n0 0 0\n0.2 0.5 1\n1 1 1\n")
    assert lut.dimensions == 1
    # 0.5 lies half way to the middle entry (1.0); 3 is beyond the domain
    np.testing.assert_allclose(lut.apply(np.array([0.5, 0.5, 3.0])), [0.1, 0.25, 1.0], atol=1e-6)


def test_title_comments_and_windows_line_ends() -> None:
    text = IDENTITY.replace("\n", "\r\n")
    lut = parse_cube('\ufeff# made by hand\r\nTITLE "Warm paper"\r\n\r\nLUT_3D_INPUT_RANGE 0 1\r\n' + text)
    assert lut.title == "Warm paper"
    assert lut.size == 5
    np.testing.assert_allclose(lut.apply(COLOURS), COLOURS, atol=1e-6)


def test_tabs_between_words() -> None:
    assert parse_cube("LUT_1D_SIZE\t2\n0\t0\t0\n1\t1\t1").size == 2


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 0),
        ("0 0 0\n1 1 1", 0),
        ("LUT_3D_SIZE 1", 1),
        ("LUT_3D_SIZE 130", 1),
        ("# x\nLUT_1D_SIZE 65537", 2),
        ("LUT_3D_SIZE two", 1),
        ("LUT_1D_SIZE 2\nLUT_3D_SIZE 2", 2),
        ("LUT_1D_SIZE 2\n0 0 0\n1 1", 3),
        ("LUT_1D_SIZE 2\n0 0 0\n1 1 x", 3),
        ("LUT_1D_SIZE 2\n0 0 0\n1 1 1 1", 3),
        ("LUT_1D_SIZE 2\n0 0 0", 2),
        ("LUT_1D_SIZE 2\n0 0 0\n1 1 1\n1 1 1", 4),
        ("LUT_1D_SIZE 2\n0 0 0\n1 1 1e999", 3),
        ("LUT_1D_SIZE 2\nSHAPER 2\n0 0 0\n1 1 1", 2),
        ("DOMAIN_MIN 0 0\nLUT_1D_SIZE 2\n0 0 0\n1 1 1", 1),
        ("DOMAIN_MIN 1 1 1\nLUT_1D_SIZE 2\n0 0 0\n1 1 1", 0),
    ],
)
def test_what_cannot_be_read_names_its_line(text: str, line: int) -> None:
    with pytest.raises(LutInvalidError) as caught:
        parse_cube(text)
    assert caught.value.code == "lut_invalid"
    assert caught.value.facts["line"] == line
