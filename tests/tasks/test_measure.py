"""Measures of stored pictures: those of the whole picture however it is chunked; refused where memory is too small."""

from pathlib import Path
from threading import Event
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from polars.testing import assert_frame_equal

from datasets.errors import FrameShapeError, PlanTooLargeError
from datasets.identity import digest_bytes
from datasets.outputs import OutputPlace
from datasets.storage import open_storage
from expectations.fidelity import Placement
from expectations.measures import measures_row
from tasks.chunks import Limits
from tasks.clip_measures import ClipMeasures
from tasks.context import RunContext, within_run
from tasks.executor import InProcess
from tasks.measure import Compared, measure_clip, measure_picture
from tasks.ops.video.posters import measure_frames
from tasks.stage import Picture
from tests.photographs import product_pixels
from tests.tasks.test_passes import put


class Stored:
    """A storage with pictures in it, within a run that has nothing else."""

    def __init__(self, root: Path) -> None:
        self.storage = open_storage(str(root), "default")
        self.run = self.limited(1 << 30)

    def limited(self, memory_bytes: int) -> RunContext:
        nothing = cast("Any", None)
        limits = Limits(memory_bytes=memory_bytes)
        return RunContext("run", nothing, self.storage, nothing, InProcess(), limits, nothing, {}, stopping=Event())

    def picture(self, values: NDArray[Any], tile: int = 50, **facts: object) -> Picture:
        digest = digest_bytes(values.tobytes() + repr((values.shape, tile)).encode())
        put(OutputPlace(self.storage, digest), values[None], (1, tile, tile))
        return Picture(digest, digest, facts)


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    return Stored(tmp_path / "pictures")


def cutout(height: int, width: int, dtype: str = "uint8") -> NDArray[Any]:
    y, x = np.mgrid[0:height, 0:width]
    alpha = np.clip(min(height, width) * 0.3 - np.hypot(y - height / 2, x - width / 2), 0, 1) * 255
    made = np.dstack([product_pixels(width, height), alpha.astype(np.uint8)])
    return made.astype(np.uint16) * 257 if dtype == "uint16" else made


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(("height", "width", "tile"), [(90, 131, 50), (1100, 40, 1024), (2300, 33, 333), (1, 1, 1)])
def test_a_stored_picture_has_the_numbers_of_the_whole(
    stored: Stored, height: int, width: int, tile: int, dtype: str
) -> None:
    values = cutout(height, width, dtype)
    with within_run(stored.run):
        assert_frame_equal(measure_picture("cup", stored.picture(values, tile)), measures_row("cup", values))


def test_the_alpha_of_a_matte_is_the_object_of_the_photograph(stored: Stored) -> None:
    photo, matte = product_pixels(200, 150), cutout(150, 200)
    with within_run(stored.run):
        found = measure_picture("cup", stored.picture(photo), matte=stored.picture(matte))
        assert_frame_equal(found, measures_row("cup", photo, alpha=matte[..., 3]))
        with pytest.raises(FrameShapeError, match="matte"):
            measure_picture("cup", stored.picture(photo), matte=stored.picture(cutout(150, 199)))


def test_a_picture_in_which_nothing_was_found_covers_nothing(stored: Stored) -> None:
    with within_run(stored.run):
        assert measure_picture("cup", stored.picture(product_pixels(), object_found=False))["coverage"][0] == 0
        assert measure_picture("cup", stored.picture(product_pixels(97)))["coverage"][0] is None


def test_a_placed_product_is_compared_with_its_cutout(stored: Stored) -> None:
    product = cutout(160, 160)
    product[60:100, 60:100, :3] = np.random.default_rng(0).integers(0, 255, (10, 10, 3)).repeat(4, 0).repeat(4, 1)
    scene = np.full((300, 400, 3), 200, np.uint8)
    alpha = product[..., 3:] / 255.0
    scene[70:230, 120:280] = product[..., :3] * alpha + scene[70:230, 120:280] * (1 - alpha) + 0.5
    compared = Compared(stored.picture(product), Placement(120, 70, 160))
    with within_run(stored.run):
        row = measure_picture("cup", stored.picture(scene), compared=compared).row(0, named=True)
    assert row["fidelity_ssim"] > 0.99
    assert row["fidelity_delta_e"] < 0.5
    assert row["fidelity_scale"] == pytest.approx(1, abs=0.005)


def test_what_does_not_fit_is_refused_before_it_is_read(stored: Stored) -> None:
    picture = stored.picture(product_pixels())
    with within_run(stored.limited(1 << 20)), pytest.raises(PlanTooLargeError):
        measure_picture("cup", picture)


def test_frames_of_a_clip_become_rows() -> None:
    frames = np.random.default_rng(0).integers(0, 255, (6, 20, 30, 3), dtype=np.uint8)
    measures = measure_frames(frames)
    rows = measure_clip("clip", ClipMeasures(measures, np.arange(6) / 25, cuts=(3,)))
    assert rows["shot"].to_list() == [0, 0, 0, 1, 1, 1]
    assert rows["sharpness"].to_list() == pytest.approx(measures.sharpness.tolist())
