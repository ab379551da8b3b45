"""Sound and pictures stay together: flashes meet their beeps in the result as they do in the source."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from datasets.settings import read_settings
from flows.summary import RunSummary
from flows.video import run_video
from flows.video_order import VideoOrder
from tests.flash_and_beep import FlashAndBeep, beeps, flashes

pytestmark = pytest.mark.usefixtures("prefect_api")

VARIANTS = {
    "constant": FlashAndBeep(),
    "irregular": FlashAndBeep(irregular=True),
    "late-sound": FlashAndBeep(sound_starts=Fraction(37, 100)),
    "late-pictures": FlashAndBeep(pictures_start=Fraction(2, 5)),
}
ENCODE = {"stage": "encode", "preset": "ultrafast"}
RATES = {"upscale": 25, "smooth": 50, "sixty": 60}
RECIPE = (
    {"stage": "upscale", "factor": 2},
    ENCODE,
    {"stage": "interpolate", "factor": 2, "input": "decode"},
    ENCODE,
    {"stage": "interpolate", "fps": "60", "input": "decode"},
    ENCODE,
)


def run(clips: dict[str, Path], recipe: tuple[dict[str, Any], ...], folder: Path) -> RunSummary:
    order = VideoOrder(clips=tuple(map(str, clips.values())), recipe=recipe, out=str(folder / "out"), models="embedded")
    summary = run_video(order, read_settings(storage_root=str(folder / "store")))
    assert [item.status for item in summary.items] == ["delivered"] * len(clips), summary.items
    return summary


def offsets(path: Path, count: int) -> NDArray[np.float64]:
    """Seconds from every flash to its beep."""
    seen, heard = flashes(path), beeps(path)
    assert (len(seen), len(heard)) == (count, count)
    return heard - seen


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    return {name: clip.save(folder / f"{name}.mp4") for name, clip in VARIANTS.items()}


@pytest.fixture(scope="module")
def made(clips: dict[str, Path], prefect_api: str, tmp_path_factory: pytest.TempPathFactory) -> RunSummary:
    return run(clips, RECIPE, tmp_path_factory.mktemp("made"))


def test_flashes_and_beeps_are_found_where_they_were_put(clips: dict[str, Path]) -> None:
    for name, path in clips.items():
        assert np.allclose(flashes(path), VARIANTS[name].moments, atol=1e-4), name
        assert np.allclose(beeps(path), VARIANTS[name].moments, atol=2e-3), name


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("recipe", RATES)
def test_beeps_keep_their_flashes(recipe: str, variant: str, clips: dict[str, Path], made: RunSummary) -> None:
    item = made.items[list(clips).index(variant)]
    path = item.outputs[list(RATES).index(recipe)].path
    count = len(VARIANTS[variant].moments)
    moved = offsets(path, count) - offsets(clips[variant], count)
    assert np.abs(moved).max() <= 0.5 / RATES[recipe]


def test_in_slow_motion_beeps_meet_their_flashes_at_doubled_times(clips: dict[str, Path], tmp_path: Path) -> None:
    summary = run(clips, ({"stage": "interpolate", "slow": 2}, ENCODE), tmp_path)
    for name, item in zip(clips, summary.items, strict=True):
        moments = np.array(VARIANTS[name].moments)
        seen, heard = flashes(item.outputs[0].path), beeps(item.outputs[0].path)
        assert len(seen) == len(heard) == len(moments), name
        assert np.allclose(np.diff(seen), 2 * np.diff(moments), atol=1e-3), (name, seen)
        assert np.abs(heard - seen).max() <= 0.5 / 25, (name, heard - seen)


@pytest.mark.slow
def test_after_five_minutes_they_are_still_together(tmp_path: Path) -> None:
    late = Fraction(37, 100)
    long = {
        "constant": FlashAndBeep(seconds=300, every=10),
        "irregular": FlashAndBeep(seconds=300, every=10, irregular=True, sound_starts=late),
    }
    saved = {name: clip.save(tmp_path / "in" / f"{name}.mp4") for name, clip in long.items()}
    summary = run(saved, RECIPE, tmp_path)
    for (name, source), item in zip(saved.items(), summary.items, strict=True):
        for (recipe, rate), output in zip(RATES.items(), item.outputs, strict=True):
            moved = offsets(output.path, 29) - offsets(source, 29)
            assert np.abs(moved).max() <= 0.5 / rate, (name, recipe, moved)
