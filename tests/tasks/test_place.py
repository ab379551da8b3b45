"""Where a placed product is looked for: compared with where the composed canvas shows it."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.ops.compose import compose_image
from tasks.ops.depth import to_uint8
from tasks.place import whole_placement
from tasks.place_config import PlaceConfig

SIDES = st.integers(3, 160)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(SIDES, SIDES),
    around=st.tuples(*[st.integers(0, 200)] * 4),
    canvas=st.tuples(st.integers(64, 240), st.integers(64, 240)),
    fill=st.floats(0.3, 1),
    align=st.sampled_from(["centre", "bottom"]),
    deep=st.booleans(),
)
@example(size=(5, 160), around=(200, 3, 0, 1), canvas=(101, 67), fill=0.5, align="centre", deep=False)
@example(size=(160, 5), around=(0, 1, 200, 3), canvas=(67, 101), fill=0.5, align="bottom", deep=True)
def test_the_cutout_is_expected_where_it_was_laid_out(
    size: tuple[int, int],
    around: tuple[int, ...],
    canvas: tuple[int, int],
    fill: float,
    align: str,
    deep: bool,
) -> None:
    height, width = size
    top, bottom, left, right = around
    cutout = np.zeros((top + height + bottom, left + width + right, 4), np.uint16 if deep else np.uint8)
    cutout[top : top + height, left : left + width] = np.iinfo(cutout.dtype).max
    config = PlaceConfig.model_validate({"width": canvas[0], "height": canvas[1], "fill": fill, "align": align})
    made = compose_image(to_uint8(cutout), config.canvas, None)
    assert made.placement is not None
    assert made.object_box_xyxy is not None
    found = whole_placement(made.placement, made.object_box_xyxy, cutout.shape[1])
    scale = found.width / cutout.shape[1]
    rows, columns = (np.flatnonzero((made.pixels[..., 3] > 127).any(axis=axis)) for axis in (1, 0))
    shown = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    expected = [
        found.x + scale * left,
        found.y + scale * top,
        found.x + scale * (left + width),
        found.y + scale * (top + height),
    ]
    assert shown == pytest.approx(expected, abs=0.6)
