"""Whole runs through adapters: photographs and clips, the example command and server, what is called and kept."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from datasets.settings import read_settings
from flows.order import ProductOrder
from flows.product import run_product
from flows.summary import RunSummary
from flows.video import plan_video, run_video
from flows.video_order import VideoOrder
from model_blocks.adapters import examples
from tests.flows.clip_facts import facts_of
from tests.flows.clip_files import save_moving_clip

EXAMPLES = Path(examples.__file__).parent
ENCODED = {"stage": "encode", "codec": "ffv1", "container": "mkv"}

pytestmark = pytest.mark.usefixtures("prefect_api")


def declared(folder: Path, **facts: Any) -> str:
    path = folder / "adapter.json"
    path.write_text(json.dumps({"name": "test", "version": "1", **facts}))
    return str(path)


def painting(folder: Path, **more: Any) -> str:
    return declared(folder, kind="subprocess", command=[sys.executable, str(EXAMPLES / "paint.py")], **more)


@contextmanager
def serving() -> Iterator[str]:
    """The example server in a process of its own."""
    server = subprocess.Popen([sys.executable, str(EXAMPLES / "server.py")], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.kill()
        server.wait()


def video(clip: Path, out: Path, adapter: str, *stages: dict[str, Any], **restyle: Any) -> RunSummary:
    order = VideoOrder(
        clips=(str(clip),), recipe=stages or "restyle", out=str(out), restyle={"adapter": adapter, **restyle}
    )
    return run_video(order, read_settings(storage_root=str(out.parent / "store")))


def frames_of(path: Path) -> np.ndarray[Any, Any]:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_moving_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", 0.8, width=96, height=64)


def test_a_clip_through_the_example_command_plays_with_its_sound(clip: Path, tmp_path: Path) -> None:
    summary = video(clip, tmp_path / "out", painting(tmp_path), prompt="few colours", style="poster", seed=3)
    (item,) = summary.items
    assert item.status == "delivered", item.reasons
    made, source = facts_of(tmp_path / "out" / item.outputs[0].path.name), facts_of(clip)
    assert len(made.frames) == len(source.frames) == 20
    assert made.times == source.times
    assert [track.packets for track in made.tracks] == [track.packets for track in source.tracks]
    assert {each.file.role for each in item.outputs} >= {"clip", "poster", "contact_sheet"}


def test_a_clip_through_the_example_server_is_more_colourful(clip: Path, tmp_path: Path) -> None:
    with serving() as url:
        adapter = declared(tmp_path, kind="http", endpoint=url, loopback=True)
        (item,) = video(clip, tmp_path / "out", adapter, {"stage": "restyle"}, ENCODED, seed=0).items
    assert item.status == "delivered", item.reasons
    made, source = (frames_of(path).astype(int) for path in (item.outputs[0].path, clip))
    spread = [np.abs(frames - frames.mean(-1, keepdims=True)).mean() for frames in (source, made)]
    assert spread[1] == pytest.approx(2 * spread[0], rel=0.1)
    assert facts_of(item.outputs[0].path).tracks


COUNTING = """
import sys, pathlib
calls = pathlib.Path({calls!r})
calls.write_text(calls.read_text() + "x" if calls.exists() else "x")
if len(calls.read_text()) == {fails}:
    sys.exit("the third call fails")
