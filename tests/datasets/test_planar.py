"""The table of planar formats against FFmpeg's own description of each."""

import pytest
from av.video.format import VideoFormat

from datasets.planar import PLANAR


@pytest.mark.parametrize("name", PLANAR)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (64, 64), (65, 67)])
def test_planes_depth_and_subsampling_are_ffmpegs(name: str, height: int, width: int) -> None:
    ours, theirs = PLANAR[name], VideoFormat(name, width, height)
    assert len(ours.planes) == len(theirs.components)
    assert {component.bits for component in theirs.components} == {ours.depth}
    assert ours.alpha == (ours.planes[-1] == "a") == any(component.is_alpha for component in theirs.components)
    for plane, component in zip(ours.planes, theirs.components, strict=True):
        assert ours.plane_size(plane, height, width) == (component.height, component.width)
