"""What clips are delivered as: every codec and container, depth, transparency, colour, and what is kept."""

import hashlib
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image, ImageSequence

from datasets.outputs import OutputPlace, find_output
from datasets.settings import read_settings
from datasets.storage import open_storage
from flows.summary import ItemResult, RunSummary
from flows.video import run_video
from flows.video_order import VideoOrder
from tests.moving_square import FRAMES, HEIGHT, PTS, TICK, WIDTH, Frames, look, psnr, save, walking
from tests.shared_data import fixture

pytestmark = pytest.mark.usefixtures("prefect_api")

SECONDS = [float(pts * TICK) for pts in PTS]
TAGGED = (1, 1, 1, 1)  # BT.709 throughout, limited range, by ITU-T H.273 and FFmpeg
EXPECTED = {
    "h264": ("h264", "mp4", "yuv420p", 38),
    "hevc": ("hevc", "mp4", "yuv420p", 38),
    "av1": ("libdav1d", "mp4", "yuv420p", 36),
    "vp9": ("libvpx-vp9", "webm", "yuv420p", 36),
    "prores4444": ("prores", "mov", "yuv444p12le", 36),  # FFmpeg decodes all of 4444 as 12 bits
    "ffv1": ("ffv1", "mkv", "yuv420p", 38),
    "gif": ("gif", "gif", "", 28),
}


def deliver(clip: Path, *stages: dict[str, Any], store: str = "store", **more: Any) -> ItemResult:
    out = str(Path(f"out-{store}").absolute())
    order = VideoOrder(clips=(str(clip),), recipe=stages, out=out, models="embedded", **more)
    summary = run_video(order, read_settings(storage_root=str(Path(store).absolute())))
    return only(summary)


def only(summary: RunSummary) -> ItemResult:
    (item,) = summary.items
    assert item.status == "delivered", item.reasons
    return item


def encode(codec: str = "h264", **more: Any) -> dict[str, Any]:
    return {"stage": "encode", "codec": codec, **more}


def delivered(item: ItemResult) -> dict[str, str]:
    return {each.path.name: hashlib.sha256(each.path.read_bytes()).hexdigest() for each in item.outputs}


