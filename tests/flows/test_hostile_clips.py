"""Hostile clips through the whole flow: every one meets the behaviour that SOURCES.tsv asks for, the others go on."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from av.error import FFmpegError

from datasets.errors import PipelineError
from flows.summary import ItemResult, RunSummary
from flows.video import video
from flows.video_order import VideoOrder
from tasks.decode import DecodeConfig, probe_clip
from tasks.ops.video.sources import open_source
from tasks.prefect_stage import value_of
from tests.flows.canary import Canary
from tests.flows.clip_facts import facts_of
from tests.flows.commands import ROOT
from tests.flows.made_clips import planes_clip
from tests.shared_data import fixture

WARN: list[dict[str, Any]] = [
    {"stage": "decode", "damage": "warn"},
    {"stage": "encode", "codec": "ffv1", "container": "mkv"},
]
REFUSED = {  # the code that each gets
    "audio_only.mp4": "no_video_stream",
    "cut_middle_moov_end.mp4": "clip_truncated",
    "moov_missing.mp4": "clip_truncated",
    "playlist.m3u8": "playlist",
    "text_named.mp4": "not_a_clip",
    "zero_frames.mp4": "no_frames",
}
DAMAGED = {  # what is found in each, and the frames that are there
    "bitrot_mdat.mp4": ({"damaged_frames"}, 181),
    "cut_middle_moov_front.mp4": ({"file_truncated", "frames_missing", "short_stream"}, 92),
    "real_corrupted.mp4": ({"damaged_frames", "undecodable_packets", "frames_missing"}, 49),
}
MOVING = {"animated.gif": 6, "animated.webp": 6}


def run(clips: list[Path], out: Path, recipe: Any = "passthrough") -> RunSummary:
    order = VideoOrder(clips=tuple(map(str, clips)), recipe=recipe, out=str(out))
    summary = value_of(video(order, return_state=True))
    assert isinstance(summary, RunSummary)
    return summary


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Canary]:
    """A clip that lies beside the hostile ones, and an address."""
    watched = Canary(planes_clip(tmp_path / "canary.ts", "mpeg2video", "yuv420p"))
    yield watched
    watched.close()


def lists(folder: Path, canary: Canary) -> dict[str, Path]:
    """Files that name the canary, under the names of videos."""
    folder.mkdir()
    texts = {
        "concat.mp4": f"ffconcat version 1.0\nfile {canary.path}\n",
        "list.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{canary.path}\n#EXT-X-ENDLIST\n",
        "address.mov": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{canary.address}\n#EXT-X-ENDLIST\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    return {name: folder / name for name in texts}


def check_refused(item: ItemResult, code: str) -> None:
    assert (item.status, item.outputs) == ("failed", ()), item.item
    (reason,) = item.reasons
    assert (reason.code, reason.level) == (code, "error"), reason
    assert "Traceback" not in reason.message
    assert "\n" not in reason.message


def check_said(item: ItemResult) -> None:
    """The sentence holds what was expected, what came and what to do."""
    (reason,) = item.reasons
    assert all(str(reason.facts[each]) in reason.message for each in ("expected", "came", "remedy")), reason


@pytest.mark.usefixtures("prefect_api")
def test_every_hostile_clip_is_refused_and_opens_nothing_besides(tmp_path: Path, canary: Canary) -> None:
    named = lists(tmp_path / "in", canary)
    for name, size in (("rabbit320.webm", 200), ("av1_video.mkv", 100)):
        (tmp_path / "in" / name).write_bytes(fixture(f"videos/{name}").read_bytes()[:size])
    expected = {fixture(f"hostile/{name}"): code for name, code in REFUSED.items()}
    expected |= dict.fromkeys(named.values(), "playlist")
    expected |= {tmp_path / "in" / name: "clip_broken" for name in ("rabbit320.webm", "av1_video.mkv")}
    good = planes_clip(tmp_path / "good.mkv", "libx264", "yuv420p")
    assert not canary.touched()
    summary = run([*expected, good], tmp_path / "out")
    assert not canary.touched()
    assert (summary.status, summary.exit_status) == ("failed", 1)
    for item, code in zip(summary.items[:-1], expected.values(), strict=True):
        check_refused(item, code)
        check_said(item)
    assert summary.items[-1].status == "delivered"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"good-clip.mkv", "report.html", "provenance"}


def test_a_list_is_not_opened_where_sound_is_read(tmp_path: Path, canary: Canary) -> None:
    for path in lists(tmp_path / "in", canary).values():
        with suppress(FFmpegError), open_source(path) as opened:
            assert not opened.streams.audio
    assert not canary.touched()


def test_the_canary_notices(canary: Canary) -> None:
    canary.path.read_bytes()
    assert canary.touched()
    assert not canary.touched()
    with pytest.raises(OSError, match="timed out"):
        urlopen(canary.address, timeout=0.1)
    assert canary.touched()


@pytest.mark.usefixtures("prefect_api")
def test_damage_is_refused_with_counts_and_delivered_with_a_warning_if_asked(tmp_path: Path) -> None:
    cut = tmp_path / "cut.webm"
    whole = fixture("videos/rabbit320.webm").read_bytes()
    cut.write_bytes(whole[: len(whole) // 4])
    bitrot = fixture("hostile/bitrot_mdat.mp4")
    found = ({"file_truncated", "short_stream"}, len(facts_of(cut).frames))
    check_damaged([bitrot, cut], [DAMAGED[bitrot.name], found], tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("name", ["cut_middle_moov_front.mp4", "real_corrupted.mp4"])
def test_other_damage_is_treated_alike(tmp_path: Path, name: str) -> None:
    check_damaged([fixture(f"hostile/{name}")], [DAMAGED[name]], tmp_path)


def check_damaged(clips: list[Path], expected: list[tuple[set[str], int]], folder: Path) -> None:
    refused = run(clips, folder / "refused")
    for item, (codes, _) in zip(refused.items, expected, strict=True):
        check_refused(item, "clip_damaged")
        damage = item.reasons[0].facts["damage"]
        assert isinstance(damage, list)
        assert codes <= {each["code"] for each in damage}
        assert '"damage": "warn"' in item.reasons[0].message
    assert {path.name for path in (folder / "refused").rglob("*")} == {"report.html"}
    warned = run(clips, folder / "warned", tuple(WARN))
    assert warned.exit_status == 0
    for item, (codes, frames) in zip(warned.items, expected, strict=True):
        assert codes <= {reason.code for reason in item.reasons if reason.level == "warning"}
        assert len(facts_of(item.outputs[0].path).frames) == item.outputs[0].file.extra["frames"] == frames


@pytest.mark.usefixtures("prefect_api")
def test_what_moves_is_a_clip(tmp_path: Path) -> None:
    summary = run([fixture(f"hostile/{name}") for name in MOVING], tmp_path / "out")
    assert [item.outputs[0].file.extra["frames"] for item in summary.items] == list(MOVING.values())


@pytest.mark.usefixtures("prefect_api")
def test_one_damaged_clip_of_three_is_explained_and_two_are_delivered(tmp_path: Path) -> None:
    good = [planes_clip(tmp_path / f"{name}.mkv", "libx264", "yuv420p") for name in "ab"]
    clips = [good[0], fixture("hostile/bitrot_mdat.mp4"), good[1]]
    done = subprocess.run(
        [sys.executable, "-m", "deployments.cli", "video", *map(str, clips), "--recipe", "passthrough",
         "--out", str(tmp_path / "out"), "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert [item["status"] for item in said["items"]] == ["delivered", "failed", "delivered"]
    assert said["items"][1]["reasons"][0]["code"] == "clip_damaged"
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made == {"a-clip.mkv", "b-clip.mkv", "report.html", "provenance"}


@pytest.mark.usefixtures("prefect_api")
def test_paths_that_are_no_readable_file_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "empty.mp4").touch()
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    expected = {
        "folder.mp4": ("unreadable", "not a regular file"),
        "empty.mp4": ("not_a_clip", "an empty file"),
        "pipe.mp4": ("unreadable", "not a regular file"),
        "dangling.mp4": ("not_found", "check the path"),
        "loop.mp4": ("unreadable", "cannot be read"),
        "missing.mp4": ("not_found", "check the path"),
    }
    summary = run([tmp_path / name for name in expected], tmp_path / "out")
    for item, (code, words) in zip(summary.items, expected.values(), strict=True):
        check_refused(item, code)
        assert words in item.reasons[0].message
    assert {path.name for path in (tmp_path / "out").rglob("*")} <= {"report.html"}


def test_a_file_without_rights_is_refused_for_that() -> None:
    """By a child that gives up the rights of an administrator, who may read everything."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        clip = planes_clip(Path(folder) / "mine.mkv", "libx264", "yuv420p")
        clip.chmod(0)
        child = os.fork()
        if not child:
            status = 3
            try:
                status = _refused_as_nobody(clip)
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _refused_as_nobody(clip: Path) -> int:
    if os.getuid() == 0:
        os.setuid(65534)
    try:
        probe_clip(str(clip), DecodeConfig())
    except PipelineError as error:
        return 0 if error.code == "unreadable" and "check its rights" in str(error) else 1
    return 2
