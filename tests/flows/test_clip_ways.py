"""However a clip is made, fused or stage by stage, by one process or by several, at once or resumed: the same bytes."""

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from datasets.frame_spec import FrameSpec, Index, Pixels
from datasets.frames import write_chunk
from datasets.outputs import OutputPlace
from datasets.planar import Planes
from datasets.settings import read_settings
from flows.video import run_video
from flows.video_order import VideoOrder
from tasks import propagate
from tests.flows.clip_files import save_moving_clip
from tests.flows.commands import delivered, video_command, wait_for_line

pytestmark = pytest.mark.usefixtures("prefect_api")

LOSSLESS = {"stage": "encode", "codec": "ffv1", "segment_frames": 20}
STAGES = (
    {"stage": "upscale", "factor": 2},
    {"stage": "grade", "exposure_stops": 0.25},
    {"stage": "interpolate", "fps": "60"},
    LOSSLESS,
)
FOLLOWED = ({"stage": "propagate", "box": (4, 16, 24, 38)}, LOSSLESS)
MADE_BEFORE = 3  # chunks


class _Killed(BaseException):
    """Stands for a process that is no more."""


def run(
    clip: Path, stages: tuple[dict[str, Any], ...], name: str, *, store: str = "", keep: bool = False, workers: int = 1
) -> dict[str, str]:
    out = clip.parent / f"out-{name}"
    order = VideoOrder(clips=(str(clip),), recipe=stages, out=str(out), models="embedded", keep=keep)
    settings = read_settings(storage_root=str(clip.parent / f"store-{store or name}"), workers=workers)
    summary = run_video(order, settings)
    assert summary.exit_status == 0, summary.to_json()
    return delivered(out)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_moving_clip(tmp_path_factory.mktemp("ways") / "clip.mp4", 2, width=64, height=48)


@pytest.fixture(scope="module")
def fused(clip: Path, prefect_api: str) -> dict[str, str]:
    return run(clip, STAGES, "fused")


@pytest.mark.slow
def test_stage_by_stage_gives_what_the_fused_pass_gives(clip: Path, fused: dict[str, str]) -> None:
    assert run(clip, STAGES, "kept", keep=True) == fused


@pytest.mark.parametrize("workers", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_workers_give_what_one_process_gives(workers: int, clip: Path, fused: dict[str, str]) -> None:
    assert run(clip, STAGES, f"workers{workers}", workers=workers) == fused


def test_an_object_is_followed_on_from_the_last_chunk(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(clip, FOLLOWED, "followed")
    written: list[int] = []

    def write(place: OutputPlace, spec: FrameSpec, index: Index, values: Pixels | Planes) -> int:
        if len(written) == MADE_BEFORE:
            raise _Killed
        written.append(index[0])
        return write_chunk(place, spec, index, values)

    with monkeypatch.context() as patched:
        patched.setattr(propagate, "write_chunk", write)
        with pytest.raises(_Killed):
            run(clip, FOLLOWED, "resumed")
    assert written == list(range(MADE_BEFORE))
    seen: list[int] = []
    real = propagate._Following._begin

    def begin(self: propagate._Following, frame: Pixels, image: Any, index: int) -> Any:
        seen.append(index)
        return real(self, frame, image, index)

    monkeypatch.setattr(propagate._Following, "_begin", begin)
    assert run(clip, FOLLOWED, "again", store="resumed") == whole
    assert 0 not in seen, "the first frames were looked at again"


@pytest.mark.slow
def test_a_killed_command_follows_on(tmp_path: Path) -> None:
    clip = save_moving_clip(tmp_path / "in" / "clip.mp4", 8, width=320, height=240)
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps([{"stage": "propagate", "box": [4, 80, 84, 160]}, LOSSLESS]))
    options = ("--recipe", str(recipe), "--models", "embedded", "--workers", "2")
    whole = video_command([clip], tmp_path / "whole", *options, environment={"STILLMOTION_STORAGE_ROOT": "store-whole"})
    _, said = whole.communicate(timeout=600)
    assert whole.returncode == 0, said
    chance, finished = random.Random(5), dict[str, int]()
    for _ in range(3):
        running = video_command([clip], tmp_path / "out", *options)
        wait_for_line(running, "decode")
        time.sleep(chance.uniform(2, 5))
        assert running.poll() is None, "the run ended before it was killed"
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate(timeout=60)
        now = {str(mark): mark.stat().st_mtime_ns for mark in (tmp_path / "store").rglob("marks/*.json")}
        assert all(now[mark] == at for mark, at in finished.items() if mark in now), "a finished chunk was made again"
        finished = now
    last = video_command([clip], tmp_path / "out", *options)
    _, said = last.communicate(timeout=600)
    assert last.returncode == 0, said
    assert delivered(tmp_path / "out") == delivered(tmp_path / "whole")
