from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from datasets.errors import FrameShapeError
from tasks.ops.depth import full_scale, to_depth, to_float, to_uint8, to_uint16

ALL8 = np.arange(256, dtype=np.uint8)
ALL16 = np.arange(65536, dtype=np.uint16)


def test_every_8_bit_code_has_its_16_bit_code_and_comes_back() -> None:
    wide = to_uint16(ALL8)
    assert wide.dtype == np.uint16
    assert wide.tolist() == [v * 257 for v in range(256)]
    assert (to_uint8(wide) == ALL8).all()


def test_every_16_bit_code_goes_to_the_nearest_8_bit_code() -> None:
    narrow = to_uint8(ALL16)
    assert narrow.dtype == np.uint8
    assert np.abs(narrow.astype(int) * 257 - ALL16.astype(int)).max() == 128  # half of 257, which is odd: no ties


@pytest.mark.parametrize(("codes", "back"), [(ALL8, to_uint8), (ALL16, to_uint16)])
def test_floats_come_back_exactly(codes: NDArray[Any], back: Callable[[Any], Any]) -> None:
    floats = to_float(codes)
    assert floats.dtype == np.float32
    assert floats[0] == 0.0
    assert floats[-1] == 1.0
    assert (back(floats) == codes).all()


def test_floats_are_clipped_and_rounded() -> None:
    values = np.array([-0.5, 0.0, 0.5, 1.0, 7.0], dtype=np.float32)
    assert to_uint8(values).tolist() == [0, 0, 128, 255, 255]
    assert to_uint16(values).tolist() == [0, 0, 32768, 65535, 65535]


def test_to_depth_follows_the_dtype() -> None:
    assert to_depth(ALL8, np.uint16)[1] == 257
    assert to_depth(ALL16, np.uint8)[257] == 1
    assert to_depth(ALL8, np.float32)[255] == 1.0


def test_other_types_are_refused() -> None:
    with pytest.raises(FrameShapeError, match="int32"):
        full_scale(np.int32)
