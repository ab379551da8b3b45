"""What a whole run costs on top of the bare model: a batch of photographs enlarged by the flow and by a plain loop.

The loop calls the same array functions (decode, network, resample, encode the picture and its thumbnails) in the same
process, with nothing stored, checked or written down. The two take turns, photograph by photograph, so that whatever
else the machine does meets both. Starting the process and Prefect's server is not in it; ``bench_start`` measures that.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import google_crc32c
import numpy as np
from prefect import flow

from datasets.frame_spec import FrameSpec, chunk_key
from datasets.frames import FrameReader, create_frames, frames_entry, write_chunk
from datasets.identity import digest_bytes
from datasets.outputs import MARKS, Manifest, OutputPlace
from datasets.settings import Settings, read_settings
from datasets.storage import open_storage
from flows.opening import choose_models, watched_by
from flows.order import ProductOrder
from flows.product import run_product
from flows.recipes import parse_recipe
from model_blocks.choice import ModelRef
from tasks.executor import open_executor
from tasks.ops.encode import encode_picture
from tasks.ops.geometry import Shape
from tasks.ops.photo import read_photo
from tasks.ops.resample import resize_image
from tasks.passes import fuse
from tasks.progress import Silent
from tasks.publish import PublishConfig
from tasks.thumbnails import ThumbnailsConfig
from tasks.upscale import UpscaleConfig, UpscaleStage
from tests.photographs import save_product
from tests.shared_data import SHARED

MODEL = "realesr-general-x4v3"
WEIGHTS = SHARED / "weights" / f"{MODEL}.pth"
CHUNK = 1024  # pixels


def run(photos: int = 40, width: int = 480, height: int = 360, tasks: int = 200) -> list[str]:
    """Print, and return, the ratio and milliseconds per chunk; 40 photographs take about 5 minutes on 2 cores."""
    lines = _ratio(photos, width, height) if WEIGHTS.is_file() else [f"no ratio: there are no weights at {WEIGHTS}"]
    lines += _parts(CHUNK, tasks)
    for line in lines:
        print(line)
    return lines


class _Turns(Silent):
    """Lets the plain loop do a photograph whenever the flow has finished one, and keeps both times."""

    def __init__(self, bare: Callable[[str], None], last_stage: str) -> None:
        self._bare, self._last_stage = bare, last_stage
        self._since = time.perf_counter()
        self.seconds: list[tuple[float, float]] = []  # of the flow and of the loop, per photograph

    def finished(self, item: str, stage: str, *, seconds: float, cached: bool, skipped: str | None) -> None:
        if stage == self._last_stage:
            begun = time.perf_counter()
            self._bare(item)
            ended = time.perf_counter()
            self.seconds.append((begun - self._since, ended - begun))
            self._since = ended


def _ratio(photos: int, width: int, height: int) -> list[str]:
    with tempfile.TemporaryDirectory() as name, prefect_server(Path(name)):
        folder = Path(name)
        paths = [save_product(folder / f"photo{i:03}.png", width, height, hue=i) for i in range(photos)]
        order = ProductOrder(
            photos=tuple(map(str, paths)),
            recipe="enlarge",
            out=str(folder / "out"),
            models={"upscale": MODEL},
            weights={MODEL: str(WEIGHTS)},
        )
        settings = read_settings(storage_root=str(folder / "store"))
        model = choose_models(settings, order, parse_recipe("enlarge"))["upscale"]
        enlarged: dict[str, bytes] = {}

        def bare(item: str) -> None:
            enlarged[item] = _bare(folder / f"{item}.png", model)

        bare(paths[0].stem)  # loads the weights for both
        turns = _Turns(bare, "thumbnails")
        total = _timed(order, settings, turns)
        for item, data in enlarged.items():
            assert (folder / "out" / f"{item}-enlarged.jpg").read_bytes() == data, "the two must deliver the same"
    return _ratio_lines(turns.seconds, total, f"{photos} photographs of {width}x{height}")


def _ratio_lines(seconds: list[tuple[float, float]], total: float, what: str) -> list[str]:
    loop = sum(bare for _, bare in seconds)
    each = sorted(engine / bare for engine, bare in seconds)
    low, high = each[len(each) // 10], each[-1 - len(each) // 10]
    own = 1000 * statistics.median(engine - bare for engine, bare in seconds)
    return [
        f"{what}, x4 network, resampled to x2: flow {total - loop:.1f} s, loop {loop:.1f} s",
        f"ratio {(total - loop) / loop:.3f}; per photograph median {statistics.median(each):.3f}, "
        f"eight in ten {low:.3f} to {high:.3f}; {own:.0f} ms more a photograph",
    ]


def _timed(order: ProductOrder, settings: Settings, turns: _Turns) -> float:
    """Seconds of the flow's body, as a flow that is running."""

    @flow(name="overhead")
    def body() -> float:
        begun = time.perf_counter()
        assert run_product(order, settings).exit_status == 0
        return time.perf_counter() - begun

    with watched_by(turns):
        return float(body())


