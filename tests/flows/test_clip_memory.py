"""What a clip takes of memory does not grow with its length, and stays within what its plan announced."""

import json
import os
import re
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from tests.flows.commands import video_command

pytestmark = [pytest.mark.usefixtures("prefect_api"), pytest.mark.slow]

HEIGHT, WIDTH, RATE = 720, 1280, 25
LENGTHS = [int(seconds) for seconds in os.environ.get("CLIP_SECONDS_TESTED", "4,16").split(",")]
RECIPES = {
    "passthrough": None,
    "graded": [
        {"stage": "grade", "exposure_stops": 0.2},
        {"stage": "encode", "codec": "h264", "preset": "ultrafast", "threads": 1},
    ],
}


@pytest.mark.parametrize("name", RECIPES)
def test_memory_does_not_grow_with_the_clip(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, peaks = name, dict[int, int]()
    if RECIPES[name] is not None:
        recipe = str(tmp_path / "recipe.json")
        Path(recipe).write_text(json.dumps(RECIPES[name]))
    for seconds in LENGTHS:
        clip = tmp_path / f"{seconds}.mp4"
        make_clip(clip, seconds)
        store = tmp_path / f"store-{seconds}"
        running = video_command(
            [clip], tmp_path / f"out-{seconds}", "--recipe", recipe,
            environment={"STILLMOTION_STORAGE_ROOT": str(store), "STILLMOTION_MEMORY_LIMIT_MB": "1500"},
        )  # fmt: skip
        watch = Watch(running.pid, store)
        _, said = running.communicate(timeout=1500)
        watch.stop()
        assert running.returncode == 0, said
        announced, disk = (float(each.replace(",", "")) for each in re.findall(r"([\d,]+) MiB", said)[:2])
        peaks[seconds] = watch.memory
        with capsys.disabled():
            print(  # noqa: T201 - figures that are looked at
                f"\n{name}, {seconds} s of 720p: {watch.memory / 2**20:.0f} MiB of memory ({announced:.0f} announced), "
                f"{watch.disk / 2**20:.0f} MiB of disk ({disk:.0f} planned)"
            )
        assert watch.memory <= announced * 2**20
        assert watch.disk <= disk * 2**20 + clip.stat().st_size + (8 << 20)
    assert max(peaks.values()) <= 1.1 * min(peaks.values())


class Watch:
    """The largest resident memory of a process and its children, and the largest size of a folder, while they last."""

    def __init__(self, pid: int, store: Path) -> None:
        self.memory = self.disk = 0
        self._store, self._process, self._done = store, psutil.Process(pid), threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._done.wait(0.1):
            try:
                every: Sequence[psutil.Process] = [self._process, *self._process.children(recursive=True)]
                self.memory = max(self.memory, sum(each.memory_info().rss for each in every))
            except psutil.NoSuchProcess:
                continue
            self.disk = max(self.disk, _size(self._store))

    def stop(self) -> None:
        self._done.set()
        self._thread.join()


def _size(folder: Path) -> int:
    total = 0
    for where, _, names in os.walk(folder):  # which passes over what goes away meanwhile
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(where, name).stat().st_size
    return total


def test_what_cannot_fit_is_refused_before_any_work(tmp_path: Path) -> None:
    clip = tmp_path / "16k.mkv"
    with av.open(str(clip), "w") as container:
        video = container.add_stream("libx264", rate=1, options={"preset": "ultrafast"})
        video.height, video.width, video.pix_fmt = 8640, 15360, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((8640, 15360), np.uint8), format="gray").reformat(format="yuv420p")
        for number in range(2):
            frame.pts, frame.time_base = number, Fraction(1)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    running = video_command(
        [clip], tmp_path / "out", "--recipe", "passthrough", "--json",
        environment={"STILLMOTION_MEMORY_LIMIT_MB": "512", "STILLMOTION_MAX_MEGAPIXELS": "200"},
    )  # fmt: skip
    begun = time.monotonic()
    out, said = running.communicate(timeout=300)
    assert running.returncode in (1, 2), said
    assert "plan_too_large" in out
    assert "512 MiB" in out
    assert len(re.findall(r"([\d,]+) MiB", out)) >= 2
    assert time.monotonic() - begun < 120
    assert not list((tmp_path / "store").rglob("frames.zarr"))


def make_clip(path: Path, seconds: int) -> None:
    """A noisy pattern that drifts."""
    ground = np.random.default_rng(2).integers(0, 200, (HEIGHT + 100, WIDTH + 200), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "crf": "30"})
        video.height, video.width, video.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for number in range(seconds * RATE):
            down, right = number % 100, number * 2 % 200
            image = np.ascontiguousarray(ground[down : down + HEIGHT, right : right + WIDTH])
            frame = av.VideoFrame.from_ndarray(image, format="gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
