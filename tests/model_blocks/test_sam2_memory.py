"""What SAM 2 remembers of a shot, and what memory it takes, do not grow with the shot."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.model_blocks.parity import checkpoint

FRAMES = int(os.environ.get("SHOT_FRAMES_TESTED", "26"))  # each takes ten seconds of a core; 200 have been
EARLY = max(FRAMES // 5, 20)  # 16 frames' pointers and 7 frames' features are remembered by then
ALLOWED = 1.05  # peak memory at the end over that at an early frame
FOLLOW = """
import json, sys
import psutil, torch
from model_blocks.sam2.propagator import open_sam2_video

process, peak = psutil.Process(), 0  # the system's own peak may be that of loading, which would hide the rest
model = open_sam2_video("sam2.1-tiny-video", sys.argv[1], precision="bfloat16")  # in half the time
draw = torch.Generator().manual_seed(0)
frames = torch.rand(4, 3, 24, 32, generator=draw)
mask = torch.zeros(1, 24, 32)
mask[:, 6:18, 8:20] = 1
state = model.begin(frames[0], mask)
peaks = []
for number in range(1, int(sys.argv[2])):
    _, state = model.step(state, frames[number % 4])
    peak = max(peak, process.memory_info().rss)
    peaks.append(peak)
print(json.dumps(peaks))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_shot(tmp_path: Path) -> None:
    path = checkpoint("sam2.1_hiera_tiny", tmp_path / "tiny.pt")
    answer = subprocess.run(
        [sys.executable, "-c", FOLLOW, str(path), str(FRAMES)],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=True,
    )
    peaks = json.loads(answer.stdout)
    assert len(peaks) == FRAMES - 1
    assert peaks[-1] <= ALLOWED * peaks[EARLY - 1], (peaks[EARLY - 1], peaks[-1])
