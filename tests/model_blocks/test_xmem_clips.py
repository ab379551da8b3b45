"""XMem in a run: a clip is cut out with it, and a thousand frames take no more memory than two hundred."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests import moving_square
from tests.flows.commands import ROOT, video_command
from tests.model_blocks.parity import checkpoint
from tests.model_blocks.parity_xmem import NAME

CAP = 640  # elements of long-term memory, reached before frame 200
ELEMENTS = (64 // 16) * (96 // 16)  # of a frame


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.slow
def test_a_clip_is_cut_out_with_it(tmp_path: Path) -> None:
    weights = checkpoint(NAME, tmp_path / "XMem.pth")
    clip = moving_square.save(tmp_path / "in" / "square.mp4", "libx264", "yuv420p")
    running = video_command(
        [clip], tmp_path / "out", "--recipe", "cutout", "--models", f"propagate={NAME}",
        "--weights", f"{NAME}={weights}", "--mask", str(first_mask(tmp_path / "mask.png")), "--json",
    )  # fmt: skip
    printed, said = running.communicate(timeout=300)
    assert running.returncode == 0, said
    document = json.loads(printed)
    assert any(NAME in str(stage["model"]) for stage in document["stages"])
    (made,) = (each["path"] for each in document["items"][0]["outputs"] if each["role"] == "clip")
    frames = moving_square.look(Path(made), decoder_of(made)).frames
    assert frames.shape == (moving_square.FRAMES, moving_square.HEIGHT, moving_square.WIDTH, 4)
    assert not any(each["code"] == "no_object" for each in document["items"][0]["reasons"])
    alpha = frames[..., 3] / np.float64(frames[..., 3].max())
    assert alpha[0, 60, 20] > 0.9
    assert alpha[0, 10, 100] < 0.1
    assert all(not np.array_equal(alpha[0], each) for each in alpha[1:])


def first_mask(path: Path) -> Path:
    """Where the square is in the first frame."""
    mask = np.zeros((moving_square.HEIGHT, moving_square.WIDTH), np.uint8)
    mask[40:80, :40] = 255
    assert cv2.imwrite(str(path), mask)
    return path


def decoder_of(path: str) -> str | None:
    """VP9 shows its alpha by libvpx alone."""
    return "libvpx-vp9" if path.endswith(".webm") else None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "frames"),
    [({}, 1000), ({"every": 2, "most_elements": CAP}, 400)],  # the cap is reached before frame 200
    ids=["authors", "capped"],
)
def test_many_frames_take_no_more_memory_than_two_hundred(
    tmp_path: Path, settings: dict[str, Any], frames: int
) -> None:
    weights = checkpoint(NAME, tmp_path / "XMem.pth")
    done = subprocess.run(
        [sys.executable, "-m", "tests.model_blocks.xmem_long", str(weights), str(frames), json.dumps(settings)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    sys.stdout.write(f"{seen}\n")
    early, late = seen["peak"]
    assert late <= 1.05 * early
    assert max(seen["working"]) < 10 * ELEMENTS
    assert min(seen["long"]) >= 5 * ELEMENTS
    if settings:
        assert max(seen["long"]) <= CAP
        assert seen["state"][1] <= 1.05 * seen["state"][0] + 4 * 10 * ELEMENTS * (64 + 64 + 3 + 512)
