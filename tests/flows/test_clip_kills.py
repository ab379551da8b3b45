"""A command that is killed in the middle of a clip goes on there and ends with the same bytes."""

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.flows.commands import delivered, video_command

pytestmark = [pytest.mark.usefixtures("prefect_api"), pytest.mark.slow]

RATE, SECONDS, HEIGHT, WIDTH = 25, 20, 96, 128
KILLS = 10
RECIPE = [{"stage": "upscale", "factor": 2}, {"stage": "interpolate", "factor": 2}, {"stage": "encode"}]


def test_a_killed_clip_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    clip, recipe = tmp_path / "clip.mp4", tmp_path / "recipe.json"
    make_clip(clip)
    recipe.write_text(json.dumps(RECIPE))
    options = ("--recipe", str(recipe), "--workers", "2", "--models", "embedded")
    whole = video_command([clip], tmp_path / "whole", *options, environment={"STILLMOTION_STORAGE_ROOT": "store-whole"})
    begun = time.monotonic()
    _, said = whole.communicate(timeout=900)
    took = time.monotonic() - begun
    assert whole.returncode == 0, said
    chance = random.Random(4)
    written: dict[str, int] = {}
    computed_again = 0
    for _ in range(KILLS):
        running = video_command([clip], tmp_path / "out", *options)
        time.sleep(chance.uniform(3, 3 + took / KILLS))
        assert running.poll() is None, "the run ended before it was killed"
        os.killpg(running.pid, signal.SIGKILL) if chance.random() < 0.5 else os.kill(running.pid, signal.SIGKILL)
        running.communicate(timeout=60)
        time.sleep(1.5)  # workers of a command killed alone notice by themselves
        now = dict(chunks(tmp_path / "store"))
        computed_again = max(computed_again, sum(written[name] != now[name] for name in written.keys() & now.keys()))
        written = now
    last = video_command([clip], tmp_path / "out", *options, "--json")
    out, said = last.communicate(timeout=900)
    assert last.returncode == 0, said
    assert delivered(tmp_path / "out") == delivered(tmp_path / "whole")
    assert computed_again <= 2, "at most one chunk of every worker is written again"
    assert [path for path in tmp_path.rglob("*") if ".part" in path.name] == []
    assert [
        path for path in (tmp_path / "store").rglob("*") if path.parent.name in {"notes", "segments", "marks"}
    ] == []
    assert json.loads(out)["items"][0]["status"] == "delivered"


def chunks(store: Path) -> Iterator[tuple[str, int]]:
    """When every chunk of pixels that has its mark was written."""
    for mark in store.rglob("marks/*.json"):
        output = mark.parent.parent
        frames = mark.name.split(".", maxsplit=1)[0]
        for chunk in [
            *output.glob(f"frames.zarr/pixels/c/{frames}/0/0/0"),
            *output.glob(f"frames.zarr/y/c/{frames}/0/0"),
        ]:
            yield str(chunk), chunk.stat().st_mtime_ns


def make_clip(path: Path) -> None:
    """A pattern that drifts, with noise, and a tone."""
    rng = np.random.default_rng(1)
    ground = rng.integers(0, 255, (HEIGHT + 60, WIDTH + 120, 3), dtype=np.uint8)
    ground = (ground // 4 + np.linspace(0, 180, WIDTH + 120, dtype=np.uint8)[None, :, None]).astype(np.uint8)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"crf": "18", "preset": "ultrafast"})
        video.height, video.width, video.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        sound = container.add_stream("aac", rate=48_000)
        sound.layout = "mono"
        for number in range(RATE * SECONDS):
            down, right = int(30 + 25 * np.sin(number / 40)), number * 100 // (RATE * SECONDS)
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(ground[down : down + HEIGHT, right : right + WIDTH]), format="rgb24"
            )
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        tone = (0.2 * np.sin(2 * np.pi * 440 * np.arange(48_000 * SECONDS) / 48_000)).astype(np.float32)
        for start in range(0, len(tone), 1024):
            piece = av.AudioFrame.from_ndarray(tone[None, start : start + 1024], format="fltp", layout="mono")
            piece.sample_rate, piece.pts, piece.time_base = 48_000, start, Fraction(1, 48_000)
            container.mux(sound.encode(piece))
        container.mux(sound.encode(None))
