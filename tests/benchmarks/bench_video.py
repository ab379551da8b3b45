"""What clips cost on top of their codecs and models: the stages' own code beside the shortest loop that does the same.

Every comparison takes turns within one run, so that whatever else the machine does meets both; medians of the turns.
The loops store, check and write down nothing. Starting the process and Prefect's server is not in it.
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from datasets.settings import Settings, read_settings
from flows.bookkeeping import begin_run
from flows.clip_recipes import parse_clip_recipe
from flows.clips import process_clip
from flows.opening import open_run
from flows.video import run_video
from flows.video_order import VideoOrder
from model_blocks.choice import ModelRef
from model_blocks.runtime import upscaler
from tasks.clip_local import clip_stage
from tasks.clip_target import EncodeConfig
from tasks.context import current_run
from tasks.decode import decode, probe_clip
from tasks.progress import Silent
from tasks.upscale import UpscaleConfig, UpscaleStage
from tests.benchmarks.bench_overhead import prefect_server
from tests.shared_data import SHARED

MODEL = "realesr-animevideov3"
NAME = "realesr-animevideo-v3"
WEIGHTS = SHARED / "weights" / f"{MODEL}.pth"
RATE, THREADS, CRF = 25, 2, 20


def run(seconds: float = 8, size: tuple[int, int] = (1280, 720), model_frames: int = 12, repeats: int = 3) -> list[str]:
    """Print, and return, a line per comparison; about 10 minutes on 2 cores."""
    with tempfile.TemporaryDirectory() as name, prefect_server(Path(name)):
        folder = Path(name)
        clip = save_noisy(folder / "clip.mp4", round(seconds * RATE), *size)
        lines = [_transcoded(clip, folder, repeats)]
        small = save_noisy(folder / "small.mp4", model_frames, size[0] // 4, size[1] // 4)
        lines += [_upscaled(small, folder, repeats)] if WEIGHTS.is_file() else [f"no model: no weights at {WEIGHTS}"]
        lines += _workers(clip, folder)
    for line in lines:
        print(line)
    return lines


def save_noisy(path: Path, frames: int, width: int, height: int) -> Path:
    """H.264 of a picture that pans, with the noise of a camera."""
    rng = np.random.default_rng(0)
    ground = cv2.resize(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8), (width * 2, height * 2))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "crf": "18"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            seen = ground[number : number + height, 2 * number % width :][:, :width]
            noise = rng.integers(-6, 7, seen.shape, dtype=np.int16)
            values = np.clip(seen + noise, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(values, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@contextmanager
def _run(store: Path, recipe: Any, models: dict[str, str] | str = "embedded", **more: Any) -> Iterator[None]:
    """A run's means with a store of its own that is gone afterwards."""
    settings = read_settings(storage_root=str(store))
    order = VideoOrder(clips=("clip",), recipe=recipe, models=models, **more)
    parsed = parse_clip_recipe(recipe)[1]
    with open_run("bench", settings, order, parsed, Silent()) as run:
        begin_run(run, "video", order, parsed, ("clip",))
        yield
    shutil.rmtree(store)


def _transcoded(clip: Path, folder: Path, repeats: int) -> str:
    own, plain, parts = [], [], []
    config = EncodeConfig(codec="h264", preset="medium", quality=CRF, threads=THREADS)
    recipe = (config.model_dump(exclude_none=True),)
    reading, parsed = parse_clip_recipe(recipe)
    for turn in range(repeats):
        with _run(folder / f"store{turn}", recipe):
            begun = time.perf_counter()
            result = process_clip("clip", str(clip), reading, parsed, folder / "out")
            own.append(time.perf_counter() - begun)
            parts.append(result.stages[0].seconds)
            assert result.status == "delivered", result.reasons
        plain.append(_timed(partial(_loop, clip, folder / "plain.mp4")))
    speed = statistics.median(plain) / statistics.median(own)
    spread = min(plain) / max(own), max(plain) / min(own)
    return (
        f"{'decode, store, encode':<24}{statistics.median(own):>8.2f} s, decode {statistics.median(parts):.2f}; "
        f"plain loop {statistics.median(plain):.2f} s; {speed:.2f} of its speed ({spread[0]:.2f}-{spread[1]:.2f})"
    )


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _loop(clip: Path, out: Path) -> None:
    """Decode and encode with the same codec, options and threads."""
    with av.open(str(clip)) as source, av.open(str(out), "w") as target:
        stream = target.add_stream("libx264", rate=RATE, options={"preset": "medium", "crf": str(CRF)})
        assert isinstance(stream, av.VideoStream)
        read = source.streams.video[0]
        read.thread_type = "AUTO"
        stream.width, stream.height, stream.pix_fmt = read.width, read.height, "yuv420p"
        stream.codec_context.thread_count = THREADS
        stream.codec_context.time_base = Fraction(1, RATE)
        for number, frame in enumerate(source.decode(read)):
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            frame.pict_type = av.video.frame.PictureType.NONE
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))


def _upscaled(clip: Path, folder: Path, repeats: int) -> str:
    own, bare = [], []
    config = UpscaleConfig(factor=4)
    recipe = (config.model_dump(exclude_none=True), {"stage": "encode"})
    reading, _ = parse_clip_recipe(recipe)
    for turn in range(repeats + 1):  # the first one loads the model
        with _run(folder / f"up{turn}", recipe, {"upscale": NAME}, weights={NAME: str(WEIGHTS)}):
            model = current_run().models["upscale"]
            decoded = decode("clip", str(clip), probe_clip(str(clip), reading), reading)
            frames = _frames(clip)
            own.append(_timed(partial(clip_stage, "clip", decoded.picture, (UpscaleStage(config, model),))))
            bare.append(_timed(partial(_model_loop, frames, model)))
    ratio = statistics.median(own[1:]) / statistics.median(bare[1:])
    return (
        f"{'upscale by ' + MODEL:<24}{statistics.median(own[1:]):>8.2f} s; bare model "
        f"{statistics.median(bare[1:]):.2f} s; {ratio:.3f} of its time"
    )


def _frames(clip: Path) -> NDArray[np.uint8]:
    with av.open(str(clip)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def _model_loop(frames: NDArray[np.uint8], model: ModelRef) -> None:
    """Every frame through the network, its result left as it comes."""
    network = upscaler(model, 4)
    with torch.inference_mode():
        for frame in frames:
            image = torch.from_numpy(frame.astype(np.float32) / 255).permute(2, 0, 1)[None]
            network.upscale(image)


def _workers(clip: Path, folder: Path) -> list[str]:
    seconds = {}
    recipe = ({"stage": "grade", "exposure_stops": 0.1}, {"stage": "encode", "segment_frames": 50})
    for workers in (1, 2):
        order = VideoOrder(clips=(str(clip),), recipe=recipe, out=str(folder / "out"), models="embedded")
        settings = read_settings(storage_root=str(folder / f"workers{workers}"), workers=workers)
        seconds[workers] = _timed(partial(run_video, order, settings))
    again = _timed(partial(_again, order, settings))
    return [
        f"{'two workers':<24}{seconds[2]:>8.2f} s; one {seconds[1]:.2f} s; {seconds[1] / seconds[2]:.2f} times as fast",
        f"{'a finished clip again':<24}{again:>8.2f} s",
    ]


def _again(order: VideoOrder, settings: Settings) -> None:
    summary = run_video(order, settings)
    assert all(stage.cached for item in summary.items for stage in item.stages)