exec(compile(pathlib.Path({paint!r}).read_text(), "paint", "exec"))
"""


def test_a_finished_chunk_is_not_called_again(clip: Path, tmp_path: Path) -> None:
    calls, script = tmp_path / "calls", tmp_path / "counting.py"
    script.write_text(COUNTING.format(calls=str(calls), fails=3, paint=str(EXAMPLES / "paint.py")))
    adapter = declared(tmp_path, kind="subprocess", command=[sys.executable, str(script)], frames_per_call=5)
    stages = ({"stage": "restyle"}, ENCODED)
    (failed,) = video(clip, tmp_path / "out", adapter, *stages).items
    assert (failed.status, failed.reasons[0].code) == ("failed", "adapter_exit")
    assert "frames 10 to 14" in failed.reasons[0].message
    (item,) = video(clip, tmp_path / "out", adapter, *stages).items
    assert item.status == "delivered"
    assert len(calls.read_text()) == 3 + 2  # of four chunks two were there
    again = video(clip, tmp_path / "out", adapter, *stages)
    assert all(stage.cached for stage in again.items[0].stages)
    (whole,) = video(clip, tmp_path / "whole" / "out", painting(tmp_path, frames_per_call=5), *stages).items
    np.testing.assert_array_equal(frames_of(item.outputs[0].path), frames_of(whole.outputs[0].path))


def photo(tmp_path: Path, mode: str = "RGB", size: tuple[int, int] = (60, 40)) -> Path:
    values = np.random.default_rng(1).integers(0, 255, (12, 12, len(mode)), dtype=np.uint8)
    Image.fromarray(values, mode).resize(size).save(tmp_path / "cup.png")
    return tmp_path / "cup.png"


def product(source: Path, out: Path, recipe: Any = "restyle", **restyle: Any) -> RunSummary:
    order = ProductOrder(photos=(str(source),), recipe=recipe, out=str(out), restyle=restyle)
    return run_product(order, read_settings(storage_root=str(out.parent / "store")))


def test_a_photograph_is_restyled_and_keeps_its_transparency(tmp_path: Path) -> None:
    source = photo(tmp_path, "RGBA")
    (item,) = product(source, tmp_path / "out", adapter="mock", prompt="warm").items
    assert item.status == "delivered", item.reasons
    assert [each.file.role for each in item.outputs][:2] == ["restyled", "thumbnail"]
    made, before = (np.asarray(Image.open(path)).astype(int) for path in (item.outputs[0].path, source))
    np.testing.assert_array_equal(made[..., 3], before[..., 3])
    seen = before[..., 3] > 128
    shift = (made[..., :3] - np.rint(before[..., :3] * 0.6))[seen]
    assert np.ptp(shift, axis=0).max() <= 1  # one tint everywhere


def test_words_style_and_seed_decide_and_the_declaration_path_does_not(tmp_path: Path) -> None:
    source = photo(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first = product(source, tmp_path / "out", adapter=painting(tmp_path / "a"), seed=1).items[0]
    same = product(source, tmp_path / "out", adapter=painting(tmp_path / "b", memory_mb=2000), seed=1).items[0]
    assert [stage.cached for stage in first.stages] == [False] * 4
    assert [stage.cached for stage in same.stages] == [True] * 4
    other = product(source, tmp_path / "out", adapter=painting(tmp_path / "b"), seed=2).items[0]
    assert [stage.cached for stage in other.stages] == [True, False, False, False]


def test_a_large_photograph_is_one_call(tmp_path: Path) -> None:
    calls, script = tmp_path / "calls", tmp_path / "counting.py"
    script.write_text(COUNTING.format(calls=str(calls), fails=0, paint=str(EXAMPLES / "paint.py")))
    adapter = declared(tmp_path, kind="subprocess", command=[sys.executable, str(script)])
    stages = [{"stage": "restyle"}, {"stage": "publish"}]
    (item,) = product(photo(tmp_path, size=(1500, 1100)), tmp_path / "out", stages, adapter=adapter).items
    assert item.status == "delivered", item.reasons
    assert calls.read_text() == "x"


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        (None, "adapter_missing"),
        ({"kind": "mock", "price_micro_usd": 40_000}, "adapter_price"),
        ({"kind": "telepathy"}, "settings"),
        ({"kind": "http", "endpoint": "http://127.0.0.1:9/x"}, "settings"),
    ],
)
def test_what_cannot_be_called_is_refused_with_a_code(tmp_path: Path, facts: dict[str, Any] | None, code: str) -> None:
    restyle = {} if facts is None else {"adapter": declared(tmp_path, **facts)}
    (item,) = product(photo(tmp_path), tmp_path / "out", **restyle).items
    assert (item.status, item.reasons[0].code) == ("failed", code)


def test_a_dry_run_calls_nobody(clip: Path, tmp_path: Path) -> None:
    adapter = declared(tmp_path, kind="subprocess", command=["no-such-program"])
    order = VideoOrder(clips=(str(clip),), recipe="restyle", out=str(tmp_path), restyle={"adapter": adapter})
    summary = plan_video(order, read_settings(storage_root=str(tmp_path / "store")))
    assert "restyle" in summary.items[0].reasons[0].message
