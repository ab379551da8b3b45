from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tasks.ops.transfer import (
    linear_to_srgb,
    linear_to_srgb_float,
    linear_to_srgb_uint8,
    linear_to_srgb_uint16,
    srgb_to_linear,
)


@pytest.mark.parametrize(("dtype", "back"), [(np.uint8, linear_to_srgb_uint8), (np.uint16, linear_to_srgb_uint16)])
def test_every_code_comes_back(dtype: Any, back: Callable[[Any], Any]) -> None:
    codes = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
    linear = srgb_to_linear(codes)
    assert linear.dtype == np.float32
    assert (np.diff(linear) > 0).all()
    assert (back(linear) == codes).all()


def test_known_values() -> None:
    # IEC 61966-2-1: below 0.04045 a division by 12.92; code 10 is 0.039216, so 0.0030353
    linear = srgb_to_linear(np.array([0, 10, 128, 188, 255], dtype=np.uint8))
    np.testing.assert_allclose(linear, [0.0, 0.0030353, 0.2158605, 0.5028865, 1.0], atol=2e-7)
    assert linear_to_srgb_uint8(np.array([-1.0, 0.5, 2.0])).tolist() == [0, 188, 255]


@pytest.mark.parametrize(("top", "encode"), [(255, linear_to_srgb_uint8), (65535, linear_to_srgb_uint16)])
def test_encoding_is_the_nearest_code_of_the_formula(top: int, encode: Callable[[Any], Any]) -> None:
    linear = np.concatenate([np.linspace(0, 0.01, 200_001), np.linspace(0, 1, 200_001)]).astype(np.float32)
    x = linear.astype(np.float64)
    exact = np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055) * top
    # the standard's two pieces miss each other by 3e-8 at the knee; and float32 borders are good to 1e-7
    assert np.abs(encode(linear) - exact).max() <= 0.5 + 0.006 * top / 65535 + 1e-4


def test_floats_are_taken_at_16_bit() -> None:
    assert srgb_to_linear(np.array([0.5], dtype=np.float32))[0] == pytest.approx(0.21404, abs=2e-5)
    assert linear_to_srgb_float(np.array([0.21404]))[0] == pytest.approx(0.5, abs=2e-5)


def test_the_depth_follows_the_dtype() -> None:
    half = np.array([0.5], dtype=np.float32)
    assert linear_to_srgb(half, np.uint8).tolist() == [188]
    assert linear_to_srgb(half, np.uint16).dtype == np.uint16
    assert linear_to_srgb(half, np.float32).dtype == np.float32
