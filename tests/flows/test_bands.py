"""How far a clip is: each stage in its band, the least far of those that work side by side, never backwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from flows import bands
from flows.bands import BandedProgress
from tasks.progress import Silent


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the ledger was told, at every call."""
    monkeypatch.setattr(bands, "EVERY_S", 0.0)
    return []


def progress(told: list[float], *passes: str) -> BandedProgress:
    made: Any = BandedProgress(Silent(), passes)
    made._artifacts = SimpleNamespace(show=lambda *_: None)

    @contextmanager
    def session(tenant: str) -> Iterator[Any]:
        yield SimpleNamespace(note_percent=lambda run, item, percent: told.append(percent))

    made.attach(
        SimpleNamespace(ledger=SimpleNamespace(session=session), storage=SimpleNamespace(tenant="t"), run_id="r")
    )
    return made  # type: ignore[no-any-return]


def whole(shown: BandedProgress, stage: str, chunks: int = 2) -> None:
    shown.started("clip", stage)
    for done in range(1, chunks + 1):
        shown.advanced("clip", stage, done, chunks)
    if stage == "encode":
        shown.advanced("clip", "stitch", 0, 1)
        shown.advanced("clip", "stitch", 1, 1)
    shown.finished("clip", stage, seconds=1, cached=False, skipped=None)


def test_stages_one_after_the_other_fill_their_bands(told: list[float]) -> None:
    shown = progress(told, "upscale", "interpolate")
    for stage in ("decode", "upscale", "interpolate", "encode", "thumbnails"):
        whole(shown, stage)
    assert told == [
        *(10, 12.5, 15, 15), *(15, 27.5, 40, 40), *(40, 52.5, 65, 65), *(65, 70, 75, 75, 85, 85), *(85, 90, 95, 95),
    ]  # fmt: skip


def test_of_stages_side_by_side_the_least_far_counts(told: list[float]) -> None:
    shown = progress(told, "upscale")
    for stage in ("decode", "upscale", "encode"):
        shown.started("clip", stage)
    shown.advanced("clip", "encode", 1, 2)
    shown.advanced("clip", "upscale", 1, 2)
    shown.advanced("clip", "decode", 1, 2)
    shown.finished("clip", "decode", seconds=1, cached=False, skipped=None)
    shown.started("clip", "upscale")  # goes on by itself
    shown.finished("clip", "upscale", seconds=1, cached=False, skipped=None)
    assert told == [10, 10, 10, 10, 10, 12.5, 15, 40, 65]


def test_it_never_goes_back_but_when_a_clip_begins_again(told: list[float]) -> None:
    shown = progress(told, "upscale", "grade")
    for stage in ("decode", "upscale", "encode", "grade"):
        whole(shown, stage)
    assert told == sorted(told)
    assert told[-1] == 85
    shown.again("clip", 3)
    shown.started("clip", "decode")
    assert told[-1] == 10
