"""Killed at any moment, a run on a clip goes on under the same command and ends with the same bytes."""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import psutil
import pytest

from datasets.frame_spec import FrameSpec, Index, Pixels
from datasets.frames import TIMES, write_chunk
from datasets.ledger import open_ledger
from datasets.outputs import NOTES, OutputPlace
from datasets.planar import Planes
from datasets.settings import read_settings
from flows.video import run_video
from flows.video_order import VideoOrder
from tasks import decode as decoding
from tasks import decode_writing
from tasks.ops.video.reading import Clip
from tests.flows.clip_files import found, save_moving_clip
from tests.flows.commands import delivered, video_command, wait_for_line

STAGES = [
    {"stage": "upscale", "factor": 2},
    {"stage": "interpolate", "factor": 2},
    {"stage": "encode", "codec": "h264", "segment_frames": 100},
]
OPTIONS = ("--models", "embedded")
KILLS = 10
PATIENCE_S = 5.0
WriteChunk = Callable[[OutputPlace, FrameSpec, Index, Pixels | Planes], int]


def _recipe(folder: Path) -> str:
    path = folder / "stages.json"
    path.write_text(json.dumps(STAGES))
    return str(path)


def _marked_writes(store: Path) -> dict[str, int]:
    """When every chunk and segment that counts as finished was written, in nanoseconds, by its path."""
    times: dict[str, int] = {}
    for mark in found(store, "marks/*.json"):
        output, key = mark.parents[1], mark.stem
        t, y, x = key.split(".")
        for chunk in (*output.glob(f"frames.zarr/pixels/c/{t}/{y}/{x}/0"), *output.glob(f"frames.zarr/*/c/{t}/0/0")):
            with suppress(FileNotFoundError):  # the run is at work
                times[str(chunk)] = chunk.stat().st_mtime_ns
    for segment in found(store, "segments/*.mkv"):
        if (segment.parents[1] / NOTES / f"{segment.name}.json").exists():
            with suppress(FileNotFoundError):
                times[str(segment)] = segment.stat().st_mtime_ns
    return times


def _unmarked(store: Path) -> int:
    """Chunks that lie in the store without counting: they are written again."""
    marked = _marked_writes(store)
    unmarked = {
        (output, path.relative_to(output / "frames.zarr").parts[2:-1])
        for output in (marks.parent for marks in store.rglob("marks"))
        for path in output.glob("frames.zarr/*/c/**/*")
        if path.is_file() and path.parts[-4] not in TIMES and path.parts[-3] not in TIMES and str(path) not in marked
    }
    return len(unmarked)


def _strays(folder: Path) -> list[Path]:
    """What a run leaves only if it was killed."""
    passing = {NOTES, "marks", "segments"}
    return [
        path
        for path in folder.rglob("*")
        if ".part" in path.name or (path.is_file() and passing & set(path.relative_to(folder).parts))
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    clip = save_moving_clip(tmp_path / "in" / "clip.mp4", 20, width=96, height=72)
    options = ("--recipe", _recipe(tmp_path), "--workers", "2", *OPTIONS)
    begun = time.monotonic()
    whole = video_command([clip], tmp_path / "whole", *options, environment={"STILLMOTION_STORAGE_ROOT": "store-whole"})
    wait_for_line(whole, "decode")
    setting_up = time.monotonic() - begun
    _, said = whole.communicate(timeout=600)
    assert whole.returncode == 0, said
    working = time.monotonic() - begun - setting_up
    chance, store = random.Random(11), tmp_path / "store"
    print(f"\nset up {setting_up:.1f} s, at work {working:.1f} s")  # noqa: T201 - to be read
    for number in range(KILLS):
        before = _marked_writes(store)
        running = video_command([clip], tmp_path / "out", *options)
        if number:  # the first one is killed while it sets up
            _wait_for_more(store, before, running)
        time.sleep(chance.uniform(0, 0.1) * (working if number else setting_up))
        assert running.poll() is None, "the run ended before it was killed"
        # The whole group as a machine that loses power, or the command alone, whose workers notice by themselves.
        os.killpg(running.pid, signal.SIGKILL) if chance.random() < 0.5 else os.kill(running.pid, signal.SIGKILL)
        running.communicate(timeout=60)
        time.sleep(1.5)  # until they did
        after = _marked_writes(store)
        again = [path for path in before if path in after and after[path] != before[path]]
        print(f"kill {number}: finished {len(before)} -> {len(after)}, half done {_unmarked(store)}")  # noqa: T201 - to be read
        assert again == []
        assert _unmarked(store) <= 3, "a chunk of each worker and one of the decoder"
    last = video_command([clip], tmp_path / "out", *options, "--json")
    out, said = last.communicate(timeout=600)
    assert last.returncode == 0, said
    assert delivered(tmp_path / "out") == delivered(tmp_path / "whole")
    assert json.loads(out)["items"][0]["outputs"][0]["role"] == "clip"
    assert _strays(store) == [] == _strays(tmp_path / "out")
    assert _manifests(store) == _manifests(tmp_path / "store-whole")


def _manifests(store: Path) -> dict[str, object]:
    return {path.parent.name: json.loads(path.read_text()) for path in store.rglob("manifest.json")}


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("stage", ["decode", "upscale+interpolate", "encode"])
def test_an_interrupted_command_ends_soon(tmp_path: Path, workers: int, stage: str) -> None:
    clip = save_moving_clip(tmp_path / "in" / "clip.mp4", 12, width=320, height=240)
    running = video_command(
        [clip], tmp_path / "out", "--recipe", _recipe(tmp_path), "--workers", str(workers), *OPTIONS
    )
    sign = {
        "decode": "frames.zarr/y/c/*/0/0",
        "upscale+interpolate": "frames.zarr/pixels/c/*/0/0/0",
        "encode": "segments/*",
    }
    _wait_for(tmp_path / "store", sign[stage], running.pid)
    time.sleep(0.5)
    children = psutil.Process(running.pid).children(recursive=True)
    begun = time.monotonic()
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=60)
    took = time.monotonic() - begun
    print(f"\n{stage}, {workers} workers: ended after {took:.2f} s")  # noqa: T201 - to be read
    assert took < PATIENCE_S
    assert running.returncode == 130
    assert "interrupted; the same command goes on where this one stopped" in said
    assert "Traceback" not in said
    psutil.wait_procs(children, timeout=5)
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    ledger = open_ledger(f"sqlite:///{tmp_path / 'store' / 'ledger.db'}")
    with ledger.session("default") as session:
        assert session.find_run("latest").status == "interrupted"


