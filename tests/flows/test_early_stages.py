"""Stages begin on frames whose clip is still being decoded, and it never shows in what they make."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from datasets.settings import read_settings
from flows import clip_planning
from flows.summary import ItemResult
from flows.video import run_video
from flows.video_order import VideoOrder
from tasks.ops.video.reading import Clip
from tests.flows.clip_files import found
from tests.flows.commands import delivered
from tests.shared_data import fixture

pytestmark = pytest.mark.usefixtures("prefect_api")

FRAMES, CUT, HEIGHT, WIDTH, RATE = 90, 41, 48, 64, 25
ENCODE = {"stage": "encode", "codec": "ffv1", "segment_frames": 20}
RECIPES: dict[str, tuple[dict[str, Any], ...]] = {
    "encode": (ENCODE,),
    "grade": ({"stage": "grade", "exposure_stops": 0.3}, ENCODE),
    "interpolate": ({"stage": "upscale", "factor": 2}, {"stage": "interpolate", "factor": 2}, ENCODE),
}


def save_with_cut(path: Path, cut: int) -> Path:
    """A square that moves, on another ground after a cut."""
    rng = np.random.default_rng(3)
    grounds = rng.integers(0, 120, (2, HEIGHT, WIDTH, 3), dtype=np.uint8) // np.uint8(4)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "10", "g": "20"})
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for number in range(FRAMES):
            image = grounds[int(number >= cut)] + np.uint8(150 * (number >= cut))
            left = number % (WIDTH - 12)
            image[10:22, left : left + 12] = (250, 40, 40) if number < cut else (20, 60, 20)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return save_with_cut(tmp_path / "clip.mkv", CUT)


def run(clip: Path, recipe: tuple[dict[str, Any], ...], name: str, workers: int = 1) -> ItemResult:
    order = VideoOrder(clips=(str(clip),), recipe=recipe, out=str(clip.parent / f"out-{name}"), models="embedded")
    settings = read_settings(storage_root=str(clip.parent / f"store-{name}"), workers=workers)
    (item,) = run_video(order, settings).items
    return item


def one_after_the_other(clip: Path, recipe: tuple[dict[str, Any], ...]) -> dict[str, str]:
    """What comes out where nothing begins before its source is done."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(clip_planning, "_begins_early", lambda _: False)
        assert run(clip, recipe, "waiting").status == "delivered"
    return delivered(clip.parent / "out-waiting")


def pausing_at(frame: int, until: Any, patched: pytest.MonkeyPatch) -> None:
    """Have the decoder pause before a frame until something is the case."""
    real = Clip.frames

    def frames(self: Clip, start_index: int = 0, *, after: int | None = None) -> Iterator[object]:
        for index, each in enumerate(real(self, start_index, after=after), start=start_index):
            end = time.monotonic() + 60
            while index == frame and not until():
                assert time.monotonic() < end, "nothing begins before everything is decoded"
                time.sleep(0.02)
            yield each

    patched.setattr(Clip, "frames", frames)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("recipe", RECIPES)
def test_later_stages_work_while_the_clip_is_being_decoded(
    recipe: str, workers: int, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = one_after_the_other(clip, RECIPES[recipe])
    store = clip.parent / "store-early"

    def begun() -> bool:
        segment = any(found(store, "segments/*.mkv"))
        return segment and (recipe == "encode" or any(found(store, "frames.zarr/pixels/c/*/0/0/0")))

    pausing_at(72, begun, monkeypatch)
    item = run(clip, RECIPES[recipe], "early", workers)
    assert item.status == "delivered", item.reasons
    assert delivered(clip.parent / "out-early") == expected
    (decoded,) = (each for each in item.stages if each.stage == "decode")
    assert decoded.picture.facts["cuts"] == [CUT]
    assert [path for path in store.rglob("*") if path.parent.name in {"notes", "segments", "marks"}] == []


@pytest.mark.parametrize("cut", [35, 36, 47])
def test_frames_wait_until_it_is_known_whether_a_shot_begins_with_them(
    cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = save_with_cut(tmp_path / "clip.mkv", cut)
    recipe = ({"stage": "interpolate", "factor": 2}, ENCODE)
    expected = one_after_the_other(clip, recipe)
    looks = iter(range(50))
    pausing_at(-(-cut // 8) * 8, lambda: next(looks) == 49, monkeypatch)  # a second: the cut's chunk is there, no more
    item = run(clip, recipe, "early")
    assert item.status == "delivered", item.reasons
    assert delivered(clip.parent / "out-early") == expected


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_was_begun_for_other_times_is_made_again(recipe: str, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packets promised other times than the frames have, which is known when most of the work is done."""
    real = Clip.frames

    def frames(self: Clip, start_index: int = 0, *, after: int | None = None) -> Iterator[object]:
        for index, each in enumerate(real(self, start_index, after=after), start=start_index):
            time.sleep(0.01)
            yield replace(each, pts=each.pts + 7 * (index > 70))

    monkeypatch.setattr(Clip, "frames", frames)
    expected = one_after_the_other(clip, RECIPES[recipe])
    item = run(clip, RECIPES[recipe], "early")
    assert item.status == "delivered", item.reasons
    assert delivered(clip.parent / "out-early") == expected
    with av.open(str(next((clip.parent / "out-early").glob("*.mkv")))) as container:
        shown = [frame.time or 0.0 for frame in container.decode(video=0)]
    steps = {round(float(step), 3) for step in np.diff(shown)}
    assert len(steps) > 1
    assert min(steps) > 0


@pytest.mark.parametrize("recipe", RECIPES)
def test_nothing_stays_of_what_was_begun_on_a_clip_that_is_refused(recipe: str, tmp_path: Path) -> None:
    clip = tmp_path / "bitrot.mp4"
    clip.write_bytes(fixture("hostile/bitrot_mdat.mp4").read_bytes())
    item = run(clip, RECIPES[recipe], "early")
    assert (item.status, item.reasons[0].code) == ("failed", "clip_damaged")
    assert [path for path in (tmp_path / "store-early").rglob("outputs/**/*") if path.is_file()] == []
