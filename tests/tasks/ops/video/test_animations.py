"""GIF and WebP as another library reads them: the right delays, colours and transparency, and the same bytes twice."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from datasets.planar import Planes
from tasks.ops.video.carrying import CarryPlan
from tasks.ops.video.codecs import ContainerName
from tasks.ops.video.encoder_options import EncodeSettings
from tasks.ops.video.joining import join
from tests.tasks.ops.video.sound_clips import clip_info, write_segments

DELAYS_MS = [40, 80, 20, 1000, 30, 50, 40, 40, 150]


def moving(height: int, width: int, *, alpha: bool) -> Planes:
    """A bright square on a slope, the right half transparent."""
    y, x = np.mgrid[:height, :width]
    planes: Planes = {}
    for name, gain in (("g", 2), ("b", 1), ("r", 3)):
        slope = np.clip(x * gain + y, 0, 255).astype(np.uint8)
        planes[name] = np.stack([np.roll(slope, place, axis=0) for place in range(len(DELAYS_MS))])
    if alpha:
        planes["a"] = np.stack([np.where(x < (width + 1) // 2, 255, 0).astype(np.uint8)] * len(DELAYS_MS))
    return planes


def shown(path: Path) -> tuple[list[NDArray[Any]], list[float]]:
    frames, delays = [], []
    with Image.open(path) as picture:
        for place in range(getattr(picture, "n_frames", 1)):
            picture.seek(place)
            picture.load()
            frames.append(np.asarray(picture.convert("RGBA")))
            delays.append(float(picture.info["duration"]))
    return frames, delays


@pytest.mark.parametrize(("codec", "worst"), [("gif", 6), ("webp", 8)])
@pytest.mark.parametrize("form", ["gbrp", "gbrap"])
@pytest.mark.parametrize("size", [(32, 48), (33, 21)])
def test_an_animation_shows_the_clip(
    tmp_path: Path, codec: ContainerName, worst: float, form: str, size: tuple[int, int]
) -> None:
    height, width = size
    info, settings = clip_info(form, height=height, width=width), EncodeSettings(codec, codec, form)
    planes = moving(height, width, alpha=form == "gbrap")
    durations = [each * 30 for each in DELAYS_MS]
    times = ([5000 + sum(durations[:place]) for place in range(len(durations))], durations)
    parts = write_segments(planes, info, settings, tmp_path, cuts=[0, 4], times=times)
    written = []
    for name in ("a", "b"):
        assert join(parts, None, CarryPlan(), info, settings, tmp_path / name) == ()
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]
    frames, delays = shown(tmp_path / "a")
    assert delays == DELAYS_MS
    half = (width + 1) // 2
    for place, frame in enumerate(frames):
        wanted = np.stack([planes[name][place] for name in "rgb"], axis=-1)[:, :half]
        assert np.abs(frame[:, :half, :3].astype(int) - wanted).mean() < worst
        if form == "gbrap":
            assert (int(frame[:, :half, 3].min()), int(frame[:, half:, 3].max())) == (255, 0)


def test_one_pixel_becomes_a_gif(tmp_path: Path) -> None:
    info, settings = clip_info("gbrp", height=1, width=1), EncodeSettings("gif", "gif", "gbrp")
    planes = {name: np.full((1, 1, 1), value, np.uint8) for name, value in (("g", 10), ("b", 200), ("r", 90))}
    parts = write_segments(planes, info, settings, tmp_path, cuts=[0])
    join(parts, None, CarryPlan(), info, settings, tmp_path / "out.gif")
    assert [int(each) for each in shown(tmp_path / "out.gif")[0][0][0, 0]] == [90, 10, 200, 255]


def test_frames_too_fast_for_a_gif_are_left_out_without_changing_the_speed(tmp_path: Path) -> None:
    info, settings = clip_info("gbrp", height=8, width=8), EncodeSettings("gif", "gif", "gbrp")
    random = np.random.default_rng(0)
    planes = {name: random.integers(0, 255, (30, 8, 8)).astype(np.uint8) for name in "gbr"}
    times = ([place * 250 for place in range(30)], [250] * 30)  # 120 frames a second
    parts = write_segments(planes, info, settings, tmp_path, cuts=[0], times=times)
    said = join(parts, None, CarryPlan(), info, settings, tmp_path / "out.gif")
    delays = shown(tmp_path / "out.gif")[1]
    assert min(delays) >= 20
    assert sum(delays) == pytest.approx(float(30 * Fraction(250, 30_000) * 1000), abs=20)
    assert [each.code for each in said] == ["animation_frames_dropped"]
    assert said[0].facts == {"shown": len(delays), "frames": 30}