def _wait_for_more(store: Path, before: dict[str, int], running: "subprocess.Popen[str]") -> None:
    """Until a run finished something."""
    while _marked_writes(store).keys() <= before.keys():
        assert running.poll() is None
        time.sleep(0.05)


def _wait_for(store: Path, sign: str, pid: int) -> None:
    while not found(store, sign):
        assert psutil.pid_exists(pid)
        time.sleep(0.02)


class _Killed(BaseException):
    """Stands for a process that is no more."""


def test_decoding_goes_on_behind_what_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = save_moving_clip(tmp_path / "in" / "clip.mp4", 6, width=96, height=64)
    stages: tuple[dict[str, Any], ...] = ({"stage": "decode"}, {"stage": "encode", "codec": "ffv1"})
    whole = _run(clip, tmp_path / "whole", stages, tmp_path / "store-whole")
    with monkeypatch.context() as patched:
        patched.setattr(decode_writing, "write_chunk", _failing_after(10))
        with pytest.raises(_Killed):
            _run(clip, tmp_path / "out", stages, tmp_path / "store")
    before = _marked_writes(tmp_path / "store")
    assert before
    begun: list[int] = []
    real = Clip.frames

    def frames(self: Clip, start_index: int = 0, *, after: int | None = None) -> Iterator[object]:
        begun.append(start_index)
        given = real(self, start_index, after=after)
        for frame in given:
            if len(begun) == 1:
                begun.append(self._decoder.tally.frames)  # decoded until the first one was given
            yield frame

    with monkeypatch.context() as patched:
        patched.setattr(Clip, "frames", frames)
        written = _counted(patched)
        assert _run(clip, tmp_path / "out", stages, tmp_path / "store") == whole
    assert begun[0] == 80  # ten chunks of 8 frames
    assert begun[1] <= 25  # from the key frame before, not from the start
    assert min(written) == 10
    assert len(written) == -(-150 // 8) - 10
    assert _strays(tmp_path / "store") == []
    assert _manifests(tmp_path / "store") == _manifests(tmp_path / "store-whole")


def test_a_begun_store_of_larger_chunks_is_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With less memory than the interrupted run had, chunks become smaller and the clip stays the same."""
    clip = save_moving_clip(tmp_path / "in" / "clip.mp4", 2, width=96, height=64)
    stages: tuple[dict[str, Any], ...] = ({"stage": "decode"}, {"stage": "encode", "codec": "ffv1"})
    whole = _run(clip, tmp_path / "whole", stages, tmp_path / "store-whole")
    for first, second in ((8, 3), (3, 8)):
        root = tmp_path / f"store-{first}"
        with monkeypatch.context() as patched:
            patched.setattr(decode_writing, "write_chunk", _failing_after(2))
            patched.setattr(decoding, "chunk_frames", lambda *_, frames=first: frames)
            with pytest.raises(_Killed):
                _run(clip, tmp_path / f"out-{first}", stages, root)
        with monkeypatch.context() as patched:
            patched.setattr(decoding, "chunk_frames", lambda *_, frames=second: frames)
            assert _run(clip, tmp_path / f"out-{first}", stages, root) == whole


def _failing_after(chunks: int) -> WriteChunk:
    written: list[Index] = []

    def write(place: OutputPlace, spec: FrameSpec, index: Index, values: Pixels | Planes) -> int:
        if len(written) == chunks:
            raise _Killed
        written.append(index)
        return write_chunk(place, spec, index, values)

    return write


def _counted(patched: pytest.MonkeyPatch) -> list[int]:
    written: list[int] = []

    def write(place: OutputPlace, spec: FrameSpec, index: Index, values: Pixels | Planes) -> int:
        written.append(index[0])
        return write_chunk(place, spec, index, values)

    patched.setattr(decode_writing, "write_chunk", write)
    return written


def _run(clip: Path, out: Path, stages: tuple[dict[str, Any], ...], store: Path) -> dict[str, str]:
    order = VideoOrder(clips=(str(clip),), recipe=stages, out=str(out))
    summary = run_video(order, read_settings(storage_root=str(store)))
    assert summary.exit_status == 0, summary.to_json()
    with av.open(str(next(out.glob("*.mkv")))) as container:
        assert container.streams.audio
    return delivered(out)