@pytest.fixture(scope="module")
def in_all_codecs(prefect_api: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An ordinary 8-bit clip in every codec, from one order."""
    folder = tmp_path_factory.mktemp("codecs")
    clip = save(folder / "in.mp4", "libx264", "yuv420p", {"crf": "1"})
    codecs = [*EXPECTED, "webp"]
    order = VideoOrder(clips=(str(clip),), recipe=tuple(map(encode, codecs)), out=str(folder / "out"))
    item = only(run_video(order, read_settings(storage_root=str(folder / "store"))))
    return {codec: each.path for codec, each in zip(codecs, item.outputs, strict=True)}


@pytest.mark.parametrize("codec", EXPECTED)
def test_every_codec_holds_the_clip(codec: str, in_all_codecs: dict[str, Path]) -> None:
    name, container, form, quality = EXPECTED[codec]
    path = in_all_codecs[codec]
    seen = look(path)
    assert (path.suffix, seen.codec) in ((f".{container}", name), (f".{container}", codec))
    assert seen.pixel_format == form or not form
    assert seen.seconds == pytest.approx(SECONDS, abs=0.001)
    assert seen.frames.shape[:3] == (FRAMES, HEIGHT, WIDTH)
    assert psnr(seen.frames[..., :3], walking()) > quality
    assert seen.tags == TAGGED or codec == "gif"


def test_an_animated_webp_holds_the_clip(in_all_codecs: dict[str, Path]) -> None:
    frames, lasting = [], []
    with Image.open(in_all_codecs["webp"]) as animation:
        for each in ImageSequence.Iterator(animation):
            frames.append(np.asarray(each.convert("RGB"), np.uint16) * 257)
            lasting.append(each.info["duration"])
    assert np.shape(frames) == (FRAMES, HEIGHT, WIDTH, 3)
    assert psnr(np.stack(frames), walking()) > 30
    assert lasting[:-1] == [40, 40, 40, 80, 40, 40, 40, 80, 40]  # milliseconds


@pytest.mark.parametrize(
    ("codec", "decoder", "factor"),
    [("vp9", "libvpx-vp9", 1), ("vp9", "libvpx-vp9", 2), ("prores4444", None, 1), ("ffv1", None, 2)],
)
def test_transparency_is_kept(codec: str, decoder: str | None, factor: int) -> None:
    clip = save(Path("in.mov"), "prores_ks", "yuva444p10le", {"profile": "4444", "alpha_bits": "16"})
    stages = ({"stage": "upscale", "factor": 2},) if factor == 2 else ()
    seen = look(deliver(clip, *stages, encode(codec)).outputs[0].path, decoder)
    assert seen.frames.shape == (FRAMES, HEIGHT * factor, WIDTH * factor, 4)
    shrunk = seen.frames[:, ::factor, ::factor, 3].astype(float)
    assert np.abs(shrunk - walking(4)[..., 3]).mean() < 0.01 * 65535


def test_without_being_asked_transparency_finds_a_codec_that_holds_it() -> None:
    clip = save(Path("in.mkv"), "ffv1", "yuva420p")
    seen = look(deliver(clip, {"stage": "encode"}).outputs[0].path, "libvpx-vp9")
    assert seen.pixel_format == "yuva420p"


def test_ten_bits_stay_ten_bits() -> None:
    clip = save(Path("in.mp4"), "libx265", "yuv420p10le", {"crf": "4", "x265-params": "log-level=error"})
    for stages in ((), ({"stage": "upscale", "factor": 2},)):
        seen = look(deliver(clip, *stages, {"stage": "encode"}).outputs[0].path)
        assert (seen.codec, seen.pixel_format, seen.tags) == ("hevc", "yuv420p10le", TAGGED)
        assert len(np.unique(seen.frames[0, 100, :, 0])) > 100  # 8 bits have 80 shades here


def test_a_phone_clip_comes_out_upright() -> None:
    source = fixture("videos/video_90.mov")
    item = deliver(source, {"stage": "upscale", "factor": 2}, encode(quality=8))
    made = look(item.outputs[0].path)
    with av.open(str(source)) as container:
        frame = next(container.decode(video=0))
        turns = frame.rotation // 90  # counter-clockwise, as NumPy turns
        stored = frame.to_ndarray(format="rgb48le")
    upright = np.rot90(stored, turns)
    assert made.frames.shape[1:3] == (upright.shape[0] * 2, upright.shape[1] * 2) == (1136, 640)
    assert psnr(made.frames[0, ::2, ::2], upright) > 26
    with av.open(str(item.outputs[0].path)) as container:
        assert next(container.decode(video=0)).rotation == 0  # nobody turns it again


@pytest.mark.slow
def test_an_interlaced_clip_has_no_combs_when_it_is_enlarged() -> None:
    source = fixture("videos/d_interlaced_mpeg2.ts")
    item = deliver(source, {"stage": "upscale", "factor": 2}, encode(quality=8))
    with av.open(str(item.outputs[0].path)) as container:
        assert not any(frame.interlaced_frame for frame in container.decode(video=0))
    assert combs(look(item.outputs[0].path).frames[:, ::2, ::2]) < 0.5 * combs(look(source).frames)


def combs(frames: Frames) -> float:
    """How much more neighbouring rows differ than those of the same field."""
    rows = frames[..., 1].astype(float)
    return float(np.abs(2 * rows[:, 1:-1] - rows[:, :-2] - rows[:, 2:]).mean())


def test_the_same_order_gives_the_same_bytes() -> None:
    clip = save(Path("in.mp4"), "libx264", "yuv420p")
    stages = ({"stage": "interpolate", "factor": 2}, encode(segment_frames=8), {"stage": "thumbnails"})
    first, second = deliver(clip, *stages), deliver(clip, *stages, store="other")
    assert delivered(first) == delivered(second) != {}
    assert not any(stage.cached for stage in second.stages)


def holds_frames(item: ItemResult, store: str = "store") -> list[bool]:
    """For every stage whose result is frames, whether they are still there."""
    storage = open_storage(str(Path(store).absolute()), "default")
    found = [find_output(OutputPlace(storage, stage.picture.fingerprint)) for stage in item.stages]
    assert None not in found  # manifests stay
    return [each.frames is not None for each in found if each is not None]


@pytest.mark.parametrize("keep", [True, False])
def test_frames_are_let_go_of_unless_they_are_to_be_kept(keep: bool) -> None:
    clip = save(Path("in.mp4"), "libx264", "yuv420p")
    stages = ({"stage": "upscale", "factor": 2}, {"stage": "interpolate", "factor": 2}, encode())
    first = deliver(clip, *stages, keep=keep)
    kept = holds_frames(first)
    assert kept == ([True, True, True, False] if keep else [False, False, False])
    again = deliver(clip, *stages, keep=keep)
    assert all(stage.cached for stage in again.stages)
    assert delivered(again) == delivered(first)


def test_another_quality_is_made_from_frames_that_are_decoded_again() -> None:
    clip = save(Path("in.mp4"), "libx264", "yuv420p")
    stage = {"stage": "upscale", "factor": 2}
    deliver(clip, stage, encode(quality=10))
    anew = deliver(clip, stage, encode(quality=40))
    alone = deliver(clip, stage, encode(quality=40), store="other")
    assert [each.cached for each in anew.stages] == [False, False, False]
    assert delivered(anew) == delivered(alone)
    back = deliver(clip, stage, encode(quality=10))
    assert all(each.cached for each in back.stages)


def test_a_kept_copy_of_the_clip_that_was_damaged_is_noticed_and_kept_again() -> None:
    clip = save(Path("in.mp4"), "libx264", "yuv420p")
    deliver(clip, encode(quality=10))
    alone = deliver(clip, encode(quality=40), store="other")
    (kept,) = (path for path in Path("store").rglob("assets/*/*") if path.is_file())
    data = bytearray(kept.read_bytes())
    data[len(data) // 2] ^= 1
    kept.write_bytes(data)
    assert delivered(deliver(clip, encode(quality=40))) == delivered(alone)
    assert kept.read_bytes() == clip.read_bytes()


def test_a_clip_that_was_lossless_is_lossless_again() -> None:
    clip = save(Path("in.mkv"), "ffv1", "yuv422p10le")
    before, after = look(clip), look(deliver(clip, encode("ffv1")).outputs[0].path)
    assert (after.pixel_format, after.seconds, after.tags) == (before.pixel_format, before.seconds, before.tags)
    assert np.array_equal(after.frames, before.frames)