def _bare(path: Path, model: ModelRef) -> bytes:
    """One photograph by array functions alone; returns the enlarged picture, encoded."""
    image = read_photo(path.read_bytes()).pixels
    shape = Shape(1, *image.shape)
    enlarge = fuse(UpscaleStage(UpscaleConfig(factor=2), model).passes(shape))
    made = enlarge.apply(image[None], read=shape.whole, region=enlarge.output_shape(shape).whole, shape=shape)[0]
    data = encode_picture(made, format="jpeg", quality=PublishConfig().quality)
    settings = ThumbnailsConfig()
    for size in settings.sizes:
        ratio = min(1.0, size / max(made.shape[:2]))
        small = resize_image(made, round(made.shape[1] * ratio), round(made.shape[0] * ratio))
        encode_picture(small, format=settings.format, quality=settings.quality)
    return data


@contextmanager
def prefect_server(folder: Path) -> Iterator[None]:
    """An own Prefect API for the block, unless there is one already."""
    if os.environ.get("PREFECT_API_URL"):
        yield
        return
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    from deployments.api_server import attach_or_start, wait_until_ready

    server = attach_or_start(folder / "prefect", idle_s=5)
    wait_until_ready(server, timeout_s=90)
    with temporary_settings({PREFECT_API_URL: server.url, PREFECT_API_AUTH_STRING: server.auth_string}):
        yield


def _parts(side: int, tasks: int) -> list[str]:
    """Milliseconds of everything the engine does around an array function, each on its own."""
    with tempfile.TemporaryDirectory() as folder:
        settings = read_settings(storage_root=folder, workers=1)
        storage = open_storage(folder, "bench")
        values = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
        spec, index = FrameSpec(values.shape, "uint8", (1, side, side)), (0, 0, 0)
        target = OutputPlace(storage, digest_bytes(b"target"))
        create_frames(target, spec)
        write = _milliseconds(lambda: write_chunk(target, spec, index, values))
        crc = _milliseconds(lambda: google_crc32c.value(values.tobytes()))
        mark = target.inside(f"{MARKS}/mark.json")
        marker = _milliseconds(lambda: storage.write_bytes(mark, b"{}", durable=False))
        synced = _milliseconds(lambda: storage.write_bytes(mark, b"{}"))
        entry = frames_entry(spec, {chunk_key(index): int(google_crc32c.value(values.tobytes()))})
        target.finish(Manifest(target.fingerprint, "bench", target.stored_objects(), entry))
        reader = FrameReader(target)
        read = _milliseconds(reader.read)
        lines = [
            f"{'ms per chunk':<22}{'read':>8}{'write':>8}{'checksum':>10}{'mark':>8}{'(synced)':>10}{'schedule':>10}",
            f"{f'{side}x{side} RGB':<22}{read - crc:>8.1f}{write - crc - marker:>8.1f}{crc:>10.1f}{marker:>8.2f}"
            f"{synced:>10.2f}",
        ]
        for name, workers in (("in this process", 1), ("two Dask workers", 2)):
            with open_executor(settings.model_copy(update={"workers": workers}), storage) as executor:
                list(executor.run(abs, range(workers * 4)))  # workers import what they need
                begun = time.perf_counter()
                list(executor.run(abs, range(tasks)))
                lines.append(f"{name:<66}{(time.perf_counter() - begun) * 1000 / tasks:>10.2f}")
        return lines


def _milliseconds(work: Callable[[], object], times: int = 9) -> float:
    """The median of several calls."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken) * 1000


if __name__ == "__main__":
    run()
